"""Whether the sandbox that is used holds: the attacks, run against it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import anyio

from corral.sandbox.attacks import ATTACKS, Attack, Held
from corral.sandbox.errors import SandboxError, SandboxProtocolError
from corral.sandbox.sandbox import CellErrorKind, Execution, Host, Json, Limits, Sandbox, SandboxProvider, SandboxSpec

__all__ = ["AttackOutcome", "check", "promised"]

SMALL = Limits(
    memory_bytes=128 * 1024**2, processes=32, disk_bytes=8 * 1024**2, open_files=64, artifact_bytes=4 * 1024**2
)
PATIENCE = 10.0
"""Seconds beyond an attack's own after which a session that has not ended it does not hold."""

VICTIM = """
import os, socket
open("secret", "w").write("s")
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"\\0victim-{os.getpid()}")
listener.listen()
[os.getpid(), os.getuid(), os.getcwd()]
"""
WELL = "[6 * 7, open('secret').read(), os.listdir()]"


@dataclass(frozen=True)
class AttackOutcome:
    """What came of an attack; `seen` says it in a line."""

    attack: Attack
    held: bool
    seen: str
    seconds: float


def promised(provider: SandboxProvider) -> list[Attack]:
    """The attacks that a provider promises to hold: without a container none that use up what all sessions share."""
    return [attack for attack in ATTACKS if provider.name == "docker" or not attack.container]


async def check(
    provider: SandboxProvider,
    attacks: Iterable[Attack] = ATTACKS,
    progress: Callable[[AttackOutcome], None] | None = None,
) -> list[AttackOutcome]:
    """Run attacks against a live provider, each in a session of its own beside one that must not notice.

    Takes about a quarter of a minute for all, in small containers.

    Args:
        progress: Told each outcome as it comes.

    Raises:
        SandboxUnavailable: No session opens at all.
    """
    outcomes: list[AttackOutcome] = []
    for attack in attacks:
        outcome = await _try(provider, attack)
        outcomes.append(outcome)
        if progress is not None:
            progress(outcome)
    return outcomes


async def _try(provider: SandboxProvider, attack: Attack) -> AttackOutcome:
    spec = SandboxSpec(SMALL, "check")
    async with await provider.open(spec) as victim:
        prepared = await victim.execute(VICTIM, timeout=5)
        if prepared.error is not None:
            return AttackOutcome(attack, False, f"the session beside it is not well: {prepared.error.message}", 0.0)
        pid, uid, folder = prepared.value
        started = time.perf_counter()
        async with await provider.open(spec) as hostile:
            if (await hostile.execute("__import__('os').getpid()", timeout=5)).value == pid:
                pid += 10_000  # each sees itself alone: no pid that the one has means the other there
            code = attack.code.replace("VICTIM_PID", str(pid)).replace("VICTIM_UID", str(uid))
            held, seen = await _run(hostile, attack, code.replace("VICTIM_FOLDER", folder))
        if held and not await _is_well(victim):
            held, seen = False, f"{seen}; another session noticed"
        return AttackOutcome(attack, held, seen, time.perf_counter() - started)


async def _run(hostile: Sandbox, attack: Attack, code: str) -> tuple[bool, str]:
    called: list[str] = []

    async def record(name: str, args: list[Json], kwargs: dict[str, Json]) -> Json:
        called.append(name)

    host = Host(["ask"], record, outputs=["answer"])
    try:
        with anyio.fail_after(attack.timeout + PATIENCE):
            execution = await hostile.execute(code, timeout=attack.timeout, host=host)
    except SandboxProtocolError as error:
        return attack.held in (Held.BROKEN, Held.ANYHOW), str(error)
    except TimeoutError:
        return False, "it did not end"
    except SandboxError as error:
        return attack.held is Held.ANYHOW, str(error)
    if set(called) - {"ask"}:
        return False, f"it called {called}"
    return _is_held(attack, execution), execution.error.message if execution.error else f"value {execution.value!r}"


def _is_held(attack: Attack, execution: Execution) -> bool:
    kind = execution.error.kind if execution.error else None
    match attack.held:
        case Held.ANYHOW:
            return True
        case Held.BROKEN:
            return False
        case Held.REFUSED:
            return kind is CellErrorKind.ERROR
        case Held.STOPPED:
            return kind in (CellErrorKind.TIMEOUT, CellErrorKind.CRASH)
        case Held.VALUE:
            return execution.value == attack.value


async def _is_well(victim: Sandbox) -> bool:
    with anyio.move_on_after(5):
        try:
            execution = await victim.execute(WELL, timeout=5)
        except SandboxError:
            return False
        return execution.value == [42, "s", ["secret"]]
    return False
