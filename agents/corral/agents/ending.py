"""How a run ends: the progress it has made, and when an answer of the model is the answer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from corral.agents.prompt import SUBMIT
from corral.agents.protocol import Answer, Proposal
from corral.agents.result import Refusal, StopReason
from corral.agents.signature import InvalidOutputs, TaskSignature
from corral.policy import Usage

__all__ = ["Progress"]

_ENCODER = json.JSONEncoder(sort_keys=True, default=str)
_MOST_INVALID = 5
"""Answers that can't be used, without anything new between them, or one and the same submitted: more only cost more."""


@dataclass
class Progress:
    """What a run has come to so far; with a `reason` it is over."""

    signature: TaskSignature
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    text: str = ""
    outputs: dict[str, Any] | None = None
    reason: StopReason | None = None
    detail: str = ""
    repairs: int = 0
    unknown: list[str] = field(default_factory=list[str])
    denied: list[Refusal] = field(default_factory=list[Refusal])
    _worked: bool = False
    """Whether this turn did something new."""
    _done: set[int] = field(default_factory=set[int])
    _rejected: str = ""
    _invalid: int = 0
    _submitted: Counter[str] = field(default_factory=Counter[str])

    def end(self, reason: StopReason, detail: object) -> None:
        """End the run without more."""
        self.reason, self.detail = reason, str(detail)

    def reject(self, why: object) -> None:
        """Note that what the model said can't be used."""
        self.repairs += 1
        self._rejected = str(why)

    def work(self, answer: Answer) -> Answer:
        """Note a call, or a cell; one that was made before, and came to the same, brings the run no further."""
        proposal = answer.proposal
        done = hash((proposal.name, _as_json(proposal.arguments), answer.text, answer.media))
        self._worked |= done not in self._done
        self._done.add(done)
        return answer

    def end_turn(self) -> None:
        """Count the answers that can't be used, and end the run when they are too many."""
        if self._worked:
            self._invalid = 0
        elif self._rejected:
            self._invalid += 1
        same = max(self._submitted.values(), default=0)
        if self.reason is None and self._rejected and max(self._invalid, same) >= _MOST_INVALID:
            many = f"{self._invalid} answers in a row" if self._invalid >= same else f"an answer that came {same} times"
            self.end(StopReason.INVALID, f"{many} can't be used; the last: {self._rejected}")
        self._worked, self._rejected = False, ""

    def forgive(self) -> None:
        """Count anew: the model is asked in another way from now on."""
        self._invalid = 0
        self._submitted.clear()

    def submit(self, proposal: Proposal) -> Answer:
        """Take the outputs if they fit; the model is told if they don't."""
        try:
            self.outputs = self.signature.check(proposal.arguments)
        except InvalidOutputs as error:
            self.reject(error)
            self._submitted[_as_json(proposal.arguments)] += 1
            return Answer(proposal, f"not accepted: {error}", is_error=True)
        self.reason = StopReason.DONE
        return Answer(proposal, "accepted")

    def take_over(self, proposal: Proposal, value: Any) -> Answer:
        """End with what another agent came to, where it is a whole answer."""
        try:
            self.outputs = self.signature.read_text(value) if isinstance(value, str) else self.signature.check(value)
        except InvalidOutputs as error:
            return Answer(proposal, f"{value}\n(this does not fit what you have to answer: {error})", is_error=True)
        self.text = value if isinstance(value, str) else self.text
        self.reason = StopReason.DONE
        return Answer(proposal, "its answer is the answer")

    def release(self, outputs: dict[str, Any]) -> None:
        """Let the answer be these outputs; what was said beside them was said of others."""
        if outputs != self.outputs:
            self.outputs = outputs
            name = self.signature.text_output
            self.text = "" if name is None else str(outputs[name])

    def withhold(self) -> None:
        """Let nobody have the answer."""
        self.outputs, self.text = None, ""

    def go_on(self) -> None:
        """It is not over: the answer was given back."""
        self.reason, self.detail = None, ""
        self.repairs += 1

    def reopen(self) -> None:
        """It goes on: the limit that ended it is higher by now."""
        self.reason, self.outputs, self.detail = None, None, ""

    def finish_with(self, text: str) -> str | None:
        """End with plain text where it is a whole answer; else what the model is to be told."""
        try:
            if not text.strip():
                raise InvalidOutputs("the answer was empty")
            self.outputs = self.signature.read_text(text)
        except InvalidOutputs as error:
            self.reject(error)
            how = "answer with text" if self.signature.text_output else f"call {SUBMIT} with the outputs"
            return f"{error}. Go on with the task, or, if you are done, {how}."
        self.reason = StopReason.DONE
        return None

    def finish_at(self, limit: StopReason, text: str, proposals: Sequence[Proposal]) -> None:
        """Take the final answer that was asked for at a limit, if it is one.

        In the first step nothing was cut off: who allows one answer, or no calls, and gets the whole answer, is done.
        Later it is what the model made of what it had got so far, and the reason says so.
        """
        self.reason = limit
        submitted = next((p for p in proposals if p.name == SUBMIT and not p.problem), None)
        try:
            if submitted is not None:
                self.outputs = self.signature.check(submitted.arguments)
            elif text.strip() and not proposals:
                self.outputs = self.signature.read_text(text)
        except InvalidOutputs as error:
            self.detail = f"the final answer was not accepted: {error}"
        if self.outputs is not None and self.steps == 1:
            self.reason = StopReason.DONE


def _as_json(value: Any) -> str:
    return _ENCODER.encode(value)
