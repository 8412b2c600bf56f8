"""The loop: prompt, model, proposals, effects, observations, until an answer or a limit. There is no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import anyio
from dspy.lm15 import Message

from corral.agents.acting import Acting
from corral.agents.allowance import Allowance, Plan
from corral.agents.border import Border
from corral.agents.compaction import WindowTooSmall
from corral.agents.deadline import within
from corral.agents.dialogue import Dialogue
from corral.agents.effects import Effects
from corral.agents.ending import Progress
from corral.agents.errors import AgentError, ContextOverflow, DefinitionError, JournalError, ModelError
from corral.agents.generation import Generation
from corral.agents.guards import Refused
from corral.agents.media import MediaPart, as_json, shown_with
from corral.agents.model import Model
from corral.agents.planning import Planning
from corral.agents.prompt import SUBMIT, Offer
from corral.agents.protocol import Proposal
from corral.agents.remembering import Remembering
from corral.agents.rendering import rendering_once
from corral.agents.result import Refusal, Result, StopReason
from corral.agents.translation import texts_of
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
        planning: Makes the plan of tools, before anything is read; None if the policy asks for none.
    """

    remembering: Remembering
    messages: list[Message]
    heard: int = 0
    stream_text: bool = False
    refused: Refused | None = None
    media: Sequence[MediaPart] = ()
    planning: Planning | None = None


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
        self._talk = Dialogue(offers, model, effects, emitter, progress, task.messages, task.heard)
        self._allowance = Allowance(self._budget, model, self._talk.meter)

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
            conversation = self._talk.conversation
            conversation.open()
            if task.planning is not None:
                progress.usage += await task.planning.make()
            said = [text for message in task.messages for text in texts_of(message)]
            conversation.add_task(shown_with(await task.remembering.before(said), task.media))
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
            self._talk.offer_anew()
        plan = self._allowance.plan(self._talk.messages, again=again)
        if again or reached:
            plan = replace(plan, last=StopReason(reached[0]) if reached else None)
        progress.steps += 1
        self._emitter.emit(StepStarted(step=progress.steps))
        if self._raised is not None:
            self._talk.tell(f"The limit on {self._raised.value} was raised: go on with the task.")
            self._raised = None
        if plan.last is not None:
            await self._warn(plan.last)
        generation = await self._answer(plan, again)
        if generation is None:
            return
        text, proposals = self._talk.read(generation)
        progress.text = text or progress.text
        if plan.last is not None:
            if all(proposal.in_text and proposal.name != SUBMIT for proposal in proposals):
                text, proposals = generation.text, []
            if proposals:
                why = f"not done: the limit on {plan.last.value} is reached"
                self._talk.answer(self._acting.refuse(proposals, why))
            progress.finish_at(plan.last, text, proposals)
            if reached and progress.reason is plan.last and self._is_raised(plan.last, reached[1]):
                progress.reopen()
                self._raised = plan.last
        elif proposals:
            await self._act(proposals)
        elif (problem := progress.finish_with(text)) is not None:
            self._talk.tell(problem)
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

    async def _answer(self, plan: Plan, again: bool) -> Generation | None:
        """The model's answer; None when the time for going on ran out before it came."""
        seconds = self._budget.seconds_left() if plan.last else self._allowance.seconds_for_work()
        with within(None if again else seconds):
            on_text = self._on_text if self._task.stream_text and not self._border.withholds else None
            generation = await self._talk.ask(plan, again=again, on_text=on_text)
            self._progress.usage += generation.usage
            self._progress.repairs += generation.repairs
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
            self._talk.heard(generation)
            return generation
        if plan.last is not None:
            self._progress.end(StopReason.SECONDS, "the time was over before the model's final answer came")
        return None

    async def _act(self, proposals: list[Proposal]) -> None:
        """Do what the model proposed, and tell it what came of it."""
        with self._allowance.kept(self._talk.messages, only_if=self._acting.delegates):
            answers = await self._acting.act(proposals, self._allowance.seconds_for_work())
        self._talk.answer(answers)
        self._talk.judge(proposals)

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
            self._talk.tell(f"The answer is not accepted: {error.reason}. Give another one.")
        else:
            progress.release(left)

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
        self._talk.tell(f"The limit on {limit.value} is reached: give the final answer from what you have. {how}")

    def _on_text(self, text: str) -> None:
        self._emitter.emit(TextDelta(step=self._progress.steps, text=text))

    async def _end(self) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(10):
            await self._acting.close()
        progress = self._progress
        finished = RunFinished(
            reason=(progress.reason or StopReason.ERROR).value,
            outputs=as_json(progress.outputs),
            usage=self.usage,
            steps=progress.steps,
            tool_calls=self._budget.spent.tool_calls,
            seconds=self._budget.seconds_spent(),
            detail=progress.detail,
            repairs=progress.repairs,
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
            compactions=self._talk.conversation.compactions,
            spent=self._budget.spent,
            label=self._effects.seen,
            noted=tuple(self._border.noted),
            denied=tuple(progress.denied),
            artifacts=self._acting.artifacts,
        )
