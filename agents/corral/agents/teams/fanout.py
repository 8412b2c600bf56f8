"""Fan-out: one member, many tasks, some of them at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from corral.agents.member import Member
from corral.agents.result import Result, StopReason
from corral.agents.signature import TaskSignature
from corral.agents.teams.part import Ask, Part, made

__all__ = ["FanOut", "fan_out"]


async def fan_out(member: Member, tasks: Sequence[Any], *, at_once: int = 5) -> list[Result]:
    """What `member` comes to for each of `tasks`, in order; one that fails is a result with the reason.

    Args:
        tasks: The member's input, if it has one, else its inputs by name.
    """
    return await Ask().all([(member, _inputs(member, task)) for task in tasks], at_once)


class FanOut(Part):
    """Many tasks for one member: it takes `tasks`, a list, and gives `answers` in the same order.

    The answer to a task that failed is None. A task is the member's input, if it has one, else an object of its inputs;
    an answer likewise.

    Args:
        at_once: How many run at the same time.
        most: Tasks of one call; more are refused.
    """

    def __init__(
        self, member: Member, *, at_once: int = 5, most: int = 100, name: str = "fan-out", **options: Any
    ) -> None:
        options.setdefault("description", f"Many tasks at once: {member.description}")
        super().__init__(member, name=name, **options)
        self._at_once = at_once
        self._most = most

    @property
    def signature(self) -> TaskSignature:
        inputs = self.members[0].signature.inputs
        (first, *more) = inputs
        one: Any = dict[str, Any] if more else inputs[first].annotation
        module: Any = dspy
        described = f"objects with {', '.join(inputs)}" if more else f"a list of {first}"
        fields = {
            "tasks": (list[one], module.InputField(desc=described)),
            "answers": (list[Any], module.OutputField(desc="in the order of the tasks")),
        }
        return TaskSignature.of(module.Signature(fields))

    async def answer(self, ask: Ask, inputs: Mapping[str, Any]) -> Result:
        tasks: list[Any] = inputs["tasks"]
        (member,) = self.members
        if len(tasks) > self._most:
            return made(None, f"{len(tasks)} tasks are more than the {self._most} that one call may have")
        results = await ask.all([(member, _inputs(member, task)) for task in tasks], self._at_once)
        lost = [f"{place}: {r.detail or r.reason.value}" for place, r in enumerate(results) if r.outputs is None]
        detail = f"{len(lost)} of {len(results)} tasks came to no answer: {'; '.join(lost[:5])}" if lost else ""
        if lost and len(lost) == len(results):
            return made(None, detail)
        return made({"answers": [_answer(result) for result in results]}, detail, StopReason.DONE)


def _inputs(member: Member, task: Any) -> dict[str, Any]:
    names = list(member.signature.inputs)
    return {names[0]: task} if len(names) == 1 else dict(task)


def _answer(result: Result) -> Any:
    outputs = result.outputs
    if outputs is None:
        return None
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs
