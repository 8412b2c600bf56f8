"""A guard: looks at inputs or outputs, and says what it found there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from corral.agents.errors import DefinitionError
from corral.agents.member import Member
from corral.agents.result import Result
from corral.agents.signature import as_text
from corral.tools import Observation, Tool

__all__ = ["About", "Found", "Guard", "On"]

On = Literal["block", "redact", "flag"]


@dataclass(frozen=True, slots=True)
class Found:
    """Something that should not be there.

    Attributes:
        reason: For the model and the person; it does not repeat what was found.
        redacted: The text without it, from guards that can take it out.
    """

    reason: str
    redacted: str | None = None


@dataclass(frozen=True)
class About:
    """What a guard may know beside the values, and its ways to cause something, each through the run's gate.

    Attributes:
        inputs: Of the run, by name.
        sources: What the model has read: results of tools and of cells, in order.
        call: Calls a tool; None outside of a run.
        ask: Has a member answer; None outside of a run.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sources: Sequence[str] = ()
    call: Callable[[Tool, dict[str, Any]], Awaitable[Observation]] | None = None
    ask: Callable[[Member, dict[str, Any]], Awaitable[Result]] | None = None


class Guard:
    """One check. Override `look`, for texts, or `inspect`, for all values together.

    Args:
        on: What becomes of a finding: "block" refuses the values, "redact" takes it out, "flag" notes it.
        fields: Names that it looks at; None is all.
        name: How events and refusals name it; by default the class.

    Raises:
        DefinitionError: It can't take anything out, and was to.
    """

    redacts = False
    """Whether it can take out what it finds."""

    def __init__(self, *, on: On = "block", fields: Sequence[str] | None = None, name: str = "") -> None:
        self.name = name or type(self).__name__.lower()
        if on not in ("block", "redact", "flag"):
            raise DefinitionError(f"the guard {self.name!r} can block, redact or flag, not {on!r}")
        if on == "redact" and not self.redacts:
            raise DefinitionError(f"the guard {self.name!r} can't take out what it finds: block or flag it")
        self.on: On = on
        self.fields = None if fields is None else tuple(fields)

    async def look(self, text: str, about: About) -> Found | None:
        """What it finds in one text; None is nothing."""
        return None

    async def inspect(self, values: Mapping[str, Any], about: About) -> tuple[list[str], dict[str, Any]]:
        """Why the values are not as they should be, and the values without it."""
        reasons: list[str] = []
        left = dict(values)
        for name, value in values.items():
            if self.fields is None or name in self.fields:
                left[name] = await self._walk(value, about, reasons) if self.on == "redact" else value
                if self.on != "redact" and (found := await self.look(as_text(value), about)) is not None:
                    reasons.append(f"{name}: {found.reason}")
        return reasons, left

    async def _walk(self, value: Any, about: About, reasons: list[str]) -> Any:
        """The value, with what was found taken out of every text in it."""
        if isinstance(value, str):
            found = await self.look(value, about)
            if found is None:
                return value
            reasons.append(found.reason)
            return value if found.redacted is None else found.redacted
        if isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value).items()
            return {name: await self._walk(one, about, reasons) for name, one in items}
        if isinstance(value, list | tuple):
            return [await self._walk(one, about, reasons) for one in cast("Sequence[Any]", value)]
        if hasattr(value, "model_dump"):
            dumped = await self._walk(value.model_dump(), about, reasons)
            return cast("Any", type)(value).model_validate(dumped)
        return value
