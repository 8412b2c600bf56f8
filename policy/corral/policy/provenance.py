"""Provenance: what each argument of a call derives from, by what the run has read so far.

It is positive: a value is trusted because a trusted text states it, never because no untrusted one was seen to. What
cannot be explained counts as untrusted, once anything untrusted was read (CaMeL, arXiv:2503.18813; FIDES,
arXiv:2505.23643). A hijacked model gains nothing by encoding a value: it then derives from nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from corral.policy.action import Action, ActionKind
from corral.policy.derivation import ADDRESS, Stated, leaves, normalise, parts, words
from corral.policy.facts import Facts
from corral.policy.judgement import Judgement
from corral.policy.label import Integrity, Label
from corral.policy.manifest import EffectClass, Manifests, OutputManifest, Role, ToolManifest
from corral.policy.observed import parsed, worth
from corral.policy.sinks import Sinks

__all__ = ["Endorsement", "Provenance"]

_NOTHING_KNOWN = ToolManifest(effect=EffectClass.ADMIN)


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


class Provenance:
    """What one run has read, and what its values derive from; one for each run, used from one thread at a time.

    Tell it every text that enters the run, before the model sees it: `user`, `system`, `observe`. Ask `labels` for the
    labels of a call's arguments, and give it to the gate as a guard: `Gate(policy, guards=[provenance])`.

    Args:
        manifests: What is known of the tools.
        directory: Endorsed by an administrator: names, addresses, accounts, "@example.org" for all addresses there,
            "//www.example.org" for all URLs there.
        sinks: What arguments must derive from.
    """

    def __init__(
        self, manifests: Manifests | None = None, *, directory: Iterable[str] = (), sinks: Sinks | None = None
    ) -> None:
        self.manifests = manifests or Manifests()
        self.sinks = sinks or Sinks()
        self.seen = Label.user()
        """The join of all that the run has read."""
        self.trusted = Stated()
        """What the user and the program said."""
        self.endorsements: list[Endorsement] = []
        self.plan: frozenset[str] | None = None
        """The tools the run may still use, once `freeze` was called."""
        self._known: dict[str, Label] = {}
        self._words: set[str] = set()
        self._chosen: set[str] = set()
        self._designated: set[str] = set()
        self._private: set[str] = set()
        self._directory = {normalise(entry) for entry in directory}

    @property
    def tainted(self) -> bool:
        """Whether anything untrusted was read."""
        return self.seen.integrity is Integrity.UNTRUSTED

    def user(self, text: str) -> None:
        """The user typed this."""
        self.trusted.add(text)

    def system(self, text: str) -> None:
        """The program said this: instructions, a signature, values that the caller passed in."""
        self.trusted.add(text)

    def freeze(self, resources: Iterable[str]) -> None:
        """Let the run use only these tools from now on, beside such that only read.

        To be called with a plan that was made before anything untrusted was read.

        Raises:
            ValueError: Something untrusted was read already; a plan made now may be an attacker's.
        """
        if self.tainted:
            raise ValueError("a plan can't be frozen after something untrusted was read")
        self.plan = frozenset(resources)

    def endorse(self, value: str, by: str, integrity: Integrity = Integrity.DIRECTORY, reason: str = "") -> None:
        """Raise the integrity of a value, because a person or a rule vouched for it; `endorsements` keeps it."""
        self.endorsements.append(Endorsement(value, integrity, by, reason))
        self._know(value, Label(integrity, sources=frozenset((by,))))

    def observe(self, resource: str, value: Any, label: Label, arguments: Mapping[str, Any] | None = None) -> Label:
        """A tool, a file, a memory, a cell or a sub-agent gave this.

        Args:
            value: Its structured result, or its text; a text that is JSON is read as that.
            label: What the source's own declaration makes of it.
            arguments: Those of the call: where the user named the thing that was read, its addresses are remembered as
                found where the user said.

        Returns:
            The label of the whole.
        """
        manifest = self.manifests.of(resource)
        output = manifest.output if manifest else OutputManifest()
        found = label if manifest is None else Label(worth(value, output), sources=frozenset((resource,)))
        self.seen = self.seen.join(found)
        structured = parsed(value)
        self._walk(structured, output, resource, label.integrity if manifest is None else None)
        if arguments and any(self.trusted.states(leaf) for leaf in leaves(dict(arguments)) if len(str(leaf)) > 3):
            self._designated.update(normalise(found) for found in ADDRESS.findall(str(value)))
        return found

    def labels(self, action: Action) -> dict[str, Label]:
        """The labels of an action's arguments, for `Action.labels`."""
        manifest = self.manifest(action)
        return {
            name: Label.join_all(self.label(leaf, manifest.arguments.get(name)) for leaf in leaves(value))
            for name, value in action.arguments.items()
        }

    def label(self, value: Any, role: Role | None = None) -> Label:
        """What one value derives from."""
        if isinstance(value, bool) or value is None:
            return Label.user()
        wanted = normalise(value)
        if role is Role.OBJECT:
            if wanted in self._chosen or self.trusted.mentions_id(value):
                return Label.user()
        elif self.trusted.states(value):
            return Label.user()
        known = self._known.get(wanted)
        if self._in_directory(wanted):
            return _DIRECTORY if known is None or known.integrity < Integrity.DIRECTORY else known
        if known is not None:
            return known
        return self.seen if self.tainted else Label.user()

    def manifest(self, action: Action) -> ToolManifest:
        """What is known of an action's tool; of one that is not known, every argument is a target."""
        known = self.manifests.of(action.resource, action.schema_hash)
        if known is not None:
            return known
        return _NOTHING_KNOWN.model_copy(update={"arguments": dict.fromkeys(action.arguments, Role.TARGET)})

    def opinion(self, action: Action, facts: Facts | None = None) -> Judgement | None:
        """What its sinks say about a call of a tool; nothing about other actions."""
        if action.kind is not ActionKind.TOOL:
            return None
        return self.sinks.judge(self, action, self.manifest(action))

    def is_designated(self, address: Any) -> bool:
        """Whether it was read in a thing that the user named."""
        return normalise(address) in self._designated

    def names_someone(self) -> bool:
        """Whether the user's text names an entry of the directory."""
        return any(self.trusted.states(entry) for entry in self._directory if entry[:1] not in ("@", "/"))

    def is_private(self, text: str) -> bool:
        """Whether something private stands in a text."""
        plain = normalise(text)
        return any(value in plain for value in self._private)

    def explains_words(self, text: str) -> bool:
        """Whether every word of a text is one that the user said or a service attested."""
        return words(text) <= self.trusted.words | self._words

    def _in_directory(self, wanted: str) -> bool:
        if wanted in self._directory:
            return True
        if ADDRESS.fullmatch(wanted):
            return "@" + wanted.rpartition("@")[2] in self._directory
        return "//" + wanted.partition("/")[0] in self._directory

    def _walk(self, value: Any, output: OutputManifest, resource: str, given: Integrity | None) -> None:
        if isinstance(value, dict):
            self._walk_thing(cast("dict[str, Any]", value), output, resource, given)
        elif isinstance(value, list | tuple):
            for item in cast("list[Any]", value):
                self._walk(item, output, resource, given)
        elif value is not None:
            level = given if given is not None else output.level("")
            self._take(value, level, resource, private="*" in output.private)

    def _walk_thing(
        self, thing: dict[str, Any], output: OutputManifest, resource: str, given: Integrity | None
    ) -> None:
        names = [str(thing[name]) for name in output.names if thing.get(name)]
        named = any(len(name) > 3 and self.trusted.states(name) for name in names)
        for field, value in thing.items():
            level = given if given is not None else output.level(field)
            if named and field in output.id:
                self._chosen.add(normalise(value))
            if isinstance(value, dict | list) and level is Integrity.UNTRUSTED:
                self._walk(value, output, resource, given)
                continue
            if level is not Integrity.UNTRUSTED and field not in output.fields:
                self._take(field, level, resource, private=False)  # a table by names
            for leaf in leaves(value):
                self._take(leaf, level, resource, private=field in output.private or "*" in output.private)
                if named and level is not Integrity.UNTRUSTED:
                    self._designated.add(normalise(leaf))

    def _take(self, leaf: Any, level: Integrity, resource: str, *, private: bool) -> None:
        if private and len(str(leaf)) > 5:
            self._private.add(normalise(leaf))
        if level is not Integrity.UNTRUSTED:
            for part in parts(str(leaf)):
                self._know(part, Label(level, sources=frozenset((resource,))))

    def _know(self, value: Any, label: Label) -> None:
        wanted = normalise(value)
        before = self._known.get(wanted)
        if before is None or before.integrity < label.integrity:
            self._known[wanted] = label
        self._words |= words(wanted)


_DIRECTORY = Label(Integrity.DIRECTORY)
