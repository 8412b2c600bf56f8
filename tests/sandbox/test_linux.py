"""What sessions on this Linux without Docker promise, with bubblewrap and without."""

import os
from typing import Any

import anyio
import pytest

from corral.sandbox import ATTACKS, Attack, Host, Limits, LinuxProvider, SandboxSpec, check

HOME = os.path.expanduser("~")

# Every attack that needs no container takes a minute and a half for the two; `corral sandbox check` runs them all.
SOME = [attack for attack in ATTACKS if not attack.container][::8]


@pytest.fixture(params=["linux", "bare_linux"])
def provider(request: pytest.FixtureRequest) -> LinuxProvider:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("attack", SOME, ids=[f"{attack.kind}-{attack.name}" for attack in SOME])
async def test_the_attack_is_held(provider: LinuxProvider, attack: Attack) -> None:
    [outcome] = await check(provider, [attack])
    assert outcome.held, outcome


async def test_code_runs_as_nobody_of_this_machine_and_sees_no_home(provider: LinuxProvider) -> None:
    async with await provider.open() as sandbox:
        # Not os.access: it asks for permissions, and Landlock refuses where they would allow.
        code = (
            f"import os\ntry:\n    seen = os.listdir({HOME!r})\nexcept OSError:\n    seen = None\n[os.getuid(), seen]"
        )
        uid, seen = (await sandbox.execute(code, timeout=5)).value
    assert uid != 0
    assert seen is None


async def test_a_crash_costs_its_cell_only_and_a_branch_lives_beside(provider: LinuxProvider) -> None:
    async with await provider.open() as sandbox:
        await sandbox.execute("import os\nx = 1", timeout=5)
        assert (await sandbox.execute("x = 2\nos._exit(1)", timeout=5)).state_kept
        async with await sandbox.branch() as branch:
            await branch.execute("x = 3", timeout=5)
            assert (await sandbox.execute("x", timeout=5)).value == 1


async def test_what_a_session_started_ends_with_it_and_nothing_else_does(provider: LinuxProvider) -> None:
    async with await provider.open() as other:
        sandbox = await provider.open()
        code = "import subprocess\nsubprocess.Popen(['/usr/bin/sleep', '61'], start_new_session=True).pid"
        await sandbox.execute(code, timeout=5)
        with anyio.fail_after(5):
            while _sleepers() != 1:  # the kernel shows its words a little after Popen has returned
                await anyio.lowlevel.checkpoint()
        await sandbox.close()
        with anyio.fail_after(5):
            while _sleepers():
                await anyio.lowlevel.checkpoint()
        assert (await other.execute("1", timeout=5)).value == 1


def _sleepers() -> int:
    found = 0
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                found += file.read() == b"/usr/bin/sleep\x0061\0"
        except OSError:
            pass
    return found


async def test_files_tools_and_limits_are_those_of_docker(provider: LinuxProvider) -> None:
    async def double(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return 2 * args[0]

    async with await provider.open(SandboxSpec(Limits(memory_bytes=300_000_000, disk_bytes=1_000_000))) as sandbox:
        await sandbox.put("in/data", b"abc")
        host = Host(["double"], double)
        execution = await sandbox.execute("double.map([len(open('in/data').read())])", timeout=5, host=host)
        assert execution.value == [6]
        for bomb in ("b'x' * 400_000_000", "open('big', 'wb').write(b'x' * 2_000_000)"):
            execution = await sandbox.execute(f"len({bomb})" if bomb[0] == "b" else bomb, timeout=10)
            assert execution.error is not None
        assert (await sandbox.execute("1", timeout=5)).value == 1
