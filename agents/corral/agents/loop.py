"""The loop: prompt, model, proposals, effects, observations, until an answer or a limit. There is no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
from dspy.lm15 import Message, Request
from pydantic_core import to_jsonable_python

from corral.agents.acting import Acting
from corral.agents.adapting import Adapting, Change
from corral.agents.allowance import Allowance, Plan
from corral.agents.border import Border
from corral.agents.compaction import WindowTooSmall
from corral.agents.conversation import Conversation
from corral.agents.deadline import within
from corral.agents.effects import Effects
from corral.agents.ending import Progress
from corral.agents.errors import AgentError, ContextOverflow, DefinitionError, JournalError, ModelError
from corral.agents.generation import Generation
from corral.agents.guards import Refused
from corral.agents.media import MediaPart, pictures, shown_with, without_pictures
from corral.agents.meter import Meter
from corral.agents.model import Model
from corral.agents.prompt import SUBMIT, Offer
from corral.agents.protocol import Answer, Proposal
from corral.agents.remembering import Remembering
from corral.agents.rendering import rendering_once
from corral.agents.result import Refusal, Result, StopReason
from corral.agents.translation import texts_of, to_text
from corral.agents.written import is_quoted
from corral.policy import (
    BudgetExceeded,
    BudgetWarned,
    Denied,
    Emitter,
    ModelCalled,
    RunFinished,
    StepStarted,
    TextDelta,
    Usage,
)
from corral.sandbox import SandboxError

__all__ = ["Loop", "Task"]


@dataclass(frozen=True)
class Task:
    """What a run begins with.

    Attributes:
        messages: The conversation before the task; the run adds to it.
        heard: How many of them whoever listens has from an earlier run.
        stream_text: Whether text is emitted as it arrives.
        refused: Why the run may not have its task.
        media: What its text tells of in words.
    """

    remembering: Remembering
    messages: list[Message]
    heard: int = 0
    stream_text: bool = False
    refused: Refused | None = None
    media: Sequence[MediaPart] = ()


_PROTOCOL, _NATIVE, _TEXT = "protocol/1", "native", "text"
"""The step that keeps how a run begins."""
_MOST_REFUSALS = 2
"""Answers that guards and hooks give back before the run ends."""


class Loop:
    """One run. Make it, await `run` once.

    Args:
        offers: Makes what is put before the model, with function calls or in text.
        acting: Does what the model proposes, and keeps `progress` of it.
        border: Says what may leave the run.
    """

    def __init__(
        self,
        offers: Callable[[bool], Offer],
        model: Model,
        effects: Effects,
        emitter: Emitter,
        acting: Acting,
        progress: Progress,
        task: Task,
        border: Border,
    ) -> None:
        self._offers = offers
        self._model = model
        self._effects = effects
        self._emitter = emitter
        self._acting = acting
        self._progress = progress
        self._task = task
        self._border = border
        self._refusals = 0
        self._raised: StopReason | None = None
        self._budget = effects.gate.budget
        self._native = self._spoken(model)
        self._offer = offers(self._native)
        self._meter = Meter(self._offer.system, self._offer.functions)
        self._allowance = Allowance(self._budget, model, self._meter)
        self._talk = Conversation(task.messages, emitter, self._meter, task.heard)
        self._adapting = Adapting(effects.steps, model)
        self._shows = True

    @property
    def usage(self) -> Usage:
        """Of the model calls of this run and of those below it, so far."""
        return self._progress.usage + self._effects.below.usage

    @property
    def unknown(self) -> tuple[str, ...]:
        """Steps whose outcome nobody knows, those below it after the agent's name."""
        return (*self._progress.unknown, *self._effects.below.unknown)

    async def run(self) -> Result:
        """Run to the end. Cancelling it ends model, tools and cells, and is noted before it goes on."""
        task, progress = self._task, self._progress
        try:
            if task.refused is not None:
                raise task.refused
            self._talk.open()
            said = [text for message in task.messages for text in texts_of(message)]
            self._talk.add_task(shown_with(await task.remembering.before(said), task.media))
            with rendering_once():
                while progress.reason is None:
                    await self._step()
                    progress.end_turn()
                    await self._leave()
            progress.detail = await task.remembering.after(progress.outputs) or progress.detail
        except asyncio.CancelledError:
            progress.reason = StopReason.CANCELLED
            raise
        except BudgetExceeded as error:
            progress.end(StopReason(error.limit), error)
        except Denied as error:
            progress.denied.append(Refusal.of(error))
            progress.end(StopReason.DENIED, error)
        except (WindowTooSmall, ContextOverflow) as error:
            progress.end(StopReason.CONTEXT, f"the task does not fit the model's context window: {error}")
        except ModelError as error:
            progress.end(StopReason.MODEL_ERROR, error)
        except DefinitionError as error:
            progress.end(StopReason.ERROR, error)
            raise
        except Refused as error:
            progress.end(StopReason.DENIED, error)
        except (AgentError, SandboxError) as error:
            progress.end(StopReason.ERROR, error)
        except BaseException as error:
            progress.end(StopReason.ERROR, f"{type(error).__name__}: {error}")
            raise
        finally:
            await self._end()
        return self._result()

    async def _step(self) -> None:
        progress = self._progress
        again = self._effects.steps.recorded(f"model/{progress.steps + 1}") is not None
        reached = self._effects.steps.recorded(f"limit/{progress.steps + 1}")
        if await self._acting.news():
            self._offer_anew()
        plan = self._allowance.plan(self._talk.messages, again=again)
        if again or reached:
            plan = replace(plan, last=StopReason(reached[0]) if reached else None)
        progress.steps += 1
        self._emitter.emit(StepStarted(step=progress.steps))
        if self._raised is not None:
            self._talk.add(Message.user(f"The limit on {self._raised.value} was raised: go on with the task."))
            self._raised = None
        if plan.last is not None:
            await self._warn(plan.last)
        generation = await self._answer(plan, again)
        if generation is None:
            return
        text, proposals = self._offer.protocol.read(generation.message, self._emitter.run_id, progress.steps)
        if any(self._quotes(proposal) for proposal in proposals):
            text, proposals = generation.text, []
        progress.text = text or progress.text
        if plan.last is not None:
            if all(proposal.in_text and proposal.name != SUBMIT for proposal in proposals):
                text, proposals = generation.text, []
            if proposals:
                answers = self._acting.refuse(proposals, f"not done: the limit on {plan.last.value} is reached")
                self._talk.add(self._offer.protocol.results(answers))
            progress.finish_at(plan.last, text, proposals)
            if reached and progress.reason is plan.last and self._is_raised(plan.last, reached[1]):
                progress.reopen()
                self._raised = plan.last
        elif proposals:
            await self._act(proposals)
        elif (problem := progress.finish_with(text)) is not None:
            self._talk.add(Message.user(problem))
        elif generation.finish_reason == "length":
            progress.detail = "the answer was cut off: it is as long as max_tokens or the model allows"

    def _is_raised(self, limit: StopReason, before: float | None) -> bool:
        """Whether a resumed run can go on where this limit, at `before`, had ended it; or whether it did already."""
        if self._effects.steps.recorded(f"model/{self._progress.steps + 1}") is not None:
            return True
        cap = self._cap(limit)
        if before is not None and cap is not None and cap <= before:
            return False
        try:
            return self._allowance.plan(self._talk.messages).last is None
        except BudgetExceeded:
            return False

    def _cap(self, limit: StopReason) -> float | None:
        return getattr(self._budget.limits, limit.value)

    def _quotes(self, proposal: Proposal) -> bool:
        """Whether the model only repeats in its text what it was given to read: quoting a call must not be calling."""
        if not proposal.in_text:
            return False
        read = (message for message in self._talk.messages if message.role != "assistant")
        return is_quoted(proposal.written, (text for message in read for text in texts_of(message)))

    async def _answer(self, plan: Plan, again: bool) -> Generation | None:
        """The model's answer; None when the time for going on ran out before it came."""
        seconds = self._budget.seconds_left() if plan.last else self._allowance.seconds_for_work()
        with within(None if again else seconds):
            generation = await self._generate(plan, again)
            self._meter.note(len(self._talk.messages) + 1, generation)
            self._progress.usage += generation.usage
            self._emitter.emit(
                ModelCalled(
                    step=self._progress.steps,
                    model=generation.model or self._model.name,
                    usage=generation.usage,
                    seconds=generation.seconds,
                    finish_reason=generation.finish_reason,
                    cached=generation.cached or generation.usage.cached_tokens > 0,
                )
            )
            self._talk.add(generation.message)
            return generation
        if plan.last is not None:
            self._progress.end(StopReason.SECONDS, "the time was over before the model's final answer came")
        return None

    async def _generate(self, plan: Plan, again: bool) -> Generation:
        """Ask, and ask again where the prompt can be changed so that it is taken."""
        step, reserve = self._progress.steps, plan.reserve
        on_text = self._on_text if self._task.stream_text and not self._border.withholds else None
        for change in self._adapting.recorded(step):
            await self._adapt(change)
        if not again:
            await self._speak_as_the_model_can()
        while True:
            await self._talk.fit(self._model)
            if (kept := self._effects.models.answered(step, reserve)) is not None:
                return kept  # no request is made of it: one goes through the whole conversation
            try:
                return await self._effects.models.generate(self._model, self._request(plan), step, reserve, on_text)
            except ModelError as error:
                prompt = self._meter.prompt(self._talk.messages)
                change = await self._adapting.after(error, step, prompt, self._talk.has_pictures)
                if change is None or (change.to_text and not self._offer.functions):
                    raise
                await self._adapt(change)
                reserve = plan.again

    async def _adapt(self, change: Change) -> None:
        if change.to_text:
            self._speak_text()
        if change.blind:
            self._shows = False
            self._talk.translate(lambda messages: [without_pictures(one) for one in messages], self._meter)
        if change.room is not None:
            await self._talk.compact(change.room)

    def _spoken(self, model: Model) -> bool:
        """Whether the run begins with function calls: as it did, also if it is resumed with another model."""
        steps = self._effects.steps
        before = steps.recorded(_PROTOCOL) if steps.recorded("model/1") is not None else None
        return model.native_tools if before is None else before == _NATIVE

    async def _speak_as_the_model_can(self) -> None:
        """Keep how the run begins, and leave function calls where its model takes none, or no more."""
        if self._progress.steps == 1:
            await self._effects.steps.record(_PROTOCOL, _NATIVE if self._native else _TEXT)
        if self._native and not self._model.native_tools:
            await self._adapt(await self._adapting.without_calls())

    def _offer_anew(self) -> None:
        """Offer what was found, or has changed, since the last step."""
        self._offer = self._offers(self._native)
        self._meter = Meter(self._offer.system, self._offer.functions)
        self._allowance.meter = self._meter
        self._talk.measure_with(self._meter)

    def _speak_text(self) -> None:
        """Go on in the text protocol: function calls don't work here."""
        self._progress.repairs += 1
        self._progress.forgive()
        self._native = False
        self._offer = self._offers(False)
        self._meter = Meter(self._offer.system, ())
        self._allowance.meter = self._meter
        self._talk.translate(to_text, self._meter)

    async def _act(self, proposals: list[Proposal]) -> None:
        """Do what the model proposed, and tell it what came of it."""
        with self._allowance.kept(self._talk.messages, only_if=self._acting.delegates):
            answers = await self._acting.act(proposals, self._allowance.seconds_for_work())
        self._talk.add(self._offer.protocol.results(answers))
        self._show(answers)
        if self._offer.functions and self._adapting.keeps_failing(proposals):
            self._speak_text()

    def _show(self, answers: Sequence[Answer]) -> None:
        """Show the pictures among what was returned, to a model that can see them."""
        returned = [(answer.proposal.name, answer.media) for answer in answers if answer.media]
        if returned and self._shows and self._model.sees and (message := pictures(returned)) is not None:
            self._talk.add(message)

    async def _leave(self) -> None:
        """Let the answer go as guards and hooks leave it; one that they refuse is given back, but not for ever."""
        progress = self._progress
        if progress.reason is None or progress.outputs is None:
            return
        try:
            left = await self._border.leave(progress.outputs, progress.signature, progress.steps, self._talk.messages)
        except Refused as error:
            progress.withhold()
            self._refusals += 1
            if progress.reason is not StopReason.DONE or self._refusals > _MOST_REFUSALS:
                progress.end(StopReason.DENIED, error)
                return
            progress.go_on()
            self._talk.add(Message.user(f"The answer is not accepted: {error.reason}. Give another one."))
        else:
            progress.release(left)

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
            messages=tuple(self._talk.messages),
            tools=self._offer.functions,
            config=self._model.config(**changes),
        )

    async def _warn(self, limit: StopReason) -> None:
        """Tell the model that its next answer is the last; it was also if the run is resumed with more."""
        cap = self._cap(limit)
        await self._effects.steps.record(f"limit/{self._progress.steps}", [limit.value, cap])
        spent: Mapping[str, float] = {
            "steps": self._progress.steps - 1,
            "tool_calls": self._budget.spent.tool_calls,
            "tokens": self._budget.spent.tokens,
            "cost_usd": self._budget.spent.cost_usd,
            "seconds": self._budget.seconds_spent(),
        }
        self._emitter.emit(BudgetWarned(limit=limit.value, spent=spent[limit.value], cap=cap or 0.0))
        how = "Answer with text only." if self._progress.signature.text_output else f"Call {SUBMIT} now."
        self._talk.add(
            Message.user(f"The limit on {limit.value} is reached: give the final answer from what you have. {how}")
        )

    def _on_text(self, text: str) -> None:
        self._emitter.emit(TextDelta(step=self._progress.steps, text=text))

    async def _end(self) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(10):
            await self._acting.close()
        progress = self._progress
        finished = RunFinished(
            reason=(progress.reason or StopReason.ERROR).value,
            outputs=to_jsonable_python(progress.outputs, fallback=str),
            usage=self.usage,
            steps=progress.steps,
            tool_calls=self._budget.spent.tool_calls,
            seconds=self._budget.seconds_spent(),
            detail=progress.detail,
        )
        try:
            self._emitter.emit(finished)
        except JournalError as error:
            progress.end(StopReason.ERROR, error)

    def _result(self) -> Result:
        progress = self._progress
        return Result(
            run_id=self._emitter.run_id,
            reason=progress.reason or StopReason.ERROR,
            outputs=progress.outputs,
            text=progress.text,
            usage=self.usage,
            steps=progress.steps,
            tool_calls=self._budget.spent.tool_calls,
            seconds=self._budget.seconds_spent(),
            detail=progress.detail,
            messages=tuple(self._task.messages),
            repairs=progress.repairs,
            unknown=self.unknown,
            compactions=self._talk.compactions,
            spent=self._budget.spent,
            label=self._effects.seen,
            noted=tuple(self._border.noted),
            denied=tuple(progress.denied),
        )
