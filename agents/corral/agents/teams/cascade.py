"""Cascade: the next one is asked as long as the answer is not good enough, from the cheapest to the strongest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from corral.agents.member import Member
from corral.agents.result import Result
from corral.agents.teams.part import Ask, Part

__all__ = ["Cascade", "Fallback"]


class Cascade(Part):
    """The first good answer; the last one where none is good.

    Args:
        good: Whether an answer will do; one without outputs never does. A check that raises has said no.
    """

    def __init__(self, *members: Member, good: Callable[[Result], bool], name: str = "cascade", **options: Any) -> None:
        super().__init__(*members, name=name, **options)
        self._good = good

    async def answer(self, ask: Ask, inputs: Mapping[str, Any]) -> Result:
        result = await ask(self.members[0], inputs)
        for member in self.members[1:]:
            if self._will_do(result):
                break
            better = await ask(member, inputs)
            result = better if better.outputs is not None or result.outputs is None else result
        return result

    def _will_do(self, result: Result) -> bool:
        try:
            return result.outputs is not None and bool(self._good(result))
        except Exception:  # noqa: BLE001 - the check is the caller's code
            return False


class Fallback(Cascade):
    """The answer of the first one that comes to any."""

    def __init__(self, *members: Member, name: str = "fallback", **options: Any) -> None:
        super().__init__(*members, good=lambda result: result.ok, name=name, **options)
