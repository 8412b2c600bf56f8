"""What a model's tokens cost."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Price", "known_price", "known_sight", "known_window"]


class Price(BaseModel):
    """US dollars per million tokens.

    Attributes:
        cached: For input tokens that the server took from its prompt cache; None is the price of `input`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """US dollars; `cached_tokens` is the part of `input_tokens` that was cached."""
        cached = self.input if self.cached is None else self.cached
        fresh = input_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached + output_tokens * self.output) / 1e6


def known_price(provider: str, model: str) -> Price | None:
    """The list price in the table that DSPy ships, or None where the model is not in it."""
    table, info = _look_up(provider, model)
    keys = ("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost")
    inputs, outputs, cached = (None if (rate := table.rate(info, key)) is None else rate * 1e6 for key in keys)
    if inputs is None or outputs is None:
        return None
    return Price(input=inputs, output=outputs, cached=cached)


def known_window(provider: str, model: str) -> int | None:
    """Tokens that a model takes, prompt and answer together, by the same table; None where it says nothing."""
    _, info = _look_up(provider, model)
    tokens = info.get("max_input_tokens") or info.get("max_tokens")
    return int(tokens) if isinstance(tokens, int | float) and tokens >= 1 else None


def known_sight(provider: str, model: str) -> bool:
    """Whether a model takes pictures, by the same table."""
    _, info = _look_up(provider, model)
    return bool(info.get("supports_vision"))


def _look_up(provider: str, model: str) -> tuple[Any, Any]:
    import dspy.clients.model_metadata as metadata  # reading the table costs 35 ms: only for those who ask

    table: Any = metadata
    with _packaged_table_only():
        return table, table.model_info(provider, model)


@contextmanager
def _packaged_table_only() -> Generator[None]:
    """DSPy fetches a newer table from the network at the first look-up (five seconds behind a silent firewall).

    A price is not worth a connection that nobody asked for. The variable is DSPy's own switch; it is read once.
    """
    name = "LITELLM_LOCAL_MODEL_COST_MAP"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
