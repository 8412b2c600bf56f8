"""Guards as an agent file names them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from corral.agents.errors import DefinitionError
from corral.agents.guards import Canary, Guard, Length, Pattern, Redact, Schema

__all__ = ["GuardSpec", "GuardsSection"]

_KINDS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "length": (Length, ("most", "least")),
    "pattern": (Pattern, ("pattern", "means", "required")),
    "redact": (Redact, ()),
    "schema": (Schema, ("schema",)),
    "canary": (Canary, ()),
}


class GuardSpec(BaseModel):
    """One guard; see `corral.agents.guards`.

    Attributes:
        then: What becomes of a finding, `on` in code (which YAML takes for a yes); by default what the kind does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    kind: Literal["length", "pattern", "redact", "schema", "canary"]
    then: Literal["block", "redact", "flag"] | None = None
    fields: list[str] | None = None
    most: int | None = None
    least: int | None = None
    pattern: str | None = None
    means: str | None = None
    required: bool | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")

    def made(self) -> Guard:
        """The guard.

        Raises:
            DefinitionError: It takes something else.
        """
        made, takes = _KINDS[self.kind]
        given = self.model_dump(by_alias=True, exclude_none=True, exclude={"kind", "then"})
        if self.then is not None:
            given["on"] = self.then
        strange = set(given) - {*takes, "on", "fields"}
        if strange:
            raise DefinitionError(f"a guard of the kind {self.kind} takes no {', '.join(sorted(strange))}")
        try:
            guard: Guard = made(**given)
        except TypeError as error:
            why = str(error).partition("() ")[2] or str(error)
            raise DefinitionError(f"a guard of the kind {self.kind}: {why}") from None
        return guard


class GuardsSection(BaseModel):
    """What may enter a run, and what may leave it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: list[GuardSpec] = []
    output: list[GuardSpec] = []

    def made(self, side: Literal["input", "output"]) -> list[Guard]:
        """The guards of one side."""
        return [spec.made() for spec in (self.input if side == "input" else self.output)]
