"""Which container a session is opened in, what is ready before it is asked for, and when containers end."""

import anyio
import pytest
from anyio import to_thread

from corral.sandbox import DockerProvider, Limits, Sandbox, SandboxSpec, Sizes, pool
from corral.sandbox.engine import Engine

pytestmark = pytest.mark.docker

FEW = Limits(processes=40)


def container(sandbox: Sandbox) -> str:
    return sandbox.id.partition(".")[0]


async def runs(engine: Engine, id: str) -> bool:
    return bool(await to_thread.run_sync(engine.inspect, id))


async def test_sessions_without_a_key_share_a_container_that_stays(docker: DockerProvider, engine: Engine) -> None:
    async with await docker.open() as one, await docker.open() as other:
        assert container(one) == container(other)
    async with await docker.open() as later:
        assert container(later) == container(one)


async def test_each_key_of_trust_has_a_container_that_ends_with_its_last_session(
    docker: DockerProvider, engine: Engine
) -> None:
    async with await docker.open() as own:
        alice = await docker.open(SandboxSpec(trust="alice"))
        again = await docker.open(SandboxSpec(trust="alice"))
        bob = await docker.open(SandboxSpec(trust="bob"))
        assert len({container(own), container(alice), container(bob)}) == 3
        assert container(alice) == container(again)
        await alice.close()
        assert (await again.execute("1", timeout=5)).value == 1
        await again.close()
        await bob.close()
        assert not await runs(engine, container(alice))
        assert not await runs(engine, container(bob))
        assert (await own.execute("1", timeout=5)).value == 1


async def test_a_full_container_overflows_into_another_and_nobody_waits(docker_image: None, engine: Engine) -> None:
    async with DockerProvider(sizes=Sizes(ready=0, sessions=2)) as provider:
        with anyio.fail_after(20):
            sessions = [await provider.open() for _ in range(5)]
            assert len({container(each) for each in sessions}) == 3
            assert [(await each.execute("1", timeout=5)).value for each in sessions] == [1] * 5
            for each in sessions:
                await each.close()
        left = [id for id in {container(each) for each in sessions} if await runs(engine, id)]
        assert len(left) == 1


async def test_a_container_that_its_sessions_used_up_overflows_too(docker_image: None) -> None:
    bomb = "import os, time\nfor n in range(100):\n    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)"
    with anyio.fail_after(20):
        async with DockerProvider(sizes=Sizes(ready=0)) as provider:
            hostile = [await provider.open(SandboxSpec(FEW)) for _ in range(2)]
            for each in hostile:
                await each.execute(bomb, timeout=5)
            async with await provider.open(SandboxSpec(FEW)) as sandbox:
                assert container(sandbox) != container(hostile[0])
                assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_a_ready_session_that_died_is_not_handed_out(docker_image: None) -> None:
    async with DockerProvider() as provider, await provider.open() as sandbox:
        place = (await provider._pools.here())._places[Limits(), ""][0]  # pyright: ignore[reportPrivateUsage]
        with anyio.fail_after(5):
            while not place._ready:  # pyright: ignore[reportPrivateUsage]
                await anyio.lowlevel.checkpoint()
            ready = place._ready[0]  # pyright: ignore[reportPrivateUsage]
            ready.stop("a test")
            async with await provider.open() as other:
                assert (await other.execute("1", timeout=5)).value == 1
                assert other.id != sandbox.id


async def test_no_session_is_made_ready_while_others_are_being_taken(
    docker_image: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "BREATH", 1.0)
    async with DockerProvider(sizes=Sizes(ready=3)) as provider, await provider.open():
        place = (await provider._pools.here())._places[Limits(), ""][0]  # pyright: ignore[reportPrivateUsage]
        with anyio.fail_after(10):
            while len(place._ready) < 3:  # pyright: ignore[reportPrivateUsage]
                await anyio.lowlevel.checkpoint()
            for left in (2, 1):
                await provider.open()
                await anyio.sleep(0.6)
                assert len(place._ready) == left  # pyright: ignore[reportPrivateUsage]
            while len(place._ready) < 3:  # pyright: ignore[reportPrivateUsage]
                await anyio.lowlevel.checkpoint()


async def test_a_warm_container_is_taken_for_a_new_key(docker_image: None) -> None:
    async with DockerProvider(sizes=Sizes(warm=1)) as provider:
        with anyio.fail_after(20):
            await provider.open()
            warm = (await provider._pools.here())._warm[Limits()]  # pyright: ignore[reportPrivateUsage]
            while not warm:
                await anyio.lowlevel.checkpoint()
            id = warm[0].container.id[:12]
            async with await provider.open(SandboxSpec(trust="alice")) as sandbox:
                assert container(sandbox) == id
                assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_many_sessions_opened_at_once_are_all_there(docker_image: None) -> None:
    async with DockerProvider(sizes=Sizes(sessions=10)) as provider:
        values: list[object] = []

        async def run(n: int) -> None:
            async with await provider.open() as sandbox:
                values.append((await sandbox.execute(f"{n}", timeout=10)).value)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as running:
                for n in range(30):
                    running.start_soon(run, n)
        assert sorted(values, key=str) == sorted(range(30), key=str)


async def test_a_ready_session_has_no_trace_of_having_been_made_ready(docker_image: None) -> None:
    async with DockerProvider() as provider, await provider.open():
        place = (await provider._pools.here())._places[Limits(), ""][0]  # pyright: ignore[reportPrivateUsage]
        with anyio.fail_after(5):
            while not place._ready:  # pyright: ignore[reportPrivateUsage]
                await anyio.lowlevel.checkpoint()
        async with await provider.open() as sandbox:
            execution = await sandbox.execute("print(sorted(globals()))\n1 / 0", timeout=5)
            assert execution.error is not None
            assert "<cell 1>" in execution.error.traceback
            assert "'n'" not in execution.output
            assert execution.output.count("\n") == 1
            crashed = await sandbox.execute("import os\nos._exit(1)", timeout=5)
            assert crashed.state_kept
