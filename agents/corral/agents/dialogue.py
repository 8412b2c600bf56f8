"""The dialogue with a run's model: what is put before it, in which protocol, and what is changed when that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dspy.lm15 import Message, Request

from corral.agents.adapting import Adapting, Change
from corral.agents.allowance import Plan
from corral.agents.conversation import Conversation
from corral.agents.effects import Effects
from corral.agents.ending import Progress
from corral.agents.errors import ModelError
from corral.agents.generation import Generation
from corral.agents.media import pictures, without_pictures
from corral.agents.meter import Meter
from corral.agents.model import Model
from corral.agents.prompt import SUBMIT, Offer
from corral.agents.protocol import Answer, Proposal
from corral.agents.translation import texts_of, to_text
from corral.agents.written import is_quoted
from corral.policy import Emitter

__all__ = ["Dialogue"]

_PROTOCOL, _NATIVE, _TEXT = "protocol/1", "native", "text"
"""The step that keeps how a run begins."""


class Dialogue:
    """Asks the model, reads its answers, and tells it what came of them.

    Args:
        offers: Makes what is put before the model, with function calls or in text.
        messages: The conversation before the task; it grows with the run.
        heard: How many of them whoever listens has from an earlier run.
    """

    def __init__(
        self,
        offers: Callable[[bool], Offer],
        model: Model,
        effects: Effects,
        emitter: Emitter,
        progress: Progress,
        messages: list[Message],
        heard: int,
    ) -> None:
        self._offers = offers
        self._model = model
        self._effects = effects
        self._run_id = emitter.run_id
        self._progress = progress
        self._adapting = Adapting(effects.steps, model)
        self._native = self._begins_native()
        self._shows = True
        self._offer = offers(self._native)
        self.meter = Meter(self._offer.system, self._offer.functions)
        self.conversation = Conversation(messages, emitter, self.meter, heard)

    @property
    def messages(self) -> Sequence[Message]:
        return self.conversation.messages

    def tell(self, text: str) -> None:
        """Say something to the model."""
        self.conversation.add(Message.user(text))

    async def ask(self, plan: Plan, *, again: bool, on_text: Callable[[str], None] | None) -> Generation:
        """The next answer, which is not in the conversation yet. Asks again where the prompt can be changed so that it
        is taken.

        Args:
            again: It is recorded, and only looked up.
        """
        step, reserve = self._progress.steps, plan.reserve
        for change in self._adapting.recorded(step):
            await self._adapt(change)
        if not again:
            await self._speak_as_the_model_can()
        while True:
            await self.conversation.fit(self._model)
            if (kept := self._effects.models.answered(step, reserve)) is not None:
                return kept  # no request is made of it: one goes through the whole conversation
            try:
                return await self._effects.models.generate(self._model, self._request(plan), step, reserve, on_text)
            except ModelError as error:
                prompt = self.meter.prompt(self.messages)
                change = await self._adapting.after(error, step, prompt, self.conversation.has_pictures)
                if change is None or (change.to_text and not self._offer.functions):
                    raise
                await self._adapt(change)
                reserve = plan.again

    def heard(self, generation: Generation) -> None:
        """Add an answer, and learn from what the server counted."""
        self.meter.note(len(self.messages) + 1, generation)
        self.conversation.add(generation.message)

    def read(self, generation: Generation) -> tuple[str, list[Proposal]]:
        """The text of an answer, and what it proposes."""
        text, proposals = self._offer.protocol.read(generation.message, self._run_id, self._progress.steps)
        if any(self._quotes(proposal) for proposal in proposals):
            return generation.text, []
        return text, proposals

    def answer(self, answers: Sequence[Answer]) -> None:
        """Tell the model what its proposals came to; pictures too, if it can see them."""
        self.conversation.add(self._offer.protocol.results(answers))
        returned = [(answer.proposal.name, answer.media) for answer in answers if answer.media]
        if returned and self._shows and self._model.sees and (message := pictures(returned)) is not None:
            self.conversation.add(message)

    def judge(self, proposals: Sequence[Proposal]) -> None:
        """Go on in text if function calls keep failing."""
        if self._offer.functions and self._adapting.keeps_failing(proposals):
            self._speak_text()

    def offer_anew(self) -> None:
        """Offer what was found, or has changed, since the last step."""
        self._offer = self._offers(self._native)
        self.meter.begin(self._offer.system, self._offer.functions)

    def _quotes(self, proposal: Proposal) -> bool:
        """Whether the model only repeats in its text what it was given to read: quoting a call must not be calling."""
        if not proposal.in_text:
            return False
        read = (message for message in self.messages if message.role != "assistant")
        return is_quoted(proposal.written, (text for message in read for text in texts_of(message)))

    async def _adapt(self, change: Change) -> None:
        if change.to_text:
            self._speak_text()
        if change.blind:
            self._shows = False
            self.conversation.translate(lambda messages: [without_pictures(one) for one in messages])
        if change.room is not None:
            await self.conversation.compact(change.room)

    def _begins_native(self) -> bool:
        """Whether the run begins with function calls: as it did, also if it is resumed with another model."""
        steps = self._effects.steps
        before = steps.recorded(_PROTOCOL) if steps.recorded("model/1") is not None else None
        return self._model.native_tools if before is None else before == _NATIVE

    async def _speak_as_the_model_can(self) -> None:
        """Keep how the run begins, and leave function calls where its model takes none, or no more."""
        if self._progress.steps == 1:
            await self._effects.steps.record(_PROTOCOL, _NATIVE if self._native else _TEXT)
        if self._native and not self._model.native_tools:
            await self._adapt(await self._adapting.without_calls())

    def _speak_text(self) -> None:
        """Go on in the text protocol: function calls don't work here."""
        self._progress.repairs += 1
        self._progress.forgive()
        self._native = False
        self.offer_anew()
        self.conversation.translate(to_text)

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
            messages=tuple(self.messages),
            tools=self._offer.functions,
            config=self._model.config(**changes),
        )
