"""Majority: several answers to one task, of which the one given most often is taken."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import to_jsonable_python

from corral.agents.errors import DefinitionError
from corral.agents.member import Member
from corral.agents.result import Result
from corral.agents.teams.part import Ask, Part

__all__ = ["Majority"]


class Majority(Part):
    """The answer that most votes are for; of equals, the one that was given first in the order of the votes.

    Args:
        members: Who votes; one alone votes `votes` times.
        votes: How many votes there are, the members taking turns.
        key: What makes answers the same, such as `lambda outputs: outputs["answer"].strip().lower()`.
        at_once: How many vote at the same time.
    """

    def __init__(
        self,
        *members: Member,
        votes: int | None = None,
        key: Callable[[Mapping[str, Any]], Any] = dict,
        at_once: int = 5,
        name: str = "majority",
        **options: Any,
    ) -> None:
        super().__init__(*members, name=name, **options)
        self._votes = votes or len(members)
        self._key = key
        self._at_once = at_once
        if self._votes < len(members):
            raise DefinitionError(f"{len(members)} members can't share {self._votes} votes")

    async def answer(self, ask: Ask, inputs: Mapping[str, Any]) -> Result:
        asked = [(self.members[number % len(self.members)], inputs) for number in range(self._votes)]
        results = await ask.all(asked, self._at_once)
        ballots: dict[str, list[Result]] = {}
        for result in results:
            if result.outputs is not None:
                said = to_jsonable_python(self._key(result.outputs), fallback=str)
                ballots.setdefault(json.dumps(said, sort_keys=True), []).append(result)
        if not ballots:
            return results[0]
        chosen = max(ballots.values(), key=len)  # the first of equals
        return replace(chosen[0], detail=f"{len(chosen)} of {len(results)} agree")
