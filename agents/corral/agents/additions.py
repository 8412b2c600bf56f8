"""Additions: what JSON has more than an earlier state of it, so that a long session is not kept whole at every turn."""

from __future__ import annotations

from typing import Any, cast

__all__ = ["added", "joined"]

_MISSING = object()


def added(before: Any, now: Any) -> dict[str, Any] | None:
    """What `joined` needs to make `now` of `before`; None if they are the same.

    Lists of strings that only grew are told by what is new; where that is not at their end, their order is lost.
    """
    if before == now:
        return None
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() <= now.keys():
        had = cast("dict[str, Any]", before)
        inside = {key: added(had.get(key, _MISSING), value) for key, value in cast("dict[str, Any]", now).items()}
        return {"in": {key: change for key, change in inside.items() if change is not None}}
    if isinstance(before, list) and isinstance(now, list):
        old, new = cast("list[Any]", before), cast("list[Any]", now)
        if new[: len(old)] == old:
            return {"then": new[len(old) :]}
        if all(isinstance(one, str) for one in (*old, *new)) and set(old) <= set(new):
            known = set(old)
            return {"then": [one for one in new if one not in known]}
    return {"is": now}


def joined(before: Any, change: dict[str, Any] | None) -> Any:
    """What `added` found, on top of what it was found against.

    Raises:
        KeyError, TypeError, AttributeError: They don't belong together.
    """
    if change is None:
        return before
    if "in" in change:
        return {**before, **{key: joined(before.get(key), inner) for key, inner in change["in"].items()}}
    return [*before, *change["then"]] if "then" in change else change["is"]
