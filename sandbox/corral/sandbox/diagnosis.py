"""What `corral doctor` asks: is there an engine, is there an image, and what really holds a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from anyio import to_thread

from corral.sandbox.docker import DockerProvider
from corral.sandbox.engine import Engine
from corral.sandbox.errors import SandboxError, SandboxUnavailable
from corral.sandbox.image import IMAGE
from corral.sandbox.inforce import ignored
from corral.sandbox.sandbox import Execution, Json, Limits, SandboxSpec

__all__ = ["Probe", "probe"]

READ_BACK = """
import os, resource
from guest.limits import read_back

with open("/proc/self/status") as file:
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in file)}
{
    **read_back(),
    "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    "seccomp": status.get("Seccomp"),
    "no_new_privs": status.get("NoNewPrivs"),
    "capabilities": status.get("CapEff"),
    "uid": os.getuid(),
}
"""


@dataclass(frozen=True)
class Probe:
    """The state of Docker sandboxes on this machine.

    Attributes:
        engine: The engine's version; None if none answers.
        image: Whether the engine has `IMAGE`.
        in_force: What a session read back from the kernel, by name; empty if none could be started.
        ignored: Limits that were asked for and are not in force, as a rootless engine on cgroup v1 does silently.
        warnings: What the engine itself says that it cannot do.
        problem: Why no session could be started; empty if one could.
    """

    engine: str | None = None
    image: bool = False
    in_force: dict[str, Json] = field(default_factory=dict[str, Json])
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem and not self.ignored


async def probe(limits: Limits | None = None) -> Probe:
    """Look at the engine and start a session with `limits` to see them in force; never raises for a missing engine."""
    limits = limits or Limits()
    try:
        engine, image, warnings = await to_thread.run_sync(_look)
    except SandboxUnavailable as error:
        return Probe(problem=str(error))
    try:
        async with DockerProvider() as provider, await provider.open(SandboxSpec(limits, "probe")) as sandbox:
            execution = await sandbox.execute(READ_BACK, timeout=10)
    except SandboxError as error:
        return Probe(engine, image, warnings=warnings, problem=str(error))
    return _judge(engine, image, warnings, execution, limits)


def _look() -> tuple[str, bool, tuple[str, ...]]:
    engine = Engine.connect()
    try:
        return engine.version, engine.has_image(IMAGE), engine.warnings
    finally:
        engine.close()


def _judge(engine: str, image: bool, warnings: tuple[str, ...], execution: Execution, limits: Limits) -> Probe:
    value: object = execution.value
    if execution.error is not None or not isinstance(value, dict):
        problem = execution.error.message if execution.error else "the session read nothing back"
        return Probe(engine, image, warnings=warnings, problem=problem)
    seen: dict[str, Json] = dict(cast("Json", value))
    return Probe(engine, image, seen, ignored(limits, seen), warnings)
