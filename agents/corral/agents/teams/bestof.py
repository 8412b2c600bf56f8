"""Best of several: each answer gets a score from a judge, and the one with the highest is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from corral.agents.errors import DefinitionError
from corral.agents.member import Member
from corral.agents.result import Result, StopReason
from corral.agents.teams.part import Ask, Part

__all__ = ["BestOf"]


class BestOf(Part):
    """The answer of `generator` with the highest score, of `answers`; of equals the first.

    Args:
        judge: A function of inputs and outputs, or an agent whose inputs are among both by name; its first output that
            is a number is the score.
        at_once: How many answers are made at the same time.
    """

    def __init__(
        self,
        generator: Member,
        judge: Member | Callable[[Mapping[str, Any], Mapping[str, Any]], float],
        *,
        answers: int = 3,
        at_once: int = 5,
        name: str = "best-of",
        **options: Any,
    ) -> None:
        super().__init__(generator, *([judge] if isinstance(judge, Member) else []), name=name, **options)
        self._judge = judge
        self._answers = answers
        self._at_once = at_once
        if isinstance(judge, Member) and _score_of(judge) is None:
            raise DefinitionError("a judge's answer has a score: '... -> score: float'")

    async def answer(self, ask: Ask, inputs: Mapping[str, Any]) -> Result:
        made = await ask.all([(self.members[0], inputs)] * self._answers, self._at_once)
        answers = [result for result in made if result.outputs is not None]
        if not answers:
            return made[0]
        scores = await self._scores(ask, inputs, [result.outputs or {} for result in answers])
        scored = [(score, -place) for place, score in enumerate(scores) if score is not None]
        if not scored:
            return replace(answers[0], reason=StopReason.ERROR, outputs=None, detail="the judge gave no score")
        best, place = max(scored)
        return replace(answers[-place], detail=f"the best of {len(answers)}, with a score of {best:g}")

    async def _scores(self, ask: Ask, inputs: Mapping[str, Any], answers: list[dict[str, Any]]) -> list[float | None]:
        if isinstance(self._judge, Member):
            name = _score_of(self._judge) or ""
            judged = await ask.all([(self._judge, {**inputs, **outputs}) for outputs in answers], self._at_once)
            return [None if result.outputs is None else float(result.outputs[name]) for result in judged]
        found: list[float | None] = []
        for outputs in answers:
            try:
                found.append(float(self._judge(inputs, outputs)))
            except Exception:  # noqa: BLE001 - the judge is the caller's code, and an answer that it fails on has no score
                found.append(None)
        return found


def _score_of(judge: Member) -> str | None:
    numbers: list[Any] = [float, int]
    return next((n for n, field in judge.signature.outputs.items() if field.annotation in numbers), None)
