"""Guards as terms of a metric: how many of them have nothing to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corral.agents.door import run_in_background
from corral.agents.guards.guard import About, Guard

__all__ = ["GuardMetric"]


class GuardMetric:
    """A DSPy metric: from 0 to 1, the share of `guards` that find nothing in a prediction; one that fails finds.

    Args:
        weights: Of each guard; equal by default.
        sources: The field of the example that has what the answer should rest on.
    """

    def __init__(self, *guards: Guard, weights: list[float] | None = None, sources: str | None = None) -> None:
        self.guards = guards
        self._weights = weights or [1.0] * len(guards)
        self._sources = sources
        if not guards or len(self._weights) != len(guards) or sum(self._weights) <= 0:
            raise ValueError("a metric takes guards, and a weight for each of them")

    def __call__(self, example: Any, prediction: Any, trace: Any = None, *_: Any) -> float:
        return run_in_background(lambda: self.score(example, prediction))

    async def score(self, example: Any, prediction: Any) -> float:
        """The same for async code."""
        values: dict[str, Any] = dict(prediction.items())
        given: Mapping[str, Any] = dict(example.inputs().items())
        sources = [str(example[self._sources])] if self._sources else []
        about = About(given, sources)
        kept = [await self._passes(guard, values, about) for guard in self.guards]
        return sum(w for w, ok in zip(self._weights, kept, strict=True) if ok) / sum(self._weights)

    async def _passes(self, guard: Guard, values: Mapping[str, Any], about: About) -> bool:
        try:
            reasons, _ = await guard.inspect(values, about)
        except Exception:  # noqa: BLE001 - guards may be foreign code, and a failing one has not passed
            return False
        return not reasons
