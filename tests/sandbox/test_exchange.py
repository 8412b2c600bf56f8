"""What goes in and out of a Docker session beside code and text: many calls, large variables, artifacts, folders."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from corral.sandbox import Artifact, DockerProvider, Host, Limits, Sandbox, SandboxFileError, SandboxSpec, channel

pytestmark = pytest.mark.docker


@pytest.fixture
async def sandbox(container_session: Sandbox) -> Sandbox:
    return container_session


async def double(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return 2 * args[0]


async def test_map_makes_a_call_for_each_item_and_keeps_their_order(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("double.map(range(500))", timeout=5, host=Host(["double"], double))
    assert execution.value == [2 * n for n in range(500)]


async def test_map_takes_items_as_the_builtin_does_and_shares_keywords(sandbox: Sandbox) -> None:
    calls: list[Any] = []

    async def record(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        calls.append((name, args, kwargs))

    host = Host(["record"], record)
    await sandbox.execute("record.map([1, 2], 'ab', deep=True)\nrecord.map([])", timeout=5, host=host)
    assert sorted(calls) == [("record", [1, "a"], {"deep": True}), ("record", [2, "b"], {"deep": True})]


async def test_mapped_calls_are_made_at_the_same_time_and_not_all_at_once(sandbox: Sandbox) -> None:
    inside = most = 0
    many = anyio.Event()

    async def meet(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 64:
            many.set()
        await many.wait()
        inside -= 1

    with anyio.fail_after(5):
        await sandbox.execute("meet.map(range(200))", timeout=5, host=Host(["meet"], meet))
    assert most == 64


async def test_a_failed_mapped_call_raises_after_all_were_made(sandbox: Sandbox) -> None:
    made: list[int] = []

    async def even(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        made.append(args[0])
        if args[0] % 2:
            raise ValueError(f"{args[0]} is odd")

    execution = await sandbox.execute("even.map(range(6))", timeout=5, host=Host(["even"], even))
    assert execution.error is not None
    assert execution.error.message == "RuntimeError: 1 is odd"
    assert sorted(made) == list(range(6))


async def test_mapping_a_name_that_is_no_tool_reaches_nothing(sandbox: Sandbox) -> None:
    code = (
        "calls = double.map.__closure__[1].cell_contents\n"
        "calls._ask({'op': 'map', 'name': 'delete', 'items': [[1]], 'kwargs': {}})"
    )
    execution = await sandbox.execute(code, timeout=5, host=Host(["double"], double))
    assert execution.error is not None
    assert "there is no tool 'delete'" in execution.error.message


# Large variables.


async def test_large_variables_of_every_kind_arrive_as_they_are(sandbox: Sandbox) -> None:
    text, rows = "é\0\ud800" * 100_000, [{"n": n, "s": "x" * 20} for n in range(5000)]
    await sandbox.execute("pass", {"text": text, "rows": rows, "small": 1}, timeout=10)
    execution = await sandbox.execute(
        "[len(text), text[:3] == 'é\\0\\ud800', len(rows), rows[-1]['n'], small]", timeout=10
    )
    assert execution.value == [300_000, True, 5000, 4999, 1]


async def test_the_same_text_is_bound_again_though_the_cell_changed_the_name(sandbox: Sandbox) -> None:
    text, other = "x" * 100_000, "y" * 100_001
    for given, expected in ((text, 100_000), (text, 100_000), (other, 100_001), (text, 100_000)):
        assert (await sandbox.execute("n = len(text)\ntext = 0\nn", {"text": given}, timeout=5)).value == expected


async def test_the_same_text_is_sent_once(sandbox: Sandbox) -> None:
    text = "x" * 5_000_000
    await sandbox.execute("pass", {"text": text}, timeout=5)
    worker = sandbox._worker  # type: ignore[attr-defined]
    assert worker.kept == {"text": text}
    execution = await sandbox.execute("len(text)", {"text": text, "more": 1}, timeout=5)
    assert execution.value == 5_000_000


async def test_a_hundred_large_variables_are_too_many_for_one_message_and_arrive(sandbox: Sandbox) -> None:
    variables = {f"v{n}": str(n) * 70_000 for n in range(100)}
    execution = await sandbox.execute("sum(len(v) for n, v in globals().items() if n[0] == 'v')", variables, timeout=20)
    assert execution.value == sum(map(len, variables.values()))


# Artifacts.

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


async def test_what_a_cell_displays_comes_back_with_its_media_type(sandbox: Sandbox) -> None:
    code = (
        "class Table:\n    def _repr_html_(self):\n        return '<table></table>'\n"
        f"display({PNG!r}, Table(), 'text')\nTable()"
    )
    execution = await sandbox.execute(code, timeout=5)
    assert execution.artifacts == (
        Artifact("shown-1.png", "image/png", PNG),
        Artifact("shown-2.html", "text/html", b"<table></table>"),
        Artifact("shown-3.html", "text/html", b"<table></table>"),
    )
    assert execution.output == "text\n"
    assert "Table object" in execution.value
    assert (await sandbox.execute("1", timeout=5)).artifacts == ()


async def test_a_rich_form_that_fails_costs_a_line_not_the_value(sandbox: Sandbox) -> None:
    code = "class Odd:\n    def _repr_html_(self):\n        1 / 0\n    def __repr__(self):\n        return 'odd'\nOdd()"
    execution = await sandbox.execute(code, timeout=5)
    assert (execution.value, execution.error, execution.artifacts) == ("odd", None, ())
    assert "ZeroDivisionError while shown" in execution.output


async def test_artifacts_are_capped_in_the_cell(docker: DockerProvider) -> None:
    async with await docker.open(SandboxSpec(Limits(artifact_bytes=100_000))) as sandbox:
        execution = await sandbox.execute(f"for n in range(9):\n    display({PNG!r} + b'x' * 30_000)", timeout=5)
        assert execution.error is not None
        assert "100000 bytes" in execution.error.message
        assert len(execution.artifacts) == 3
        assert (await sandbox.execute("1", timeout=5)).value == 1


# Folders.


async def test_a_folder_goes_in_and_a_changed_one_comes_out(sandbox: Sandbox) -> None:
    await sandbox.put_folder("in", {"a.csv": b"n\n1\n2\n", "deep/er/b": b"", "c": b"\0\xff"})  # type: ignore[attr-defined]
    code = (
        "import csv, os\nrows = list(csv.DictReader(open('in/a.csv')))\n"
        "os.makedirs('out/x')\nopen('out/x/sum.csv', 'w').write(f\"sum\\n{sum(int(r['n']) for r in rows)}\\n\")\n"
        "os.symlink('/etc/passwd', 'out/link')\nos.mkfifo('out/pipe')\nsorted(os.listdir('in'))"
    )
    assert (await sandbox.execute(code, timeout=5)).value == ["a.csv", "c", "deep"]
    assert await sandbox.get_folder("out") == {"x/sum.csv": b"sum\n3\n"}  # type: ignore[attr-defined]
    everything = await sandbox.get_folder()  # type: ignore[attr-defined]
    assert set(everything) == {"in/a.csv", "in/deep/er/b", "in/c", "out/x/sum.csv"}


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", ""])
async def test_a_folder_with_a_path_that_is_not_plain_is_refused(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(SandboxFileError):
        await sandbox.put_folder("in", {name: b""})  # type: ignore[attr-defined]


async def test_a_folder_too_large_or_missing_is_an_error(docker: DockerProvider) -> None:
    async with await docker.open(SandboxSpec(Limits(file_bytes=10_000))) as sandbox:
        with pytest.raises(SandboxFileError, match="10000"):
            await sandbox.put_folder("in", {"a": b"x" * 6000, "b": b"x" * 6000})
        await sandbox.execute("for n in 'ab':\n    open(n, 'w').write('x' * 6000)", timeout=5)
        with pytest.raises(SandboxFileError):
            await sandbox.get_folder()
        with pytest.raises(SandboxFileError):
            await sandbox.get_folder("missing")
        assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_calls_in_a_row_leave_the_event_loop_its_turns(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LINGER", 0.1)  # so that each follows the last closely, on a busy machine too

    async def answer(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return args[0]

    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        execution = await sandbox.execute(
            "[tool(n) for n in range(1600)] == list(range(1600))", timeout=20, host=Host(["tool"], answer)
        )
        group.cancel_scope.cancel()
    assert execution.value is True
    assert turns >= 100


async def test_arguments_that_hold_themselves_are_an_error_in_the_cell(sandbox: Sandbox) -> None:
    code = "a = []\na.append(a)\ntry:\n    double(a)\nexcept ValueError as error:\n    print(error)\ndouble(4)"
    execution = await sandbox.execute(code, timeout=5, host=Host(["double"], double))
    assert "holds itself" in execution.output
    assert execution.value == 8


async def test_a_closed_stdout_is_open_again_in_the_next_cell(sandbox: Sandbox) -> None:
    await sandbox.execute("import sys\nsys.stdout.close()", timeout=5)
    assert (await sandbox.execute("print(1 + 1)", timeout=5)).output == "2\n"


async def test_tools_and_submit_are_there_while_they_are_offered(sandbox: Sandbox) -> None:
    named = "sorted(set(globals()) & {'double', 'SUBMIT'})"
    offered = Host(["double"], double, ["answer"])
    assert (await sandbox.execute(named, timeout=5, host=offered)).value == ["SUBMIT", "double"]
    assert (await sandbox.execute(named, timeout=5, host=Host(["double"], double))).value == ["double"]
    assert (await sandbox.execute(named, timeout=5)).value == []
    await sandbox.execute("SUBMIT = 1", timeout=5)
    assert (await sandbox.execute(named, timeout=5)).value == ["SUBMIT"]
