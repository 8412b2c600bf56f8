"""The sandbox's own speed: `python benchmarks/sandbox.py` prints p50 and p95 beside anchors of the same sitting.

Twice: free, and with host, container and anchors pinned to one processor, which takes the cost of waking another one
out. Times are milliseconds on an event loop that does nothing else. Of each aim it says whether p50 met it; status 1 if
one was missed. Takes about a minute. Needs the sandbox image; DSPy for one anchor.

Whether anything leaks is `benchmarks/sandbox_soak.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from docker import DockerClient, from_env

from corral.sandbox import (
    DockerProvider,
    Host,
    Limits,
    LinuxProvider,
    MontyProvider,
    Sandbox,
    SandboxSpec,
    SandboxUnavailable,
    Sizes,
)

LIMITS = Limits(memory_bytes=2 * 1024**3, cpus=2.0, processes=512)
THOUSAND = "for n in range(1000):\n    tool(n)"
TEN_MB = 10_000_000


async def answer(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return args[0]


HOST = Host(["tool"], answer)


missed: list[str] = []


def show(name: str, times: list[float], aim: float | None = None) -> None:
    """Print p50 and p95 of `times`, which are seconds, and whether p50 is at most `aim` milliseconds."""
    ordered = [seconds * 1e3 for seconds in sorted(times)]
    p50, p95 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
    say(f"  {name:46s} p50 {p50:9.3f}   p95 {p95:9.3f} ms{verdict(name, p50, aim)}")


def verdict(name: str, value: float, aim: float | None) -> str:
    if aim is None:
        return ""
    if value > aim:
        missed.append(name)
    return f"   {'missed' if value > aim else 'met'}: {aim:g}"


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


async def measure(rounds: int, work: Callable[[], Awaitable[object]], *, warm: int = 3) -> list[float]:
    times: list[float] = []
    for number in range(rounds + warm):
        started = time.perf_counter()
        await work()
        if number >= warm:
            times.append(time.perf_counter() - started)
    return times


# Anchors.


def ping_pong(rounds: int) -> list[float]:
    """A JSON frame there and back between two processes, with nothing else around it."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        while data := theirs.recv(65536):
            body = json.dumps(json.loads(data[4:])).encode()
            theirs.sendall(struct.pack(">I", len(body)) + body)
        os._exit(0)
    theirs.close()
    times: list[float] = []
    with ours:
        for number in range(rounds):
            started = time.perf_counter()
            body = json.dumps({"op": "execute", "cell": number, "code": "print(1+1)"}).encode()
            ours.sendall(struct.pack(">I", len(body)) + body)
            json.loads(ours.recv(65536)[4:])
            times.append(time.perf_counter() - started)
    os.waitpid(pid, 0)
    return times


async def docker_exec(client: DockerClient, container: str) -> None:
    found: Any = client.containers.get(container)

    async def run() -> None:
        assert found.exec_run(["python3", "-c", "print(1+1)"]).exit_code == 0

    show("docker exec of python3", await measure(10, run, warm=1))


async def local_interpreter() -> None:
    """DSPy's own, without any isolation."""
    from dspy.primitives.local_interpreter import LocalInterpreter

    # Cells of its own, in a thread: it starts an event loop.
    def run() -> tuple[list[float], list[float]]:
        with LocalInterpreter(tools={"tool": lambda n: n}) as interpreter:  # type: ignore[no-untyped-call]
            warm: list[float] = []
            thousand: list[float] = []
            for times, code, rounds in ((warm, "print(1+1)", 300), (thousand, THOUSAND, 5)):
                for _ in range(rounds):
                    started = time.perf_counter()
                    interpreter.execute(code)
                    times.append(time.perf_counter() - started)
            return warm, thousand

    warm, thousand = await asyncio.to_thread(run)
    show("dspy LocalInterpreter, warm exec", warm)
    show("dspy LocalInterpreter, 1000 tool calls", thousand)


async def monty() -> None:
    async with MontyProvider() as provider, await provider.open() as sandbox:
        show("Monty, warm exec", await measure(300, lambda: sandbox.execute("print(1+1)", timeout=5)))
        show("Monty, 1000 tool calls", await measure(5, lambda: sandbox.execute(THOUSAND, timeout=30, host=HOST)))


# Ours.


async def cells(sandbox: Sandbox) -> None:
    show("warm exec", await measure(2000, lambda: sandbox.execute("print(1+1)", timeout=5)), 0.1)
    show("one tool call", await measure(1000, lambda: sandbox.execute("tool(1)", timeout=5, host=HOST)), 0.16)
    pinned = len(os.sched_getaffinity(0)) == 1
    thousand = await measure(15, lambda: sandbox.execute(THOUSAND, timeout=30, host=HOST))
    show("1000 tool calls", thousand, 32 if pinned else 40)
    mapped = await measure(15, lambda: sandbox.execute("len(tool.map(range(1000)))", timeout=30, host=HOST))
    show("1000 tool calls by map", mapped, 10)

    async def fresh() -> None:
        await sandbox.execute("len(text)", {"text": "x" * TEN_MB + str(time.time())}, timeout=5)

    text = "x" * TEN_MB
    show("10 MB in (0.6 of it makes the text)", await measure(25, fresh), 10)
    apart: list[float] = []
    for _ in range(50):
        await asyncio.sleep(0.02)
        apart += await measure(1, lambda: sandbox.execute("print(1+1)", timeout=5), warm=0)
    show("warm exec, 20 ms apart", apart)
    again = await measure(200, lambda: sandbox.execute("len(text)", {"text": text}, timeout=5))
    show("10 MB in, again", again, 0.2)


async def checkpointed(provider: DockerProvider) -> None:
    async with await provider.open(SandboxSpec(LIMITS)) as sandbox:
        await sandbox.execute("x = 1", timeout=5)
        back_to_back = await measure(100, lambda: sandbox.execute("print(1+1)", timeout=5))
        show("warm exec with a checkpoint, back to back", back_to_back, 4)
        times: list[float] = []
        for _ in range(100):
            await asyncio.sleep(0.02)
            times += await measure(1, lambda: sandbox.execute("print(1+1)", timeout=5), warm=0)
        show("warm exec with a checkpoint, 20 ms apart", times)
        crash = "import os\nos._exit(1)"
        times = []
        for _ in range(30):
            await asyncio.sleep(0.02)
            times += await measure(1, lambda: sandbox.execute(crash, timeout=5), warm=0)
        assert (await sandbox.execute("x", timeout=5)).value == 1
        show("crash, noticed and recovered from", times, 10)
        branches: list[Sandbox] = []

        async def branch() -> None:
            branches.append(await sandbox.branch())

        show("branch", await measure(20, branch), 4)
        for each in branches:
            await each.close()


async def sessions(client: DockerClient, pin: bool) -> None:
    opened: list[Sandbox] = []
    spec = SandboxSpec(LIMITS)

    async def checkout(provider: DockerProvider) -> None:
        opened.append(await provider.open(spec))
        await opened[-1].execute("print(1+1)", timeout=5)

    waiting = DockerProvider(checkpoints=False, sizes=Sizes(ready=40, sessions=200))
    async with waiting as prepared, await prepared.open(spec) as first:
        if pin:
            pin_container(client, first)
        await asyncio.sleep(1.5)  # by then the others are ready
        await first.execute("1", timeout=5)  # and the machine awake
        show("ready session + exec", await measure(30, lambda: checkout(prepared)), 0.25)

    opened.clear()
    async with DockerProvider(sizes=Sizes(ready=0, sessions=200)) as plain:
        first = await plain.open(spec)
        if pin:
            pin_container(client, first)
        before = memory(client, first.id.partition(".")[0])

        async def fork() -> None:
            opened.append(await plain.open(spec))

        show("fork", await measure(50, fork), 4)
        after = memory(client, first.id.partition(".")[0])
        each = (after - before) / len(opened) / 1024**2
        for name, value, aim in (
            ("idle memory of a session", each, 2),
            ("idle memory of a container with one", before / 1024**2, 18),
        ):
            say(f"  {name:50s} {value:9.2f} MB{verdict(name, value, aim)}")

    times: list[float] = []
    for _ in range(5):
        other = DockerProvider(sizes=Sizes(ready=0))
        started = time.perf_counter()
        session = await other.open(spec)
        await session.execute("1", timeout=5)
        times.append(time.perf_counter() - started)
        await other.close()
    show("container cold, to the first result", times, 350)


def pin_container(client: DockerClient, sandbox: Sandbox) -> None:
    found: Any = client.containers.get(sandbox.id.partition(".")[0])
    found.update(cpuset_cpus=str(min(os.sched_getaffinity(0))))


def memory(client: DockerClient, container: str) -> int:
    """Bytes of a container's processes: resident and not file-backed, so that pages shared by forks count once."""
    found: Any = client.containers.get(container)
    stats = found.stats(stream=False)["memory_stats"]
    return int(stats["stats"].get("rss", stats["stats"].get("anon", stats["usage"])))


async def attached() -> None:
    """The same containers over stdin and stdout, as where the engine shares no file system."""
    provider = DockerProvider(checkpoints=False, transport="stdio")
    async with provider, await provider.open(SandboxSpec(LIMITS)) as sandbox:
        show("over stdin, warm exec", await measure(300, lambda: sandbox.execute("print(1+1)", timeout=5)))
        thousand = await measure(5, lambda: sandbox.execute(THOUSAND, timeout=30, host=HOST))
        show("over stdin, 1000 tool calls", thousand)


async def linux() -> None:
    """The same guest without Docker, where that works."""
    try:
        async with LinuxProvider(checkpoints=False) as provider, await provider.open() as sandbox:
            show("without Docker, warm exec", await measure(500, lambda: sandbox.execute("print(1+1)", timeout=5)))

            async def cold() -> None:
                async with await provider.open() as session:
                    await session.execute("1", timeout=5)

            show("without Docker, cold, to the end of a session", await measure(5, cold, warm=1))
    except SandboxUnavailable as error:
        say(f"  without Docker: {error}")


async def run(pin: bool) -> None:
    client = from_env()
    processor = min(os.sched_getaffinity(0))
    if pin:
        os.sched_setaffinity(0, {processor})
    say(f"{'pinned to one processor' if pin else 'free'}; load {os.getloadavg()[0]:.1f}")
    show("JSON ping-pong over a unix socket", ping_pong(3000))
    async with DockerProvider(checkpoints=False) as plain, await plain.open(SandboxSpec(LIMITS)) as sandbox:
        container = sandbox.id.partition(".")[0]
        if pin:
            pin_container(client, sandbox)
        await cells(sandbox)
        await docker_exec(client, container)
    async with DockerProvider() as provider, await provider.open(SandboxSpec(LIMITS)) as sandbox:
        container = sandbox.id.partition(".")[0]
        if pin:
            pin_container(client, sandbox)
        await checkpointed(provider)
        await sessions(client, pin)
    await attached()
    await linux()
    await monty()
    await local_interpreter()
    say(f"  load {os.getloadavg()[0]:.1f}; {'missed: ' + ', '.join(missed) if missed else 'every aim met'}")
    client.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--free" | "--pinned" as way]:
            asyncio.run(run(way == "--pinned"))
            sys.exit(bool(missed))
        case _:
            ways = [subprocess.run([sys.executable, __file__, way]).returncode for way in ("--free", "--pinned")]
            sys.exit(max(ways))
