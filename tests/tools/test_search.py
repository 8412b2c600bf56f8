"""Finding one of very many tools."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from corral.policy import Action, Gate
from corral.tools import Effect, FunctionTools, Observation, Tool, Toolbox, tool
from corral.tools.search import SearchIndex

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
VERBS = {
    "create": "Create a new {} and return its id.",
    "list": "List all {}s, newest first.",
    "get": "Get one {} with all its details.",
    "update": "Change the fields of an existing {}.",
    "delete": "Remove a {} for ever.",
    "export": "Write the {}s into a spreadsheet file.",
    "share": "Give another person access to a {}.",
    "archive": "Put an old {} away without deleting it.",
    "count": "Say how many {}s there are.",
    "rename": "Give a {} another title.",
}
NOUNS = (
    *(
        "invoice",
        "customer",
        "order",
        "shipment",
        "calendar event",
        "email",
        "contact",
        "task",
        "project",
        "repository",
    ),
    *("pull request", "branch", "build", "release", "ticket", "survey", "dashboard", "alert", "playlist", "photo"),
    *("recipe", "workout", "booking", "flight", "hotel", "ledger", "budget", "contract", "employee", "payslip"),
)
# How people put it: other forms of the words, and others around them.
WORDS = {
    "create": "I need to create another {}",
    "list": "show a list with my {}s",
    "get": "all details of one {} please",
    "update": "changing some fields in a {}",
    "delete": "removing the {} for ever",
    "export": "{}s as a spreadsheet",
    "share": "let my colleague have access to the {}",
    "archive": "put the old {}s away, archived",
    "count": "how many {}s are there, the count",
    "rename": "the {} should get a different title, rename it",
}


# The same wishes in words that the descriptions mostly don't have.
OTHER_WORDS = {
    "create": ("add a {}", "make me one more {}", "set up a new {}"),
    "list": ("show me my {}s", "which {}s do we have", "see every {}"),
    "get": ("look up one {}", "read the {}", "open that {}"),
    "update": ("edit the {}", "modify a {}", "correct what the {} says"),
    "delete": ("remove this {}", "get rid of the {}", "erase a {}"),
    "export": ("download the {}s as csv", "save {}s to a spreadsheet", "dump all {}s into excel"),
    "share": ("invite Bob to the {}", "grant access to a {}", "let someone else see the {}"),
    "archive": ("put away an old {}", "move finished {}s to the archive", "store old {}s"),
    "count": ("number of {}s", "how many {}s", "total of {}s"),
    "rename": ("give the {} a new name", "change the title of a {}", "call the {} something else"),
}


# 200 wishes by somebody who saw the names and descriptions of these tools, and nothing of the search. One half, drawn
# by this seed, was looked at while the search was made. The other was not; it was tried once, when the search was done,
# and 90 of its 100 were found. The synonyms know the things of these tools: on tools of other fields expect less.
BLIND = json.loads((Path(__file__).parent / "data" / "search_queries.json").read_text())
SEED = 7


async def nothing(arguments: dict[str, Any]) -> Observation:
    return Observation("done")


def make_tools() -> list[Tool]:
    return [
        Tool(f"{verb}_{noun.replace(' ', '_')}", f"tool:big/{verb}_{noun}", nothing, description=text.format(noun))
        for noun in NOUNS
        for verb, text in VERBS.items()
    ]


async def test_one_of_300_tools_is_found_by_what_it_does() -> None:
    async with Toolbox(FunctionTools(*make_tools(), name="big"), max_offered=12) as box:
        assert len(box) == 301
        assert len(box.offered) <= 12
        wrong = 0
        for number in range(100):
            noun, verb = NOUNS[number % 30], list(VERBS)[(number * 7 + number // 30) % 10]
            found = [each.resource for each in box.search(WORDS[verb].format(noun))]
            wrong += f"tool:big/{verb}_{noun}" not in found
        assert wrong == 0


async def test_one_of_300_tools_is_found_in_other_words_than_its_own() -> None:
    async with Toolbox(FunctionTools(*make_tools(), name="big"), max_offered=12) as box:
        missed: list[str] = []
        for number in range(100):
            noun, verb = NOUNS[number % 30], list(VERBS)[(number * 7 + number // 30) % 10]
            query = OTHER_WORDS[verb][number % 3].format(noun)
            if f"tool:big/{verb}_{noun}" not in [each.resource for each in box.search(query)]:
                missed.append(query)
    assert missed == []


def count_found(queries: list[dict[str, Any]]) -> int:
    index = SearchIndex(make_tools())
    return sum(bool({tool.name for tool in index.search(each["query"])} & {*each["tools"]}) for each in queries)


def test_wishes_of_somebody_who_never_saw_the_search_are_found() -> None:
    tuned_on = set(random.Random(SEED).sample(range(len(BLIND)), 100))
    assert count_found([BLIND[number] for number in tuned_on]) >= 93
    held_out = [each for number, each in enumerate(BLIND) if number not in tuned_on]
    assert len(held_out) == 100
    assert count_found(held_out) >= 90


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("createInvoice", "create invoices"),
        ("list_pull_requests", "show my PRs"),
        ("get_payslip", "pay slip of May"),
        ("list_repositories", "which repos"),
        ("get_dashboard", "the dashbord"),
        ("getHTTPStatus", "http status"),
        ("prüfe_Müll", "müll prüfen"),
        ("stop_job", "stopping the jobs"),
    ],
)
def test_words_are_found_however_they_are_put(name: str, query: str) -> None:
    others = [each for each in make_tools() if each.name.endswith(("recipe", "workout", "hotel"))]
    tools = [*others, Tool("x", f"tool:own/{name}", nothing)]
    assert SearchIndex(tools).search(query)[0].name == "x"


def test_what_only_reads_comes_first_of_what_fits_as_well() -> None:
    tools = [Tool(f"{verb}_barn", f"tool:farm/{verb}_barn", nothing) for verb in ("delete", "paint", "get")]
    tools.append(Tool("barn_plan", "tool:farm/barn_plan", nothing, effect=Effect.READ))
    assert [tool.name for tool in SearchIndex(tools).search("barn")] == [
        "get_barn",
        "barn_plan",
        "delete_barn",
        "paint_barn",
    ]


async def test_who_asks_in_strange_words_is_told_those_of_the_tools(perform: Perform) -> None:
    async with Toolbox(FunctionTools(*make_tools(), name="big"), max_offered=12) as box:
        seen = await perform(box["search_tools"], {"query": "swizzle a frobnicator"})
        assert seen.text.startswith(
            "no tool fits these words; try others\n\n[most of these words stand in no tool; names"
        )
        assert "create, list, get" in seen.text
        assert "payslip]" in seen.text
        assert "names have" not in (await perform(box["search_tools"], {"query": "export the payslips of Maria"})).text
        assert box.search("search tools") == []


async def test_what_a_search_finds_is_offered_from_then_on(perform: Perform) -> None:
    @tool
    def mine() -> None:
        """The program's own."""

    async with Toolbox(mine, FunctionTools(*make_tools(), name="big"), max_offered=12) as box:
        assert [each.name for each in box.offered] == ["mine", "search_tools"]
        seen = await perform(box["search_tools"], {"query": "spreadsheet of payslips", "limit": 2})
        assert "def export_payslip()" in seen.text
        assert isinstance(seen.structured, list)
        assert {"mine", "search_tools", *map(str, seen.structured)} == {each.name for each in box.offered}
        assert (await perform(box["delete_hotel"], {})).text == "done"
        nothing_found = await perform(box["search_tools"], {"query": "quux"})
        assert nothing_found.text.startswith("no tool fits these words; try others")


async def test_a_few_tools_need_no_search() -> None:
    async with Toolbox(FunctionTools(*make_tools()[:10], name="big"), max_offered=12) as box:
        assert box.offered == box.tools
        assert "search_tools" not in box


@pytest.mark.parametrize("query", ["", "the", "%&/", "x" * 10_000])
async def test_a_search_for_nothing_finds_nothing(query: str, gate: Gate) -> None:
    async with Toolbox(FunctionTools(*make_tools(), name="big"), max_offered=12) as box:
        assert box.search(query) == []
        assert Action(resource=box["search_tools"].resource, verb="call")
