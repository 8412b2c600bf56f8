"""Labels as they are stored, and as they come back."""

from __future__ import annotations

import json
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from corral.memory.scope import Scope
from corral.policy import Confidentiality, Integrity, Label

__all__ = ["may_see", "pack_label", "recalled_label", "unpack_label"]


class _Packed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    integrity: str
    confidentiality: str
    sources: list[str] = []
    readers: list[str] | None = None


@lru_cache(maxsize=1024)
def pack_label(label: Label) -> str:
    """`label` as one line of JSON; equal labels give equal text."""
    return json.dumps(
        {
            "integrity": label.integrity.name.lower(),
            "confidentiality": label.confidentiality.name.lower(),
            "sources": sorted(label.sources),
            "readers": None if label.readers is None else sorted(label.readers),
        }
    )


@lru_cache(maxsize=1024)
def unpack_label(text: str) -> Label:
    """The label that `pack_label` wrote.

    Raises:
        ValueError: `text` is no label.
    """
    packed = _Packed.model_validate_json(text)
    try:
        integrity = Integrity[packed.integrity.upper()]
        confidentiality = Confidentiality[packed.confidentiality.upper()]
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is no level of a label") from None
    readers = None if packed.readers is None else frozenset(packed.readers)
    return Label(integrity, confidentiality, frozenset(packed.sources), readers)


def recalled_label(label: Label, resource: str) -> Label:
    """The label of text stored with `label`, once it comes out of the memory `resource`."""
    integrity = min(label.integrity, Integrity.ATTESTED)
    return Label(integrity, label.confidentiality, label.sources | {resource}, label.readers)


def may_see(label: Label, scope: Scope) -> bool:
    """Whether the user or the agent of `scope` is among the label's readers."""
    return label.readers is None or not label.readers.isdisjoint((f"user:{scope.user}", f"agent:{scope.agent}"))
