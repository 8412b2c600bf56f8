"""Groundedness: whether what is said stands in what was read, by the judgement of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from corral.agents.errors import AgentError, DefinitionError
from corral.agents.guards.guard import About, Guard
from corral.agents.member import Member
from corral.agents.signature import as_text
from corral.agents.start import Start

__all__ = ["Grounded"]


class Grounded(Guard):
    """Answers that a judge finds to be supported by what the run has read, and by its inputs.

    Args:
        judge: An agent such as `ReAct("sources, answer -> grounded: bool, why", name="judge")`; it is delegated to, and
            spends from the run's budget.

    Raises:
        DefinitionError: The judge takes or gives something else.
    """

    def __init__(self, judge: Member, **options: Any) -> None:
        super().__init__(**options)
        outputs = judge.signature.outputs
        verdicts = [name for name, field in outputs.items() if field.annotation is bool]
        if set(judge.signature.inputs) != {"sources", "answer"} or len(verdicts) != 1:
            raise DefinitionError("the judge of groundedness is 'sources, answer -> grounded: bool, why'")
        self._judge = judge
        self._verdict = verdicts[0]
        self._why = next((name for name, field in outputs.items() if field.annotation is str), None)

    async def inspect(self, values: Mapping[str, Any], about: About) -> tuple[list[str], dict[str, Any]]:
        chosen = {name: value for name, value in values.items() if self.fields is None or name in self.fields}
        given = [f"{name}:\n{as_text(value)}" for name, value in about.inputs.items()]
        answer = "\n\n".join(as_text(to_jsonable_python(value, fallback=str)) for value in chosen.values())
        inputs = {"sources": "\n\n".join([*given, *about.sources]), "answer": answer}
        result = await (about.ask(self._judge, inputs) if about.ask else self._judge.start(None, inputs, Start()))
        if result.outputs is None:
            raise AgentError(f"the judge came to no verdict: {result.detail or result.reason.value}")
        if result.outputs[self._verdict]:
            return [], dict(values)
        why = str(result.outputs[self._why]) if self._why else ""
        return [f"it is not supported by what was read{': ' + why if why else ''}"], dict(values)
