"""Acting: what the model proposed in one turn, done in order or at the same time, each with an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio

from corral.agents.cells import PYTHON, CellOutcome, Cells
from corral.agents.deadline import within
from corral.agents.delegation import HandOff
from corral.agents.effects import Effects
from corral.agents.ending import Progress
from corral.agents.prompt import SUBMIT
from corral.agents.protocol import Answer, Proposal
from corral.agents.result import Refusal, StopReason
from corral.agents.signature import InvalidOutputs
from corral.agents.toolcalls import ToolCalls
from corral.sandbox import Artifact
from corral.tools import Toolbox

__all__ = ["Acting"]


class Acting:
    """Does what a model proposes.

    Args:
        cells: Where code runs, if the model is offered `python`.
    """

    def __init__(
        self, toolbox: Toolbox, calls: ToolCalls, cells: Cells | None, effects: Effects, progress: Progress
    ) -> None:
        self._toolbox = toolbox
        self._calls = calls
        self._cells = cells
        self._effects = effects
        self._progress = progress
        self._found = 0
        self._denied: list[tuple[int, Refusal]] = []

    async def act(self, proposals: Sequence[Proposal], seconds: float | None) -> list[Answer]:
        """Do all, within `seconds`.

        Returns:
            An answer for each, also for what was not done: a call without a result is an invalid prompt.
        """
        answers: list[Answer | None] = [None] * len(proposals)
        self._denied.clear()
        try:
            with within(seconds):
                await self._perform_all(proposals, answers)
        finally:
            # Calls at the same time end in any order; they are told in that of the proposals.
            self._progress.denied.extend(refusal for _, refusal in sorted(self._denied, key=lambda each: each[0]))
        done = self._progress.reason is StopReason.DONE
        why = "not done: the task was submitted before it" if done else "not finished: the run's time is over"
        return self.refuse(proposals, why, answers)

    def refuse(
        self, proposals: Sequence[Proposal], why: str, answers: Sequence[Answer | None] | None = None
    ) -> list[Answer]:
        """Answers where none are."""
        given = answers or [None] * len(proposals)
        return [
            answer or Answer(proposal, why, is_error=True) for proposal, answer in zip(proposals, given, strict=True)
        ]

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What cells displayed."""
        return () if self._cells is None else tuple(self._cells.artifacts)

    @property
    def delegates(self) -> bool:
        """Whether there is an agent among the tools."""
        return any(tool.verb == "delegate" for tool in self._toolbox.tools)

    async def news(self) -> bool:
        """Whether the tools to offer are others than when this was asked last; takes what servers have changed."""
        has_changed = self._toolbox.has_changed
        if has_changed:
            await self._toolbox.refresh()
        found, self._found = self._found, len(self._calls.found)
        return has_changed or found != self._found

    async def close(self) -> None:
        """End the session of cells."""
        if self._cells is not None:
            await self._cells.close()

    async def _perform_all(self, proposals: Sequence[Proposal], answers: list[Answer | None]) -> None:
        """In order, except that neighbours which may run at the same time do."""
        at = 0
        while at < len(proposals) and self._progress.reason is None:
            end = at
            while end < len(proposals) and self._may_overlap(proposals[end]):
                end += 1
            if end - at < 2:
                answers[at] = await self._perform(proposals[at], at)
                at += 1
                continue

            async def one(number: int) -> None:
                answers[number] = await self._perform(proposals[number], number)

            async with anyio.create_task_group() as group:
                for number in range(at, end):
                    group.start_soon(one, number)
            at = end

    def _may_overlap(self, proposal: Proposal) -> bool:
        if proposal.name == SUBMIT or (proposal.name == PYTHON.name and self._cells is not None):
            return False
        tool = self._toolbox.get(proposal.name)
        return tool is None or (tool.parallel and not isinstance(tool, HandOff))

    async def _perform(self, proposal: Proposal, number: int) -> Answer:
        if proposal.problem:
            self._progress.reject(proposal.problem)
        elif proposal.in_text:
            self._progress.repairs += 1
        readable = not proposal.problem
        if readable and proposal.name == SUBMIT:
            return await self._submit(proposal)
        if readable and proposal.name == PYTHON.name and self._cells is not None:
            outcome = await self._cells.run(proposal.arguments)
            self._denied.extend((number, refusal) for refusal in outcome.denied)
            return self._told(proposal, outcome)
        step = f"tool/{self._progress.steps}/{number}"
        outcome = await self._calls.make(proposal.name, proposal.arguments, proposal.id, step, problem=proposal.problem)
        if not outcome.is_error and isinstance(self._toolbox.get(proposal.name), HandOff):
            return self._progress.work(self._progress.take_over(proposal, outcome.value))
        if outcome.denied is not None:
            self._denied.append((number, outcome.denied))
        if outcome.kind == "unknown":
            self._progress.unknown.append(step)
        answer = Answer(proposal, outcome.text, outcome.is_error, outcome.media)
        return self._progress.work(answer) if readable else answer

    async def _submit(self, proposal: Proposal) -> Answer:
        if self._cells is None:
            return self._progress.submit(proposal)
        try:
            return self._progress.submit(replace(proposal, arguments=await self._cells.submitted(proposal.arguments)))
        except InvalidOutputs as error:
            self._progress.reject(error)
            return Answer(proposal, str(error), is_error=True)

    def _told(self, proposal: Proposal, outcome: CellOutcome) -> Answer:
        self._progress.unknown.extend(outcome.unknown)
        if outcome.submitted is None:
            return self._progress.work(Answer(proposal, outcome.text, outcome.is_error, outcome.media))
        answer = self._progress.submit(Proposal(proposal.id, SUBMIT, outcome.submitted))
        return Answer(proposal, f"{outcome.text}\nSUBMIT {answer.text}".lstrip(), answer.is_error)
