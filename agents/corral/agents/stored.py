"""What a stored step keeps of a tool's observation, of memory, and of a refusal, as JSON."""

from __future__ import annotations

from typing import Any, cast

from corral.agents.steps import Codec, json_codec
from corral.memory import Receipt, Recollection
from corral.policy import Action, BudgetExceeded, Denied, Judgement, Label, Verdict
from corral.tools import Media, Observation

__all__ = [
    "OBSERVATION",
    "RECEIPT",
    "RECOLLECTIONS",
    "bad_call_from_json",
    "bad_call_to_json",
    "refusal_from_json",
    "refusal_to_json",
]

_REFUSED = "refused"
"""The one key of a recorded refusal; no codec here uses it."""
_BAD_CALL = "bad_call"
"""The one key of a recorded call that could not be made: the tools may be others when the run is resumed."""


def bad_call_to_json(said: str) -> dict[str, Any]:
    """What the model was told of a call that could not be made."""
    return {_BAD_CALL: said}


def bad_call_from_json(data: Any) -> str | None:
    """What it was told then, or None if the step is something else."""
    return cast("dict[str, Any]", data).get(_BAD_CALL) if isinstance(data, dict) else None


def refusal_to_json(error: Denied | BudgetExceeded) -> dict[str, Any]:
    """Why the gate did not let something happen."""
    if isinstance(error, BudgetExceeded):
        return {_REFUSED: [error.limit, error.cap, error.spent, error.needed]}
    action, judgement = error.action, error.judgement
    said = {"resource": action.resource, "verb": action.verb, "reason": judgement.reason, "rule": judgement.rule}
    return {_REFUSED: said}


def refusal_from_json(data: Any) -> Denied | BudgetExceeded | None:
    """The refusal that was stored, or None if something else was."""
    if not isinstance(data, dict) or _REFUSED not in data:
        return None
    said: Any = cast("dict[str, Any]", data)[_REFUSED]
    if isinstance(said, list):
        return BudgetExceeded(*cast("list[Any]", said))
    judgement = Judgement(Verdict.DENY, said["reason"], said["rule"])
    return Denied(Action(said["resource"], said["verb"]), judgement)


def _dump_observation(observation: Observation) -> Any:
    return {
        "text": observation.text,
        "structured": observation.structured,
        "is_error": observation.is_error,
        "label": observation.label.to_json(),
        **({"media": [[one.media_type, one.data] for one in observation.media]} if observation.media else {}),
    }


def _load_observation(data: Any) -> Observation:
    label = Label.from_json(data["label"])
    media = tuple(Media(kind, base64) for kind, base64 in data.get("media", ()))
    return Observation(data["text"], structured=data["structured"], is_error=data["is_error"], label=label, media=media)


OBSERVATION: Codec[Observation] = Codec(_dump_observation, _load_observation)
RECOLLECTIONS: Codec[list[Recollection]] = json_codec(list[Recollection])
RECEIPT: Codec[Receipt] = json_codec(Receipt)
