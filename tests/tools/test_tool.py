"""The one way to call a tool, and what comes back when it fails."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from pydantic import AfterValidator

from corral.policy import Action, Admission, Gate, Integrity, Label, NotAdmitted
from corral.tools import BadArguments, Effect, Observation, Tool, ToolConfigError, tool

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]


@tool
async def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


async def test_a_call_returns_text_and_value_labelled_with_its_source(perform: Perform) -> None:
    seen = await perform(add, {"a": 40})
    assert (seen.text, seen.structured, seen.is_error) == ("42", 42, False)
    assert seen.label == Label(Integrity.UNTRUSTED, sources=frozenset(("tool:local/add",)))


async def test_a_direct_call_says_to_go_through_an_agent() -> None:
    with pytest.raises(TypeError, match=r"can't be called directly.*give it to an agent"):
        add(1, 2)


async def test_an_admission_serves_one_call(gate: Gate) -> None:
    async def twice(admission: Admission) -> None:
        await add.call({"a": 1}, admission)
        with pytest.raises(NotAdmitted, match="used before"):
            await add.call({"a": 1}, admission)

    await gate.perform(Action("tool:local/add", "call", arguments={"a": 1}), twice)


async def test_an_admission_serves_no_other_arguments(gate: Gate) -> None:
    async def otherwise(admission: Admission) -> None:
        with pytest.raises(NotAdmitted, match="not those that were judged"):
            await add.call({"a": 2}, admission)

    await gate.perform(Action("tool:local/add", "call", arguments={"a": 1}), otherwise)


async def test_an_admission_serves_no_other_tool(gate: Gate) -> None:
    async def elsewhere(admission: Admission) -> None:
        with pytest.raises(NotAdmitted, match="not for call tool:local/add"):
            await add.call({"a": 1}, admission)

    await gate.perform(Action("tool:local/subtract", "call", arguments={"a": 1}), elsewhere)


async def test_without_an_admission_nothing_is_called() -> None:
    called = False

    @tool
    def effect() -> None:
        nonlocal called
        called = True

    class Forged:
        def claim(self, *claimed: object) -> None: ...

    for none in (None, Forged()):
        with pytest.raises(NotAdmitted, match=r"takes the admission that Gate\.perform makes"):
            await effect.call({}, none)  # pyright: ignore[reportArgumentType]
    with pytest.raises(NotAdmitted, match=r"only Gate\.perform"):
        Admission(Action("tool:local/effect", "call"), object())
    assert not called


async def test_a_failing_tool_is_one_short_line_without_host_paths(perform: Perform) -> None:
    @tool
    def fail() -> None:
        raise ValueError(f"in {Path.cwd()}/secret\nand {sys.prefix}/lib: " + "x" * 1000)

    seen = await perform(fail, {})
    assert seen.is_error
    assert seen.text.startswith("ValueError: in …/secret and …/lib: xxx")
    assert len(seen.text) <= 520
    assert "Traceback" not in seen.text


async def test_a_path_that_the_caller_named_stays_readable(perform: Perform, tmp_path: Path) -> None:
    @tool
    def read(path: Path) -> str:
        return path.read_text()

    missing = str(Path.cwd() / "missing.txt")
    assert missing in (await perform(read, {"path": missing})).text


async def test_a_group_of_errors_is_told_by_its_first(perform: Perform) -> None:
    @tool
    async def fail() -> None:
        raise ExceptionGroup("several", [ExceptionGroup("inner", [KeyError("city")])])

    assert (await perform(fail, {})).text == "KeyError: 'city'"


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration()], ids=repr)
async def test_a_tool_that_exits_does_not_take_the_program_along(perform: Perform, error: BaseException) -> None:
    @tool
    def leave() -> None:
        raise error

    assert (await perform(leave, {})).is_error


async def test_a_call_past_its_limit_ends_and_says_so(perform: Perform) -> None:
    cancelled = anyio.Event()

    @tool(timeout=0.05)
    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with anyio.fail_after(5):
        seen = await perform(hang, {})
    assert (seen.is_error, seen.text) == (
        True,
        "hang ran past its limit of 0.05 s and was given up; whether the call took effect is unknown",
    )
    assert cancelled.is_set()


async def test_a_thread_past_its_limit_is_left_behind(perform: Perform) -> None:
    release = threading.Event()

    @tool(timeout=0.05)
    def hang() -> None:
        release.wait(10)

    with anyio.fail_after(5):
        seen = await perform(hang, {})
    release.set()
    assert "past its limit" in seen.text


def test_a_thread_left_behind_does_not_keep_the_program_from_ending() -> None:
    code = """if True:
        import anyio, threading
        from corral.policy import Action, Gate, Policy, SecurityPolicy
        from corral.tools import tool

        @tool(timeout=0.05)
        def hang() -> None:
            threading.Event().wait()

        gate = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))
        action = Action(hang.resource, "call")
        anyio.run(gate.perform, action, lambda admission: hang.call({}, admission))
    """
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


async def test_a_timeout_of_the_tools_own_is_an_error_like_others(perform: Perform) -> None:
    @tool
    async def ask() -> None:
        raise TimeoutError("the printer is silent")

    assert (await perform(ask, {})).text == "TimeoutError: the printer is silent"


async def test_cancellation_passes_through(perform: Perform) -> None:
    started = anyio.Event()

    @tool
    async def hang() -> None:
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(perform, hang, {})
        await started.wait()
        group.cancel_scope.cancel()
    assert group.cancel_scope.cancelled_caught


async def test_a_task_cancelled_inside_a_tool_does_not_cancel_the_caller(perform: Perform) -> None:
    @tool
    async def wait_for_another() -> None:
        other = asyncio.create_task(anyio.sleep_forever())
        other.cancel()
        await other

    seen = await perform(wait_for_another, {})
    assert (seen.is_error, seen.text) == (True, "CancelledError")


async def test_sync_functions_run_at_the_same_time_and_leave_the_loop_free(perform: Perform) -> None:
    both = threading.Barrier(2)

    @tool
    def meet() -> str:
        both.wait(5)
        return threading.current_thread().name

    ticks = 0
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(perform, meet, {})
            while both.n_waiting == 0:
                ticks += 1
                await anyio.lowlevel.checkpoint()
            group.start_soon(perform, meet, {})
    assert ticks > 0


async def test_context_variables_reach_a_thread(perform: Perform) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    @tool
    def whoami() -> str:
        return user.get()

    user.set("ada")
    assert (await perform(whoami, {})).text == "ada"


@pytest.mark.parametrize("name", ["", "1st", "my tool", "a" * 65, "naïve", "x\n"])
def test_a_name_no_provider_takes_is_refused(name: str) -> None:
    async def run(arguments: dict[str, Any]) -> Observation:
        return Observation("")

    with pytest.raises(ToolConfigError, match="a name is 1 to 64 of"):
        Tool(name, "tool:x/y", run)


def test_effects_say_what_may_be_repeated() -> None:
    assert [effect.repeatable for effect in (Effect.READ, Effect.IDEMPOTENT, Effect.ONCE)] == [True, True, False]


async def test_checking_and_calling_costs_little(gate: Gate) -> None:
    arguments = {"a": 1, "b": 2}
    spent: list[float] = []

    async def measure(admission: Admission) -> None:
        start = time.perf_counter()
        add.check(arguments)
        await add.call(arguments, admission)
        spent.append(time.perf_counter() - start)

    for _ in range(200):
        await gate.perform(Action("tool:local/add", "call", arguments=arguments), measure)
    assert min(spent) < 100e-6  # 10 µs on an idle machine; the limit leaves room for a busy one


async def test_arguments_that_only_the_function_refuses_are_an_observation(perform: Perform) -> None:
    def even(value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value

    async def halve(number: int) -> int:
        return number // 2

    halve.__annotations__["number"] = Annotated[int, AfterValidator(even)]
    seen = await perform(tool(halve), {"number": 3})
    assert seen.is_error
    assert seen.text == "bad arguments for halve: argument 'number': Value error, must be even"


def test_bad_arguments_keep_their_problems() -> None:
    with pytest.raises(BadArguments) as caught:
        add.check({})
    assert (caught.value.tool, caught.value.problems) == ("add", ("missing argument 'a'",))
