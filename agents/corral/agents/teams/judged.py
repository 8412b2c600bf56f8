"""Judge and generator: an answer is given back with a critique until a judge accepts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from corral.agents.errors import DefinitionError
from corral.agents.member import Member
from corral.agents.result import Result, StopReason
from corral.agents.signature import as_text
from corral.agents.teams.part import Ask, Part

__all__ = ["Judged"]


class Judged(Part):
    """The first answer of `generator` that `judge` accepts; the reason is an error if it accepts none.

    The judge's inputs are taken from the generator's inputs and outputs by name. Of its outputs, the bool says whether
    it accepts, and a string is its critique, which the generator is given with its next task.

    Args:
        rounds: How often the generator is asked.
    """

    def __init__(
        self, generator: Member, judge: Member, *, rounds: int = 3, name: str = "judged", **options: Any
    ) -> None:
        super().__init__(generator, judge, name=name, **options)
        verdicts = [n for n, field in judge.signature.outputs.items() if field.annotation is bool]
        texts = [n for n, field in judge.signature.outputs.items() if field.annotation is str]
        if len(verdicts) != 1 or len(texts) > 1:
            raise DefinitionError("a judge gives one bool and at most one str: '... -> accepted: bool, critique'")
        known = {*generator.signature.inputs, *generator.signature.outputs}
        if missing := set(judge.signature.inputs) - known:
            raise DefinitionError(f"the judge asks for {', '.join(sorted(missing))}, which the generator has not")
        self._asked = next((n for n, f in generator.signature.inputs.items() if f.annotation is str), None)
        if self._asked is None:
            raise DefinitionError("the generator needs an input that is a str, which a critique can be added to")
        self._verdict, self._critique = verdicts[0], next(iter(texts), None)
        self._rounds = rounds

    async def answer(self, ask: Ask, inputs: Mapping[str, Any]) -> Result:
        generator, judge = self.members
        given, result = dict(inputs), await ask(generator, inputs)
        for left in range(self._rounds - 1, -1, -1):
            if result.outputs is None:
                return result
            verdict = await ask(judge, {**inputs, **result.outputs})
            if verdict.outputs is None:
                why = f"the judge came to no verdict: {verdict.detail or verdict.reason.value}"
                return replace(result, reason=StopReason.ERROR, outputs=None, detail=why)
            critique = str(verdict.outputs[self._critique]) if self._critique else "it is not good enough"
            if verdict.outputs[self._verdict]:
                return result
            if not left:
                why = f"the judge accepted none of {self._rounds} answers; of the last it says: {critique}"
                return replace(result, reason=StopReason.ERROR, outputs=None, detail=why)
            result = await ask(generator, self._again(given, result.outputs, critique))
        return result

    def _again(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], critique: str) -> dict[str, Any]:
        assert self._asked is not None
        said = "\n".join(as_text(value) for value in outputs.values())
        task = f"{inputs[self._asked]}\n\nThis answer was refused:\n{said}\n\nWhy: {critique}"
        return {**inputs, self._asked: task}
