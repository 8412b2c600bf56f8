"""Traces: what a run has read and heard, kept so that its values can be explained; JSON in and out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

from corral.policy.audit import AuditRecord
from corral.policy.derivation import Stated, normalise, words
from corral.policy.label import Integrity, Label

__all__ = ["Endorsement", "Traces"]


@dataclass(frozen=True, slots=True)
class Endorsement:
    """A person or a rule vouched for a value; kept, so that the audit can show it.

    Attributes:
        by: Who, such as "user:ann" or a rule's id.
    """

    value: str
    integrity: Integrity
    by: str
    reason: str = ""

    def record(self, run_id: str) -> AuditRecord:
        """What the audit notes of it: the value by its hash, who vouched for it and why."""
        digest, level = sha256(self.value.encode()).hexdigest(), self.integrity.name.lower()
        return AuditRecord(
            "endorsement", run_id, "value", level, self.by, self.by, digest, "allow", None, None, self.reason
        )


@dataclass
class Traces:
    """What one run, or the turns of one session, took in.

    Attributes:
        seen: The join of all that was read.
        trusted: What the user said.
        told: Texts of the program and of sources that were endorsed, by their level.
        known: Single values and the best label that each was seen with.
        words: The words of those values.
        chosen: Ids of things that the user named.
        designated: What was read in things that the user named.
        pointed: Texts of things that the user named, or that such a text names.
        private: Values that may not leave, and who may see them all the same.
        plan: The tools that may still be used; None is no plan.
    """

    seen: Label = field(default_factory=Label.user)
    trusted: Stated = field(default_factory=Stated)
    told: dict[Integrity, Stated] = field(default_factory=dict[Integrity, Stated])
    known: dict[str, Label] = field(default_factory=dict[str, Label])
    words: set[str] = field(default_factory=set[str])
    chosen: set[str] = field(default_factory=set[str])
    designated: set[str] = field(default_factory=set[str])
    pointed: Stated = field(default_factory=Stated)
    private: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    endorsements: list[Endorsement] = field(default_factory=list[Endorsement])
    plan: frozenset[str] | None = None

    @classmethod
    def unknown(cls, source: str) -> Self:
        """Those of somebody of whom nothing is known but that he may have read anything."""
        return cls(seen=Label.untrusted(source))

    def know(self, value: Any, label: Label) -> None:
        """A value was seen with this label; the best one is kept."""
        wanted = normalise(value)
        before = self.known.get(wanted)
        if before is None or before.integrity < label.integrity:
            self.known[wanted] = label
        self.words |= words(wanted)

    def tell(self, text: str, integrity: Integrity) -> None:
        """A source that is worth so much said this."""
        self.told.setdefault(integrity, Stated()).add(text)

    def endorse(self, endorsement: Endorsement) -> None:
        self.endorsements.append(endorsement)
        self.know(endorsement.value, Label(endorsement.integrity, sources=frozenset((endorsement.by,))))

    def copy(self) -> Traces:
        """The same, for somebody who goes on from here alone."""
        return Traces.from_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "seen": self.seen.to_json(),
            "trusted": self.trusted.texts,
            "told": {integrity.name: stated.texts for integrity, stated in self.told.items()},
            "known": {value: label.to_json() for value, label in self.known.items()},
            "chosen": sorted(self.chosen),
            "designated": sorted(self.designated),
            "pointed": self.pointed.texts,
            "private": {value: sorted(readers) for value, readers in self.private.items()},
            "endorsements": [[e.value, e.integrity.name, e.by, e.reason] for e in self.endorsements],
            "plan": None if self.plan is None else sorted(self.plan),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` made.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        traces = cls(
            seen=Label.from_json(data["seen"]),
            trusted=_stated(data["trusted"]),
            told={Integrity[level]: _stated(texts) for level, texts in data["told"].items()},
            chosen=set(data["chosen"]),
            designated=set(data["designated"]),
            pointed=_stated(data["pointed"]),
            private={value: frozenset(readers) for value, readers in data["private"].items()},
            endorsements=[
                Endorsement(value, Integrity[level], by, why) for value, level, by, why in data["endorsements"]
            ],
            plan=None if data["plan"] is None else frozenset(data["plan"]),
        )
        for value, label in data["known"].items():
            traces.know(value, Label.from_json(label))
        return traces


def _stated(texts: Iterable[str]) -> Stated:
    stated = Stated()
    for text in texts:
        stated.add(text)
    return stated
