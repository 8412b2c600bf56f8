"""Results too long for a model."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from corral.tools import Artifacts, Observation, Tool, Toolbox, tool

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]


@tool
def log() -> str:
    """A long text."""
    return "start " + "x" * 50_000 + " end"


@tool
def table() -> dict[str, Any]:
    """A long value."""
    return {"rows": [{"name": f"row {number}", "a/b": number} for number in range(5000)]}


@tool
def short() -> str:
    """A short text."""
    return "short"


async def test_a_long_result_is_given_by_its_ends_and_read_on_by_name(perform: Perform, tmp_path: Path) -> None:
    async with Toolbox(log, table, short, artifacts=Artifacts(tmp_path / "kept", max_chars=1000)) as box:
        assert (await perform(box["short"], {})).text == "short"
        seen = await perform(box["log"], {})
        assert len(seen.text) < 1200
        assert seen.text.startswith("start xxx")
        assert seen.text.endswith("xxx end")
        name = seen.text.partition("artifact='")[2].partition("'")[0]
        assert stat.S_IMODE((tmp_path / "kept" / name).stat().st_mode) == 0o600
        rest = await perform(box["read_result"], {"artifact": name, "offset": 50_000, "length": 100})
        assert rest.text == "x" * 6 + " end"
        assert rest.label == seen.label
        past = await perform(box["read_result"], {"artifact": name, "offset": 10**9})
        assert (past.is_error, past.text.partition(":")[0]) == (True, "it ends before that")
        unknown = await perform(box["read_result"], {"artifact": "../../etc/passwd"})
        assert unknown.is_error


async def test_a_part_of_a_long_json_result_is_selected_by_pointer(perform: Perform, tmp_path: Path) -> None:
    async with Toolbox(table, artifacts=Artifacts(tmp_path, max_chars=1000)) as box:
        seen = await perform(box["table"], {})
        assert isinstance(seen.structured, dict)
        name = seen.text.partition("artifact='")[2].partition("'")[0]
        read = box["read_result"]
        assert (await perform(read, {"artifact": name, "pointer": "/rows/4999/a~1b"})).text == "4999"
        assert (await perform(read, {"artifact": name, "pointer": "/rows/1"})).text == '{"name": "row 1", "a/b": 1}'
        lost = await perform(read, {"artifact": name, "pointer": "/rows/5000"})
        assert lost.is_error
        assert lost.text == "'/rows/5000' leads nowhere in it: a list of 5000 has no '5000'"


async def test_a_result_keeps_its_name_and_label_in_a_later_process(perform: Perform, tmp_path: Path) -> None:
    async with Toolbox(log, artifacts=Artifacts(tmp_path, max_chars=1000)) as box:
        first = await perform(box["log"], {})
        assert (await perform(box["log"], {})).text == first.text
    name = first.text.partition("artifact='")[2].partition("'")[0]
    async with Toolbox(log, artifacts=Artifacts(tmp_path, max_chars=1000)) as box:
        rest = await perform(box["read_result"], {"artifact": name, "offset": 50_000, "length": 100})
        assert (rest.text, rest.label) == ("x" * 6 + " end", first.label)
        (tmp_path / name).unlink()
        gone = await perform(box["read_result"], {"artifact": name})
        assert gone.is_error
        assert "removed since" in gone.text
        beside = await perform(box["read_result"], {"artifact": f"{name}.label"})
        assert beside.is_error


async def test_values_of_a_long_json_result_are_found_by_jsonpath(perform: Perform, tmp_path: Path) -> None:
    async with Toolbox(table, log, artifacts=Artifacts(tmp_path, max_chars=1000)) as box:
        seen = await perform(box["table"], {})
        name = seen.text.partition("artifact='")[2].partition("'")[0]
        read = box["read_result"]
        few = await perform(read, {"artifact": name, "path": "$.rows[?@['a/b'] > 4997].name"})
        assert (few.text, few.label) == ('["row 4998", "row 4999"]', seen.label)
        many = await perform(read, {"artifact": name, "path": "$..name", "length": 20_000})
        assert many.text.startswith('[the first 1000 of more matches]\n["row 0", "row 1", ')
        assert (await perform(read, {"artifact": name, "path": "$.cows"})).text == "[]"
        for query, problem in (
            ("$.rows[", "leads nowhere in it: "),
            ("rows[0]", "a query begins with $, such as $.items[0].name"),
            ("$..*..*..*", "a query has at most 500 characters and 2 '..'"),
            ("$.rows[?match(@.name, '(a+)+')]", "match"),
        ):
            wrong = await perform(read, {"artifact": name, "path": query})
            assert wrong.is_error
            assert problem in wrong.text
        text = (await perform(box["log"], {})).text.partition("artifact='")[2].partition("'")[0]
        wrong = await perform(read, {"artifact": text, "path": "$.a"})
        assert (wrong.is_error, wrong.text.partition(": ")[2]) == (
            True,
            "it is text, not JSON; read it by offset and length",
        )


async def test_code_works_on_the_whole_of_what_a_model_sees_shortened(perform: Perform, tmp_path: Path) -> None:
    async with Toolbox(log, artifacts=Artifacts(tmp_path, max_chars=1000)) as box:
        seen = await perform(box["log"], {})
    assert len(seen.text) < 1200
    assert log.result(seen) == "start " + "x" * 50_000 + " end"


async def test_old_results_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("log-0123abcd.txt", "log-0123abce.txt", "notes.txt"):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / "log-0123abce.txt")
    async with Toolbox(log, artifacts=Artifacts(tmp_path, keep_days=7)):
        assert set(os.listdir(tmp_path)) == {"log-0123abce.txt", "notes.txt"}
