"""Sinks: what the arguments of a call with effects must derive from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from corral.policy.action import Action
from corral.policy.derivation import ADDRESS, LINK, leaves, normalise
from corral.policy.judgement import GrantScope, Judgement, Verdict
from corral.policy.label import Integrity
from corral.policy.manifest import EffectClass, Role, ToolManifest

if TYPE_CHECKING:
    from corral.policy.provenance import Provenance

__all__ = ["FLOORS", "Sinks"]

FLOORS: Mapping[tuple[EffectClass, Role], Integrity] = {
    (EffectClass.EGRESS_READ, Role.TARGET): Integrity.USER,
    (EffectClass.WRITE, Role.TARGET): Integrity.DIRECTORY,
    (EffectClass.SEND, Role.TARGET): Integrity.DIRECTORY,
    (EffectClass.ADMIN, Role.TARGET): Integrity.DIRECTORY,
    (EffectClass.COMMIT, Role.TARGET): Integrity.USER,
    (EffectClass.DESTROY, Role.TARGET): Integrity.USER,
    (EffectClass.WRITE, Role.OBJECT): Integrity.ATTESTED,
    (EffectClass.SEND, Role.OBJECT): Integrity.ATTESTED,
    (EffectClass.COMMIT, Role.OBJECT): Integrity.ATTESTED,
    (EffectClass.ADMIN, Role.OBJECT): Integrity.USER,
    (EffectClass.DESTROY, Role.OBJECT): Integrity.USER,
    **{(effect, Role.SECRET): Integrity.USER for effect in EffectClass if effect is not EffectClass.READ},
}
"""The least integrity of an argument by what the call does and what the argument decides. Amounts have none: they are
computed, and rules (`args.amount: {max: ...}`) bound them."""

_OUTGOING = (EffectClass.EGRESS_READ, EffectClass.SEND, EffectClass.COMMIT)
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}[A-Z0-9]{10,30}\b")


class _Objection(NamedTuple):
    """Why a call should not simply happen; `traced` where a person could check what it is about."""

    why: str
    traced: bool = True


@dataclass(frozen=True)
class Sinks:
    """Judges calls by the provenance of their arguments; it asks, or denies what lies outside the plan.

    Attributes:
        untraced: What becomes of a call with a target, a secret, a title or a link of which a person could not check
            where it comes from either: nothing vouches for it, and it stands in nothing that the user named. DENY
            bounds what an approver who agrees to everything lets through.
        underived: What becomes of a call with an argument that derives from nothing good enough; ALLOW leaves it to the
            rules, and only a frozen plan still denies.
        lexical_plan: Take the user's own words for a plan: a call that would be asked about is denied where the user's
            text has none of the tool's `intents`, or names others to send or pay to. For English; it bounds what an
            approver who agrees to everything lets through.
    """

    floors: Mapping[tuple[EffectClass, Role], Integrity] = field(default_factory=lambda: FLOORS)
    lexical_plan: bool = False
    underived: Verdict = Verdict.ASK
    untraced: Verdict = Verdict.ASK

    def judge(self, provenance: Provenance, action: Action, manifest: ToolManifest) -> Judgement | None:
        """None where nothing speaks against the call."""
        if action.read_only and not provenance.describes(action):
            return None  # no manifest, but somebody whom the user trusts says that it changes nothing
        plan = provenance.plan
        if plan is not None and manifest.effect is not EffectClass.READ and action.resource not in plan:
            return Judgement(Verdict.DENY, _outside(plan, action))
        if not provenance.tainted or self.underived is Verdict.ALLOW:
            return None
        found = list(self._against(provenance, action, manifest))
        if not found:
            return None
        # What can't be traced comes first: it is the reason that may weigh more.
        why, traced = min(found, key=lambda objection: objection.traced)
        if not provenance.describes(action):
            why += (
                "; the tool has no manifest, so every argument counts: describe it in provenance.manifests, "
                "see `corral policy manifest`"
            )
        if self.lexical_plan and self._outside_words(provenance, action, manifest):
            return Judgement(Verdict.DENY, f"{why}, and the user's text does not ask for such a call")
        verdict = self.underived if traced else max(self.underived, self.untraced)
        return Judgement(verdict, why, grants=GrantScope.ONCE)

    def _against(self, provenance: Provenance, action: Action, manifest: ToolManifest) -> Iterator[_Objection]:
        effect = manifest.effect
        if effect is EffectClass.DESTROY and not self._intended(provenance, manifest):
            yield _Objection("the user's text does not ask to remove anything, and untrusted text was read")
        targets = [value for name, value in action.arguments.items() if manifest.arguments.get(name) is Role.TARGET]
        for name, value in action.arguments.items():
            role = manifest.arguments.get(name) or _hidden_target(value)
            text = " ".join(str(leaf) for leaf in leaves(value))
            if effect in _OUTGOING and not provenance.may_read(leaves(targets), text):
                yield _Objection(f"{name} holds private data, for others than may see it")
            if role is None or value is None:
                continue
            floor = self._floor(manifest, name, role)
            if floor is not None:
                yield from self._below(provenance, action, manifest, name, role, floor)
            if role in (Role.CONTENT, Role.TITLE) and not manifest.read_only:
                yield from _links(provenance, name, text)
            if role is Role.TITLE and not provenance.explains_words(text):
                why = f"{name}={text[:80]!r} has words that derive from untrusted text"
                yield _Objection(why, provenance.traces_words(text))

    def _floor(self, manifest: ToolManifest, name: str, role: Role) -> Integrity | None:
        if name in manifest.floors:
            return Integrity[manifest.floors[name].upper()]
        return self.floors.get((manifest.effect, role))

    def _below(
        self, provenance: Provenance, action: Action, manifest: ToolManifest, name: str, role: Role, floor: Integrity
    ) -> Iterator[_Objection]:
        for leaf in _values(action.arguments[name], role):
            label = provenance.label(leaf, role)
            if label.integrity >= floor or _vouched(provenance, action, manifest, leaf, label.integrity):
                continue
            origin = ", ".join(sorted(label.sources)) or "an unknown source"
            yield _Objection(
                f"{name}={str(leaf)[:80]!r} derives from {origin} ({label.integrity.name.lower()}), "
                f"and must be {floor.name.lower()} at least",
                role is Role.OBJECT or provenance.is_traced(leaf),
            )

    def _intended(self, provenance: Provenance, manifest: ToolManifest) -> bool:
        return not manifest.intents or provenance.trusted.names_any(manifest.intents)

    def _outside_words(self, provenance: Provenance, action: Action, manifest: ToolManifest) -> bool:
        if not self._intended(provenance, manifest):
            return True
        if manifest.effect not in (EffectClass.SEND, EffectClass.COMMIT):
            return False
        targets = [value for name, value in action.arguments.items() if manifest.arguments.get(name) is Role.TARGET]
        strange = [leaf for leaf in leaves(targets) if not provenance.trusted.states(leaf)]
        if strange and provenance.names_someone():
            return True
        return any(provenance.trusted.names_kind(kind) for leaf in strange if (kind := _kind(leaf)) is not None)


def _outside(plan: frozenset[str], action: Action) -> str:
    planned = ", ".join(sorted(plan)) or "no tool with effects"
    return (
        f"{action.resource} is not in the plan that was made before anything was read ({planned}), and nothing that is "
        "read can add to it: who needs it asks for it in the task"
    )


def _vouched(provenance: Provenance, action: Action, manifest: ToolManifest, leaf: Any, integrity: Integrity) -> bool:
    """Whether the user said where to look the address up, and it is what the user meant.

    For an invitation to something of the user's own, a service's word about the thing that the user named is enough.
    For a new member, the address must also begin with the name that the user gave in the same call.
    """
    if not ADDRESS.fullmatch(str(leaf)) or not provenance.is_designated(leaf):
        return False
    if manifest.effect is EffectClass.WRITE:
        return integrity >= Integrity.ATTESTED
    if manifest.effect is not EffectClass.ADMIN:
        return False
    names = (normalise(other) for other in leaves(dict(action.arguments)) if provenance.trusted.states(other))
    return any(len(name) > 2 and normalise(leaf).partition("@")[0] == name for name in names)


def _values(value: Any, role: Role) -> Iterable[Any]:
    """The values that a role is about: of attachments and the like only what is an id."""
    if role is Role.OBJECT and isinstance(value, list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            ids = {key: found for key, found in item.items() if key.endswith("id")} if isinstance(item, dict) else item  # pyright: ignore
            yield from ids.values() if isinstance(ids, dict) else leaves(ids)  # pyright: ignore
        return
    yield from leaves(value)


def _links(provenance: Provenance, name: str, text: str) -> Iterator[_Objection]:
    for link in (found.rstrip(".,;:!?") for found in LINK.findall(text)):
        if provenance.label(link, Role.TARGET).integrity < Integrity.ATTESTED:
            why = f"the link {link[:80]!r} in {name} has no known origin"
            yield _Objection(why, provenance.is_traced(link))


def _hidden_target(value: Any) -> Role | None:
    """An argument that the manifest does not mention, and that holds an address all the same."""
    return Role.TARGET if any(_kind(leaf) is not None for leaf in leaves(value)) else None


def _kind(value: Any) -> re.Pattern[str] | None:
    return next((kind for kind in (ADDRESS, _ACCOUNT) if kind.fullmatch(str(value))), None)
