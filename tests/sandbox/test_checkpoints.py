"""A crash costs one cell: sessions are copied after each, go on in the copy, and branch."""

from typing import Any

import anyio
import pytest

from corral.sandbox import CellErrorKind, DockerProvider, Host, Limits, Sandbox, SandboxGone, SandboxSpec
from corral.sandbox.session import DockerSandbox

pytestmark = pytest.mark.docker

CRASHES = [
    ("import os\nos._exit(3)", "exited with status 3"),
    ("import ctypes\nctypes.string_at(0)", "killed by signal 11"),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
]
STUBBORN = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
FOREVER = "while True:\n    time.sleep(1)"


@pytest.fixture
async def sandbox(container_session: Sandbox) -> Sandbox:
    return container_session


@pytest.fixture(params=["container_session", "forgetful_session"])
def either(request: pytest.FixtureRequest) -> tuple[Sandbox, bool]:
    """A session with checkpoints, and one without."""
    return request.getfixturevalue(request.param), request.param == "container_session"


@pytest.mark.parametrize(("code", "message"), CRASHES)
async def test_a_crash_costs_its_cell_and_nothing_before_it(sandbox: Sandbox, code: str, message: str) -> None:
    await sandbox.execute("x = 1\ndef double(n):\n    return 2 * n", timeout=5)
    await sandbox.put("file", b"kept")
    id = sandbox.id
    with anyio.fail_after(5):
        execution = await sandbox.execute("x = 2\nprint('last words')\n" + code, timeout=5)
        after = await sandbox.execute("[x, double(4), open('file').read()]", timeout=5)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.CRASH
    assert message in execution.error.message
    assert "names are as before the cell" in execution.error.message
    assert (execution.output, execution.state_kept) == ("last words\n", True)
    assert (after.value, sandbox.id) == ([1, 8, "kept"], id)


@pytest.mark.parametrize(("code", "message"), CRASHES)
async def test_without_checkpoints_the_next_cell_starts_afresh(
    forgetful_session: Sandbox, code: str, message: str
) -> None:
    await forgetful_session.execute("x = 1", timeout=5)
    with anyio.fail_after(5):
        execution = await forgetful_session.execute(code, timeout=5)
        after = await forgetful_session.execute("'x' in globals()", timeout=5)
    assert execution.error is not None
    assert message in execution.error.message
    assert (execution.state_kept, after.value) == (False, False)


async def test_every_crash_is_recovered_from_not_only_the_first(sandbox: Sandbox) -> None:
    await sandbox.execute("n = 0", timeout=5)
    with anyio.fail_after(20):
        for _ in range(5):
            await sandbox.execute("n += 1", timeout=5)
            for _ in range(2):
                assert (await sandbox.execute("n = 100\nimport os\nos._exit(1)", timeout=5)).state_kept
    assert (await sandbox.execute("n", timeout=5)).value == 5


async def test_a_failed_cell_keeps_what_it_changed(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    await sandbox.execute("x = 2\n1 / 0", timeout=5)
    await sandbox.execute("import os\nos._exit(1)", timeout=5)
    assert (await sandbox.execute("x", timeout=5)).value == 2


async def test_tools_variables_output_and_interrupts_work_after_a_crash(sandbox: Sandbox) -> None:
    async def double(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return 2 * args[0]

    text = "x" * 200_000
    host = Host(["double"], double)
    await sandbox.execute("before = 1", {"text": text}, timeout=5, host=host)
    await sandbox.execute("import os\nos._exit(1)", timeout=5)
    execution = await sandbox.execute(
        "print('out')\n[double(4), len(text), before]", {"text": text}, timeout=5, host=host
    )
    assert (execution.output, execution.value) == ("out\n", [8, 200_000, 1])
    with anyio.fail_after(5):
        late = await sandbox.execute("before = 2\nwhile True:\n    pass", timeout=0.1)
    assert late.error is not None
    assert "interrupted" in late.error.message
    assert (await sandbox.execute("before", timeout=5)).value == 2


async def test_a_cell_that_will_not_stop_is_killed_and_rolled_back(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    with anyio.fail_after(5):
        execution = await sandbox.execute("x = 2\n" + STUBBORN + FOREVER, timeout=0.1)
        after = await sandbox.execute("x", timeout=5)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT
    assert "killed" in execution.error.message
    assert (execution.state_kept, after.value) == (True, 1)


async def test_without_checkpoints_a_cell_that_will_not_stop_costs_all_names(forgetful_session: Sandbox) -> None:
    await forgetful_session.execute("x = 1", timeout=5)
    with anyio.fail_after(5):
        execution = await forgetful_session.execute(STUBBORN + FOREVER, timeout=0.1)
        after = await forgetful_session.execute("'x' in globals()", timeout=5)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT
    assert (execution.state_kept, after.value) == (False, False)


async def test_a_cancelled_cell_that_will_not_stop_is_killed(either: tuple[Sandbox, bool]) -> None:
    sandbox, remembers = either
    await sandbox.execute("x = 1", timeout=5)
    started = anyio.Event()

    async def tell(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        started.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as running:
            running.start_soon(
                lambda: sandbox.execute(STUBBORN + "tell()\n" + FOREVER, timeout=60, host=Host(["tell"], tell))
            )
            await started.wait()
            began = anyio.current_time()
            running.cancel_scope.cancel()
        assert anyio.current_time() - began < 0.25
        told = await sandbox.execute("x", timeout=5)
    if remembers:
        assert (told.value, told.error) == (1, None)
    else:
        assert told.error is not None
        assert (told.error.kind, told.state_kept) == (CellErrorKind.CRASH, False)
        assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_a_session_that_died_between_cells_goes_on_from_its_copy_or_says_so(
    either: tuple[Sandbox, bool],
) -> None:
    sandbox, remembers = either
    id = (await sandbox.execute("import os, threading\nx = 1\nos.getpid()", timeout=5)).value
    await sandbox.execute("threading.Timer(0.05, os._exit, [4]).start()", timeout=5)
    with anyio.fail_after(5):
        while (execution := await sandbox.execute("os.getpid()", timeout=5)).value == id:
            await anyio.lowlevel.checkpoint()
    if remembers and execution.state_kept:
        assert (await sandbox.execute("x", timeout=5)).value == 1
    else:  # also where it died between its last copy and the next one
        assert execution.error is not None
        assert (execution.error.kind, execution.state_kept) == (CellErrorKind.CRASH, False)
        assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_a_large_session_is_not_copied_and_says_that_its_names_are_lost(docker: DockerProvider) -> None:
    limits = Limits(memory_bytes=1024**3)
    async with await docker.open(SandboxSpec(limits)) as sandbox:
        await sandbox.execute("hoard = bytearray(b'x' * 560_000_000)", timeout=20)
        assert not (await sandbox.execute("import os\nos._exit(1)", timeout=5)).state_kept
        assert (await sandbox.execute("'hoard' in globals()", timeout=5)).value is False


async def test_what_a_crashed_cell_started_has_ended(sandbox: Sandbox) -> None:
    await sandbox.execute("import os, subprocess", timeout=5)
    code = "child = subprocess.Popen(['/usr/bin/sleep', '60'])\nprint(child.pid, flush=True)\nos._exit(1)"
    with anyio.fail_after(5):
        pid = int((await sandbox.execute(code, timeout=5)).output)
        while (await sandbox.execute(f"os.path.exists('/proc/{pid}')", timeout=5)).value:
            await anyio.lowlevel.checkpoint()


async def test_a_cell_meets_no_child_process_that_it_did_not_make(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    execution = await sandbox.execute("import os\nos.wait()", timeout=5)
    assert execution.error is not None
    assert "ChildProcessError" in execution.error.message


async def test_threads_outlive_the_copying(sandbox: Sandbox) -> None:
    await sandbox.execute(
        "import threading\nstop = threading.Event()\nthread = threading.Thread(target=stop.wait)\nthread.start()",
        timeout=5,
    )
    await sandbox.execute("1", timeout=5)
    execution = await sandbox.execute("alive = thread.is_alive()\nstop.set()\nthread.join()\nalive", timeout=5)
    assert execution.value is True


async def test_copies_that_are_no_longer_needed_are_gone(docker: DockerProvider) -> None:
    count = "import os\nlen([n for n in os.listdir('/proc') if n.isdecimal()])"
    async with await docker.open(SandboxSpec(Limits(cpus=0.9))) as sandbox:
        for _ in range(30):
            await sandbox.execute("1", timeout=5)
        with anyio.fail_after(5):
            # The zygote, a ready session, this one, and its checkpoint.
            while (await sandbox.execute(count, timeout=5)).value > 4:
                await anyio.lowlevel.checkpoint()


# Branches.


async def test_a_branch_has_every_name_and_changes_none(docker: DockerProvider) -> None:
    async with await docker.open() as trunk:
        await trunk.execute("x = [1]\ndef f():\n    return x", timeout=5)
        async with await trunk.branch() as branch, await trunk.branch() as other:
            await branch.execute("x.append(2)", timeout=5)
            await other.execute("x.append(3)", timeout=5)
            values = [(await each.execute("f()", timeout=5)).value for each in (trunk, branch, other)]
            assert values == [[1], [1, 2], [1, 3]]
            assert len({trunk.id, branch.id, other.id}) == 3


async def test_branches_run_at_the_same_time_and_call_tools(docker: DockerProvider) -> None:
    arrived = 0
    all_here = anyio.Event()

    async def meet(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal arrived
        arrived += 1
        if arrived == 3:
            all_here.set()
        await all_here.wait()

    async def run(sandbox: DockerSandbox) -> None:
        assert (await sandbox.execute("meet()", timeout=5, host=Host(["meet"], meet))).error is None

    with anyio.fail_after(10):
        async with (
            await docker.open() as trunk,
            await trunk.branch() as one,
            await one.branch() as two,
            anyio.create_task_group() as running,
        ):
            for each in (trunk, one, two):
                running.start_soon(run, each)


async def test_branch_and_trunk_crash_and_end_each_for_itself(docker: DockerProvider) -> None:
    trunk = await docker.open()
    await trunk.execute("x = 1", timeout=5)
    await trunk.put("file", b"both")
    branch = await trunk.branch()
    with anyio.fail_after(10):
        assert (await branch.execute("import os\nos._exit(1)", timeout=5)).state_kept
        assert (await trunk.execute("x", timeout=5)).value == 1
        assert (await trunk.execute("import os\nos._exit(1)", timeout=5)).state_kept
        await trunk.close()
        assert (await branch.execute("[x, open('file').read()]", timeout=5)).value == [1, "both"]
        await branch.close()
        with pytest.raises(SandboxGone):
            await branch.branch()


async def test_the_last_of_a_family_leaves_no_folder_and_no_process(docker: DockerProvider) -> None:
    async with await docker.open() as watcher:
        trunk = await docker.open()
        folder = (await trunk.execute("import os, subprocess\nos.getcwd()", timeout=5)).value
        branch = await trunk.branch()
        await branch.execute("subprocess.Popen(['/usr/bin/sleep', '60'], start_new_session=True)", timeout=5)
        await branch.close()
        await trunk.close()
        look = (
            f"import os, subprocess\n[os.path.exists('{folder}'), "
            "any(b'sleep' in open(f'/proc/{p}/cmdline', 'rb').read() for p in os.listdir('/proc') if p.isdecimal())]"
        )
        with anyio.fail_after(5):
            while (await watcher.execute(look, timeout=5)).value != [False, False]:
                await anyio.lowlevel.checkpoint()
