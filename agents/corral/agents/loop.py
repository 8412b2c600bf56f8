"""The loop: prompt, model, proposals, effects, observations, until an answer or a limit. There is no other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from dspy.lm15 import Message, Request
from pydantic_core import to_jsonable_python

from corral.agents.allowance import Allowance, Plan
from corral.agents.cells import PYTHON, CellOutcome, Cells
from corral.agents.codec import message_to_json
from corral.agents.effects import Effects
from corral.agents.errors import AgentError, DefinitionError, JournalError, ModelError
from corral.agents.model import Generation, Model
from corral.agents.prompt import SUBMIT, Offer
from corral.agents.protocol import Answer, Proposal
from corral.agents.remembering import Remembering
from corral.agents.result import Result, StopReason
from corral.agents.signature import InvalidOutputs
from corral.agents.toolcalls import ToolCalls
from corral.policy import (
    BudgetExceeded,
    BudgetWarned,
    Denied,
    Emitter,
    MessageAdded,
    ModelCalled,
    RunFinished,
    StepStarted,
    TextDelta,
    Usage,
)
from corral.sandbox import SandboxError
from corral.tools import Toolbox

__all__ = ["Loop"]


@dataclass
class _State:
    """What a run has come to so far."""

    messages: list[Message]
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    text: str = ""
    outputs: dict[str, Any] | None = None
    reason: StopReason | None = None
    detail: str = ""


class Loop:
    """One run. Make it, await `run` once.

    Args:
        messages: The conversation before the task; the run adds to it.
        cells: Where code runs, if the model is offered `python`.
        stream_text: Whether text is emitted as it arrives.
    """

    def __init__(
        self,
        offer: Offer,
        model: Model,
        effects: Effects,
        emitter: Emitter,
        toolbox: Toolbox,
        calls: ToolCalls,
        cells: Cells | None,
        remembering: Remembering,
        messages: list[Message],
        *,
        stream_text: bool,
    ) -> None:
        self._offer = offer
        self._model = model
        self._effects = effects
        self._emitter = emitter
        self._toolbox = toolbox
        self._calls = calls
        self._cells = cells
        self._remembering = remembering
        self._stream_text = stream_text
        self._state = _State(messages)
        self._budget = effects.gate.budget
        self._native = offer.protocol.tools(offer.tools)
        self._allowance = Allowance(self._budget, model, offer.system, self._native)

    async def run(self) -> Result:
        """Run to the end. Cancelling it ends model, tools and cells, and is noted before it goes on."""
        state = self._state
        for message in state.messages:
            self._note_message(message)
        try:
            self._add(Message.user(await self._remembering.before()))
            while state.reason is None:
                await self._step()
            state.detail = await self._remembering.after(state.outputs) or state.detail
        except asyncio.CancelledError:
            state.reason = StopReason.CANCELLED
            raise
        except BudgetExceeded as error:
            state.reason, state.detail = StopReason(error.limit), str(error)
        except Denied as error:
            state.reason, state.detail = StopReason.DENIED, str(error)
        except ModelError as error:
            state.reason, state.detail = StopReason.MODEL_ERROR, str(error)
        except DefinitionError as error:
            state.reason, state.detail = StopReason.ERROR, str(error)
            raise
        except (AgentError, SandboxError) as error:
            state.reason, state.detail = StopReason.ERROR, str(error)
        except BaseException as error:
            state.reason, state.detail = StopReason.ERROR, f"{type(error).__name__}: {error}"
            raise
        finally:
            await self._end()
        return self._result()

    async def _step(self) -> None:
        state = self._state
        plan = self._allowance.plan(state.messages)
        if plan.last is not None:
            self._warn(plan.last)
        state.steps += 1
        self._emitter.emit(StepStarted(step=state.steps))
        generation = await self._generate(plan)
        if generation is None:
            return
        text, proposals = self._offer.protocol.read(generation.message, self._emitter.run_id, state.steps)
        state.text = text or state.text
        if plan.last is not None:
            self._finish_at_limit(plan.last, text, proposals)
        elif proposals:
            await self._act(proposals)
        else:
            self._finish_with_text(text)

    async def _generate(self, plan: Plan) -> Generation | None:
        """The model's answer; None when the time for going on ran out before it came."""
        state = self._state
        request = self._request(plan)
        seconds = self._budget.seconds_left() if plan.last else self._allowance.seconds_for_work()
        on_text = self._on_text if self._stream_text else None
        with anyio.move_on_after(seconds):
            generation = await self._effects.generate(self._model, request, state.steps, plan.reserve, on_text)
            self._allowance.note(len(state.messages) + 1, generation)
            state.usage = _sum(state.usage, generation.usage)
            self._emitter.emit(
                ModelCalled(
                    step=state.steps,
                    model=self._model.name,
                    usage=generation.usage,
                    seconds=generation.seconds,
                    finish_reason=generation.finish_reason,
                    cached=generation.usage.cached_tokens > 0,
                )
            )
            self._add(generation.message)
            return generation
        if plan.last is not None:
            state.reason, state.detail = plan.last, "the time was over before the model's final answer came"
        return None

    async def _act(self, proposals: list[Proposal]) -> None:
        """Do what the model proposed, and tell it what came of it."""
        answers: list[Answer | None] = [None] * len(proposals)
        with anyio.move_on_after(self._allowance.seconds_for_work()):
            await self._perform_all(proposals, answers)
        done = self._state.reason is StopReason.DONE
        self._tell(proposals, answers, "the task was submitted before it" if done else "the run's time is over")

    def _tell(self, proposals: list[Proposal], answers: Sequence[Answer | None], why_not: str) -> None:
        """Every proposal gets an answer, also one that was not done: a call without a result is an invalid prompt."""
        told = [
            answer or Answer(proposal, f"not done: {why_not}", is_error=True)
            for proposal, answer in zip(proposals, answers, strict=True)
        ]
        self._add(self._offer.protocol.results(told))

    async def _perform_all(self, proposals: list[Proposal], answers: list[Answer | None]) -> None:
        """In order, except that neighbours which may run at the same time do."""
        at = 0
        while at < len(proposals) and self._state.reason is None:
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
        return tool is None or tool.parallel

    async def _perform(self, proposal: Proposal, number: int) -> Answer:
        if proposal.name == SUBMIT and not proposal.problem:
            return self._submit(proposal)
        if proposal.name == PYTHON.name and self._cells is not None and not proposal.problem:
            return self._told(proposal, await self._cells.run(proposal.arguments))
        step = f"tool/{self._state.steps}/{number}"
        outcome = await self._calls.make(proposal.name, proposal.arguments, proposal.id, step, problem=proposal.problem)
        return Answer(proposal, outcome.text, outcome.is_error)

    def _submit(self, proposal: Proposal) -> Answer:
        try:
            self._state.outputs = self._offer.signature.check(proposal.arguments)
        except InvalidOutputs as error:
            return Answer(proposal, f"not accepted: {error}", is_error=True)
        self._state.reason = StopReason.DONE
        return Answer(proposal, "accepted")

    def _told(self, proposal: Proposal, outcome: CellOutcome) -> Answer:
        if outcome.submitted is None:
            return Answer(proposal, outcome.text, outcome.is_error)
        answer = self._submit(Proposal(proposal.id, SUBMIT, outcome.submitted))
        return Answer(proposal, f"{outcome.text}\nSUBMIT {answer.text}".lstrip(), answer.is_error)

    def _finish_with_text(self, text: str) -> None:
        """Plain text ends the run where it is a whole answer; else the model is told what is missing."""
        try:
            if not text.strip():
                raise InvalidOutputs("the answer was empty")
            self._state.outputs = self._offer.signature.read_text(text)
        except InvalidOutputs as error:
            how = "answer with text" if self._offer.signature.text_output else f"call {SUBMIT} with the outputs"
            self._add(Message.user(f"{error}. Go on with the task, or, if you are done, {how}."))
        else:
            self._state.reason = StopReason.DONE

    def _finish_at_limit(self, limit: StopReason, text: str, proposals: list[Proposal]) -> None:
        """Take the final answer that was asked for, if it is one; nothing else that was proposed is done."""
        state = self._state
        state.reason = limit
        if proposals:
            self._tell(proposals, [None] * len(proposals), f"the limit on {limit.value} is reached")
        submitted = next((p for p in proposals if p.name == SUBMIT and not p.problem), None)
        try:
            if submitted is not None:
                state.outputs = self._offer.signature.check(submitted.arguments)
            elif text.strip() and not proposals:
                state.outputs = self._offer.signature.read_text(text)
        except InvalidOutputs as error:
            state.detail = f"the final answer was not accepted: {error}"

    def _request(self, plan: Plan) -> Request:
        """The next request; if it is the last one, it takes a final answer and nothing else."""
        changes: dict[str, Any] = {}
        if plan.max_tokens is not None:
            changes["max_tokens"] = plan.max_tokens
        if plan.last is not None:
            submits = any(tool.name == SUBMIT for tool in self._offer.tools)
            changes["tool_choice"] = self._offer.protocol.choice(self._offer.tools, SUBMIT if submits else None)
        return Request(
            model=self._model.name,
            system=self._offer.system,
            messages=tuple(self._state.messages),
            tools=self._native,
            config=self._model.config(**changes),
        )

    def _warn(self, limit: StopReason) -> None:
        """Tell the model that its next answer is the last."""
        spent: Mapping[str, float] = {
            "steps": self._state.steps,
            "tool_calls": self._budget.spent.tool_calls,
            "tokens": self._budget.spent.tokens,
            "cost_usd": self._budget.spent.cost_usd,
            "seconds": self._budget.seconds_spent(),
        }
        cap = getattr(self._budget.limits, limit.value)
        self._emitter.emit(BudgetWarned(limit=limit.value, spent=spent[limit.value], cap=cap or 0.0))
        how = "Answer with text only." if self._offer.signature.text_output else f"Call {SUBMIT} now."
        self._add(
            Message.user(f"The limit on {limit.value} is reached: give the final answer from what you have. {how}")
        )

    def _on_text(self, text: str) -> None:
        self._emitter.emit(TextDelta(step=self._state.steps, text=text))

    def _add(self, message: Message) -> None:
        self._state.messages.append(message)
        self._note_message(message)

    def _note_message(self, message: Message) -> None:
        if self._emitter.active:
            self._emitter.emit(MessageAdded(message=message_to_json(message)))

    async def _end(self) -> None:
        if self._cells is not None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(10):
                await self._cells.close()
        state = self._state
        finished = RunFinished(
            reason=(state.reason or StopReason.ERROR).value,
            outputs=to_jsonable_python(state.outputs, fallback=str),
            usage=state.usage,
            steps=state.steps,
            tool_calls=self._budget.spent.tool_calls,
            seconds=self._budget.seconds_spent(),
            detail=state.detail,
        )
        try:
            self._emitter.emit(finished)
        except JournalError as error:
            state.reason, state.detail = StopReason.ERROR, str(error)

    def _result(self) -> Result:
        state = self._state
        return Result(
            run_id=self._emitter.run_id,
            reason=state.reason or StopReason.ERROR,
            outputs=state.outputs,
            text=state.text,
            usage=state.usage,
            steps=state.steps,
            tool_calls=self._budget.spent.tool_calls,
            seconds=self._budget.seconds_spent(),
            detail=state.detail,
            messages=tuple(state.messages),
        )


def _sum(one: Usage, other: Usage) -> Usage:
    cost = None if other.cost_usd is None and one.cost_usd is None else (one.cost_usd or 0.0) + (other.cost_usd or 0.0)
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cached_tokens + other.cached_tokens,
        cost,
    )
