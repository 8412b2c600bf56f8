"""Finding one of very many tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from corral.policy import Action, Gate
from corral.tools import FunctionTools, Observation, Tool, Toolbox, tool

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
        assert wrong <= 5


async def test_one_of_300_tools_is_found_in_other_words_than_its_own() -> None:
    async with Toolbox(FunctionTools(*make_tools(), name="big"), max_offered=12) as box:
        missed: list[str] = []
        for number in range(100):
            noun, verb = NOUNS[number % 30], list(VERBS)[(number * 7 + number // 30) % 10]
            query = OTHER_WORDS[verb][number % 3].format(noun)
            if f"tool:big/{verb}_{noun}" not in [each.resource for each in box.search(query)]:
                missed.append(query)
    assert len(missed) <= 5, missed


async def test_what_a_search_finds_is_offered_from_then_on(perform: Perform) -> None:
    @tool
    def mine() -> None:
        """The program's own."""

    async with Toolbox(mine, FunctionTools(*make_tools(), name="big"), max_offered=12) as box:
        assert [each.name for each in box.offered] == ["mine", "search_tools"]
        seen = await perform(box["search_tools"], {"query": "spreadsheet of payslips", "limit": 2})
        assert "def export_payslip()" in seen.text
        assert isinstance(seen.structured, list)
        assert {"mine", "search_tools", *seen.structured} == {each.name for each in box.offered}
        assert (await perform(box["delete_hotel"], {})).text == "done"
        nothing_found = await perform(box["search_tools"], {"query": "quux"})
        assert nothing_found.text == "no tool fits these words; try others"


async def test_a_few_tools_need_no_search() -> None:
    async with Toolbox(FunctionTools(*make_tools()[:10], name="big"), max_offered=12) as box:
        assert box.offered == box.tools
        assert "search_tools" not in box


@pytest.mark.parametrize("query", ["", "the", "%&/", "x" * 10_000])
async def test_a_search_for_nothing_finds_nothing(query: str, gate: Gate) -> None:
    async with Toolbox(FunctionTools(*make_tools(), name="big"), max_offered=12) as box:
        assert box.search(query) == []
        assert Action(resource=box["search_tools"].resource, verb="call")
