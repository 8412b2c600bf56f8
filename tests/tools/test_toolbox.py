"""Many sources under one roof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import anyio
import pytest

from corral.policy import Admission
from corral.tools import FunctionTools, Observation, Tool, Toolbox, ToolConfigError, ToolSource, ToolSourceError, tool
from corral.tools.names import distinguish, spell

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def subtract(a: int, b: int) -> int:
    """Subtract."""
    return a - b


class Shelf:
    """A source of tools that only say their resource; opening may fail, or wait until another is opened too."""

    def __init__(
        self, name: str, *tools: str, error: Exception | None = None, gathering: Gathering | None = None
    ) -> None:
        self.name = name
        self.closed = 0
        self.required = False
        self.error = error
        self._gathering = gathering
        self._tools = [self._make(raw) for raw in tools]

    def _make(self, raw: str) -> Tool:
        async def run(arguments: dict[str, Any]) -> Observation:
            return Observation(f"{self.name}/{raw}")

        return Tool(spell(self.name, raw), f"tool:{self.name}/{raw}", run)

    async def tools(self) -> list[Tool]:
        return self._tools

    async def call(self, name: str, arguments: dict[str, Any], admission: Admission) -> Observation:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        if self.error is not None:
            raise self.error
        if self._gathering is not None:
            await self._gathering.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed += 1


class Gathering:
    """Lets its guests go on once `size` of them came."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._complete = anyio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._complete.set()
        await self._complete.wait()


async def test_tools_of_all_sources_stand_in_their_order(perform: Perform) -> None:
    async with Toolbox(Shelf("b", "x", "y"), add, subtract, Shelf("a", "x")) as box:
        assert [each.name for each in box.tools] == ["b_x", "b_y", "add", "subtract", "a_x"]
        assert [each.name for each in box] == [each.name for each in box.tools]
        assert len(box) == 5
        assert "add" in box
        assert box["add"] is add
        assert box.get("nowhere") is None
        assert (await perform(box["b_y"], {})).text == "b/y"
        with pytest.raises(KeyError):
            box["nowhere"]


async def test_a_closed_toolbox_says_so_instead_of_being_empty() -> None:
    box = Toolbox(add)
    with pytest.raises(RuntimeError, match="the toolbox is not open"):
        _ = box.tools
    async with box:
        assert len(box) == 1
    with pytest.raises(RuntimeError, match="the toolbox is not open"):
        box.get("add")


async def test_sources_are_opened_at_the_same_time() -> None:
    gathering = Gathering(3)
    with anyio.fail_after(5):
        async with Toolbox(*(Shelf(name, "x", gathering=gathering) for name in "abc")) as box:
            assert len(box) == 3


async def test_a_dead_source_is_told_and_the_others_work() -> None:
    dead = Shelf("dead", "x", error=ToolSourceError("dead", "it did not start", ("no key",)))
    odd = Shelf("odd", "x", error=ExceptionGroup("g", [OSError("disk")]))
    alive = Shelf("alive", "x")
    async with Toolbox(dead, alive, odd) as box:
        assert [each.name for each in box.tools] == ["alive_x"]
        assert box.failures == {"dead": "dead: it did not start; it last wrote: no key", "odd": "odd: OSError: disk"}
    assert (dead.closed, alive.closed) == (0, 1)


async def test_a_dead_source_is_tried_again_on_demand_and_takes_its_place() -> None:
    shelf = Shelf("shelf", "x", error=ToolSourceError("shelf", "it did not start"))
    still = Shelf("still", "x", error=ToolSourceError("still", "it did not start"))
    alive = Shelf("alive", "x")
    async with Toolbox(shelf, alive, still) as box:
        shelf.error = None
        await box.reopen()
        assert [each.name for each in box.tools] == ["shelf_x", "alive_x"]
        assert box.failures == {"still": "still: it did not start"}
        await box.reopen()
        assert [each.name for each in box.tools] == ["shelf_x", "alive_x"]
    assert (shelf.closed, alive.closed, still.closed) == (1, 1, 0)


async def test_a_required_source_is_not_done_without() -> None:
    alive = Shelf("alive", "x")
    dead = Shelf("dead", error=ToolSourceError("dead", "it did not start"))
    dead.required = True
    with pytest.raises(ToolSourceError, match="dead: it did not start"):
        async with Toolbox(alive, dead):
            pass
    assert alive.closed == 1


async def test_a_strict_toolbox_fails_with_its_first_dead_source_and_closes_the_rest() -> None:
    alive = Shelf("alive", "x")
    dead = Shelf("dead", error=ToolSourceError("dead", "it did not start"))
    with pytest.raises(ToolSourceError, match="dead: it did not start"):
        async with Toolbox(alive, dead, strict=True):
            pass
    assert alive.closed == 1


async def test_a_source_that_fails_to_close_does_not_keep_the_others_open() -> None:
    class Stuck(Shelf):
        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            raise OSError("the lock is gone")

    other = Shelf("other", "x")
    box = Toolbox(Stuck("stuck", "x"), other)
    async with box:
        assert box.failures == {}
        with pytest.raises(RuntimeError, match="open already"):
            await box.__aenter__()
    assert other.closed == 1
    assert box.failures == {"stuck": "stuck: it could not be closed: OSError: the lock is gone"}


async def test_a_toolbox_can_be_opened_again() -> None:
    shelf = Shelf("a", "x")
    box = Toolbox(shelf)
    for _ in range(2):
        async with box:
            assert len(box) == 1
    assert shelf.closed == 2


async def test_cancelling_the_start_closes_what_was_opened() -> None:
    opened, stuck = Shelf("opened", "x"), Shelf("stuck", gathering=Gathering(2))
    with anyio.move_on_after(0.05) as scope:
        async with Toolbox(opened, stuck):
            pass
    assert scope.cancelled_caught
    assert opened.closed == 1


async def test_globs_choose_tools_by_name_or_resource() -> None:
    sources = (Shelf("mail", "read", "send"), Shelf("disk", "read"), add)
    async with Toolbox(*sources, include=["tool:mail/*", "disk_*"], exclude=["*send"]) as box:
        assert [each.name for each in box.tools] == ["mail_read", "disk_read"]


async def test_names_that_collide_get_a_mark_that_does_not_depend_on_order() -> None:
    first, second = Shelf("a.b", "x"), Shelf("a_b", "x")
    async with Toolbox(first, second) as one, Toolbox(second, first) as other:
        names = [each.name for each in one.tools]
        assert names == [each.name for each in reversed(other.tools)]
        assert len(set(names)) == 2
        assert all(name.startswith("a_b_x_") and len(name) == len("a_b_x_") + 6 for name in names)


async def test_a_local_function_keeps_its_name() -> None:
    def mail_read() -> None: ...

    async with Toolbox(Shelf("mail", "read"), mail_read) as box:
        assert box["mail_read"].resource == "tool:local/mail_read"
        assert len(box) == 2


def test_names_are_identifiers_within_every_providers_limit() -> None:
    assert spell("time", "get-current.time") == "time_get_current_time"
    assert spell("1st", "wetter für/heute") == "_1st_wetter_f_r_heute"
    long = spell("server", "x" * 200)
    assert len(long) == 64
    assert long != spell("server", "x" * 199)
    tools = [each for shelf in (Shelf("s", "x" * 100), Shelf("s", "x" * 101)) for each in shelf._tools]
    assert len({each.name for each in distinguish(tools)}) == 2


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ToolConfigError, match="two sources are called 'a'"):
        Toolbox(Shelf("a"), Shelf("a"))
    with pytest.raises(ToolConfigError, match="two functions have this name"):
        FunctionTools(add, add)


async def test_two_functions_of_one_name_are_refused_when_opened() -> None:
    with pytest.raises(ToolConfigError, match="two tools are called tool:local/add"):
        async with Toolbox(add, add):
            pass


async def test_near_names_are_suggested() -> None:
    async with Toolbox(Shelf("time", "get_current_time", "convert"), add) as box:
        assert box.suggest("get_current_time")[0] == "time_get_current_time"
        assert box.suggest("time_get_curent_time")[0] == "time_get_current_time"
        assert box.suggest("ad") == ["add"]
        assert box.suggest("zzz") == []
        for other in ("time/convert", "time.convert", "mcp__time__convert", "functions.time_convert"):
            assert box.suggest(other)[0] == "time_convert"
        assert box.suggest("local/add") == ["add"]
        assert box.suggest("fetch_current_date") == ["time_get_current_time"]


async def test_functions_are_a_source_too(perform: Perform) -> None:
    source: ToolSource = FunctionTools(add, subtract, name="math")
    async with source as opened:
        assert [each.resource for each in await opened.tools()] == ["tool:local/add", "tool:math/subtract"]
    async with Toolbox(source) as box:
        assert (await perform(box["subtract"], {"a": 3, "b": 1})).structured == 2
