"""What holds of every sandbox, run over each provider."""

from typing import Any

import anyio
import pytest

from corral.sandbox import (
    CellErrorKind,
    Host,
    Limits,
    Sandbox,
    SandboxGone,
    SandboxProvider,
    SandboxSpec,
    SandboxUnavailable,
)


async def echo(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    return {"name": name, "args": args, "kwargs": kwargs}


async def test_the_last_expression_is_the_value(sandbox: Sandbox) -> None:
    assert (await sandbox.execute("x = 20\nx + 1", timeout=5)).value == 21


async def test_a_cell_without_expression_has_no_value(sandbox: Sandbox) -> None:
    assert (await sandbox.execute("x = 1", timeout=5)).value is None


async def test_names_stay_for_the_next_cell(sandbox: Sandbox) -> None:
    await sandbox.execute("def double(n):\n    return 2 * n", timeout=5)
    assert (await sandbox.execute("double(4)", timeout=5)).value == 8


async def test_sessions_do_not_share_names(provider: SandboxProvider) -> None:
    async with await provider.open() as one, await provider.open() as other:
        await one.execute("secret = 1", timeout=5)
        execution = await other.execute("secret", timeout=5)
    assert execution.error is not None
    assert "NameError" in execution.error.message


async def test_printed_text_is_the_output(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("print('hello')\nprint('é')", timeout=5)
    assert (execution.output, execution.truncated) == ("hello\né\n", False)


async def test_output_of_one_cell_is_not_in_the_next(sandbox: Sandbox) -> None:
    await sandbox.execute("print('first')", timeout=5)
    assert (await sandbox.execute("print('second')", timeout=5)).output == "second\n"


async def test_long_output_is_cut_in_the_middle(provider: SandboxProvider) -> None:
    async with await provider.open(SandboxSpec(Limits(output_bytes=2000))) as sandbox:
        execution = await sandbox.execute("for n in range(50_000):\n    print(n)", timeout=20)
    assert execution.truncated
    assert execution.output.startswith("0\n1\n2\n")
    assert execution.output.endswith("49998\n49999\n")
    assert "bytes cut" in execution.output
    assert len(execution.output) < 2100


async def test_output_a_little_too_long_loses_only_the_middle(provider: SandboxProvider) -> None:
    async with await provider.open(SandboxSpec(Limits(output_bytes=2000))) as sandbox:
        execution = await sandbox.execute("print('a' * 1000 + 'b' * 1001, end='')", timeout=20)
    assert execution.output == "a" * 1000 + "\n... 1 bytes cut ...\n" + "b" * 1000


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("(1, [2.5, None], {'a': True})", [1, [2.5, None], {"a": True}]),
        ("{1: 2}", "{1: 2}"),
        ("{1}", "{1}"),
        ("b'ab'", "b'ab'"),
        ("float('nan')", "nan"),
        ("''", ""),
    ],
)
async def test_a_value_is_json_or_its_repr(sandbox: Sandbox, code: str, value: object) -> None:
    assert (await sandbox.execute(code, timeout=5)).value == value


async def test_a_huge_int_is_a_value_too(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("10 ** 10_000", timeout=5)
    assert execution.error is None or execution.error.kind is CellErrorKind.ERROR
    assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_variables_are_bound_as_names(sandbox: Sandbox) -> None:
    execution = await sandbox.execute(
        "[text, rows[0]['n'], none]", {"text": "a\0é", "rows": [{"n": 3}], "none": None}, timeout=5
    )
    assert execution.value == ["a\0é", 3, None]


async def test_a_large_variable_arrives_whole(sandbox: Sandbox) -> None:
    assert (await sandbox.execute("len(text)", {"text": "x" * 5_000_000}, timeout=10)).value == 5_000_000


async def test_a_syntax_error_is_a_result_and_the_session_goes_on(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    execution = await sandbox.execute("def f(:", timeout=5)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.SYNTAX
    assert "SyntaxError" in execution.error.message
    assert execution.state_kept
    assert (await sandbox.execute("x", timeout=5)).value == 1


async def test_an_exception_is_a_result_with_the_cells_own_traceback(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("print('before')\ndef f():\n    return 1 / 0\nf()", timeout=5)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.ERROR
    assert execution.error.message == "ZeroDivisionError: division by zero"
    assert "line 4" in execution.error.traceback
    assert "line 3, in f" in execution.error.traceback
    assert execution.output == "before\n"


async def test_names_defined_before_an_exception_stay(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1\n1 / 0", timeout=5)
    assert (await sandbox.execute("x", timeout=5)).value == 1


async def test_await_works_at_top_level(sandbox: Sandbox) -> None:
    code = "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    return 7\nx = await f()\nx + await f()"
    assert (await sandbox.execute(code, timeout=5)).value == 14


async def test_a_tool_is_a_plain_function_in_the_cell(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("search(1, 'é', deep=[True])", timeout=5, host=Host(["search"], echo))
    assert execution.value == {"name": "search", "args": [1, "é"], "kwargs": {"deep": [True]}}


async def test_what_a_tool_raises_is_a_runtime_error_in_the_cell(sandbox: Sandbox) -> None:
    async def fail(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        raise LookupError("no such row")

    code = "try:\n    find()\nexcept RuntimeError as error:\n    text = str(error)\ntext"
    # `text` outlives the handler in both interpreters only when it was bound before
    execution = await sandbox.execute("text = ''\n" + code, timeout=5, host=Host(["find"], fail))
    assert execution.value == "no such row"


async def test_many_tool_calls_in_one_cell_are_all_answered(sandbox: Sandbox) -> None:
    async def double(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return 2 * args[0]

    execution = await sandbox.execute(
        "sum(double(n) for n in range(1500))" if sandbox.name == "docker" else "sum([double(n) for n in range(1500)])",
        timeout=20,
        host=Host(["double"], double),
    )
    assert execution.value == sum(2 * n for n in range(1500))


async def test_a_name_that_is_no_tool_is_not_bound(sandbox: Sandbox) -> None:
    await sandbox.execute("search(1)", timeout=5, host=Host(["search"], echo))
    execution = await sandbox.execute("search(1)", timeout=5, host=Host(["other"], echo))
    assert execution.error is not None
    assert "NameError" in execution.error.message


async def test_submit_ends_the_cell_with_its_values(sandbox: Sandbox) -> None:
    host = Host(outputs=["answer", "score"])
    execution = await sandbox.execute("before = 1\nSUBMIT([1], score=0.5)\nprint('never')", timeout=5, host=host)
    assert execution.submitted == {"answer": [1], "score": 0.5}
    assert (execution.error, execution.output) == (None, "")
    assert (await sandbox.execute("before", timeout=5)).value == 1


async def test_a_wrong_submit_is_an_error_to_correct(sandbox: Sandbox) -> None:
    host = Host(outputs=["answer", "score"])
    execution = await sandbox.execute("SUBMIT(1)", timeout=5, host=host)
    assert execution.submitted is None
    assert execution.error is not None
    assert "answer, score" in execution.error.message


async def test_submit_is_not_bound_without_outputs(sandbox: Sandbox) -> None:
    await sandbox.execute("SUBMIT(1)", timeout=5, host=Host(outputs=["answer"]))
    execution = await sandbox.execute("SUBMIT(1)", timeout=5)
    assert execution.error is not None
    assert "NameError" in execution.error.message


async def test_a_cell_past_its_time_is_stopped_and_earlier_names_stay(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    with anyio.fail_after(5):
        execution = await sandbox.execute("print('on')\nwhile True:\n    pass", timeout=0.2)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT
    assert execution.state_kept
    assert 0.19 < execution.seconds < 1
    assert (await sandbox.execute("x", timeout=5)).value == 1


async def test_sleeping_counts_as_the_cells_time(sandbox: Sandbox) -> None:
    with anyio.fail_after(5):
        execution = await sandbox.execute("import time\ntime.sleep(60)", timeout=0.2)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT


async def test_time_the_host_takes_to_answer_does_not_count(sandbox: Sandbox) -> None:
    async def slow(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        await anyio.sleep(0.5)

    execution = await sandbox.execute("slow()", timeout=0.3, host=Host(["slow"], slow))
    assert execution.error is None
    assert execution.seconds < 0.3


async def test_a_cancelled_cell_is_stopped_and_the_session_goes_on(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    started = anyio.Event()

    async def tell(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        started.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as running:
            running.start_soon(
                lambda: sandbox.execute("tell()\nwhile True:\n    pass", timeout=60, host=Host(["tell"], tell))
            )
            await started.wait()
            began = anyio.current_time()
            running.cancel_scope.cancel()
        assert anyio.current_time() - began < 0.25
        assert (await sandbox.execute("x", timeout=5)).value == 1


async def test_a_cell_cancelled_while_a_tool_works_leaves_the_session_usable(sandbox: Sandbox) -> None:
    started = anyio.Event()

    async def forever(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        started.set()
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as running:
            running.start_soon(lambda: sandbox.execute("wait()", timeout=60, host=Host(["wait"], forever)))
            await started.wait()
            running.cancel_scope.cancel()
        assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_a_closed_session_runs_nothing(provider: SandboxProvider) -> None:
    sandbox = await provider.open()
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(SandboxGone):
        await sandbox.execute("1", timeout=5)


async def test_a_closed_provider_opens_nothing(provider: SandboxProvider) -> None:
    other = type(provider)()
    await other.close()
    with pytest.raises(SandboxUnavailable):
        await other.open()


async def test_a_session_says_what_it_is(sandbox: Sandbox, provider: SandboxProvider) -> None:
    assert sandbox.name == provider.name
    assert sandbox.id
    assert provider.instructions


async def test_a_cell_cancelled_at_once_leaves_the_session_as_it_was(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    for _ in range(20):
        with anyio.move_on_after(0), anyio.fail_after(5):
            await sandbox.execute("import time\ntime.sleep(30)", timeout=60)
    assert (await sandbox.execute("x", timeout=5)).value == 1


async def test_a_cell_without_any_time_is_a_timeout(sandbox: Sandbox) -> None:
    await sandbox.execute("x = 1", timeout=5)
    execution = await sandbox.execute("while True:\n    pass", timeout=0)
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.TIMEOUT
    assert (await sandbox.execute("x", timeout=5)).value == 1


async def test_cells_of_one_session_run_one_at_a_time(sandbox: Sandbox) -> None:
    await sandbox.execute("seen = []", timeout=5)
    async with anyio.create_task_group() as running:
        for n in range(10):
            running.start_soon(lambda n=n: sandbox.execute(f"seen.append({n})", timeout=5))
    assert (await sandbox.execute("sorted(seen)", timeout=5)).value == list(range(10))


async def test_sessions_run_at_the_same_time(provider: SandboxProvider) -> None:
    arrived = 0
    all_here = anyio.Event()

    async def meet(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        nonlocal arrived
        arrived += 1
        if arrived == 3:
            all_here.set()
        await all_here.wait()

    async def run() -> None:
        async with await provider.open() as sandbox:
            execution = await sandbox.execute("meet()", timeout=5, host=Host(["meet"], meet))
            assert execution.error is None

    with anyio.fail_after(10):
        async with anyio.create_task_group() as running:
            for _ in range(3):
                running.start_soon(run)


async def test_variables_that_are_not_json_are_the_callers_mistake(sandbox: Sandbox) -> None:
    with pytest.raises((TypeError, ValueError)):
        await sandbox.execute("1", {"x": object()}, timeout=5)
    assert (await sandbox.execute("1", timeout=5)).value == 1


async def test_a_large_value_that_is_long_as_json_is_shown(sandbox: Sandbox) -> None:
    execution = await sandbox.execute("'€' * 1_500_000", timeout=5)
    assert execution.value.startswith("'€€€")
    assert "characters cut" in execution.value
    assert len((await sandbox.execute("'x' * 1_500_000", timeout=5)).value) == 1_500_000


@pytest.mark.parametrize("argument", ["float('nan')", "{1, 2}", "[float('inf')]"])
async def test_an_argument_that_is_not_json_is_an_error_in_the_cell(sandbox: Sandbox, argument: str) -> None:
    execution = await sandbox.execute(f"search({argument})", timeout=5, host=Host(["search"], echo))
    assert execution.error is not None
    assert execution.error.kind is CellErrorKind.ERROR
    assert (await sandbox.execute("1", timeout=5)).value == 1
