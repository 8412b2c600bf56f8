"""Provenance: what each argument of a call derives from, by what the run has read so far.

It is positive: a value is trusted because a trusted text states it, never because no untrusted one was seen to. What
cannot be explained counts as untrusted, once anything untrusted was read (CaMeL, arXiv:2503.18813; FIDES,
arXiv:2505.23643). A hijacked model gains nothing by encoding a value: it then derives from nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

from corral.policy.action import Action, ActionKind
from corral.policy.derivation import ADDRESS, Stated, leaves, normalise, parts, words
from corral.policy.facts import Facts
from corral.policy.judgement import Judgement
from corral.policy.label import Confidentiality, Integrity, Label
from corral.policy.manifest import EffectClass, Manifests, OutputManifest, Role, ToolManifest
from corral.policy.observed import parsed, worth
from corral.policy.sinks import Sinks
from corral.policy.traces import Endorsement, Traces

__all__ = ["Provenance"]


@lru_cache(maxsize=1000)
def _nothing_known(arguments: tuple[str, ...]) -> ToolManifest:
    """Of a tool that nobody described: it may do anything, and each argument is a target."""
    return ToolManifest(effect=EffectClass.ADMIN, arguments=dict.fromkeys(arguments, Role.TARGET))


class Provenance:
    """What one run has read, and what its values derive from; one for each run, used from one thread at a time.

    Tell it every text that enters the run, before the model sees it: `user`, `system`, `observe`. Ask `labels` for the
    labels of a call's arguments, and give it to the gate as a guard: `Gate(policy, guards=[provenance])`.

    Args:
        manifests: What is known of the tools.
        directory: Endorsed by an administrator: names, addresses, accounts, "@example.org" for all addresses there,
            "//www.example.org" for all URLs there.
        sinks: What arguments must derive from.
        plan: The tools with effects that may be used at all; made by whoever made this, before anything was read.
        traces: What was taken in before; this adds to them.
    """

    def __init__(
        self,
        manifests: Manifests | None = None,
        *,
        directory: Iterable[str] = (),
        sinks: Sinks | None = None,
        traces: Traces | None = None,
        plan: frozenset[str] | None = None,
    ) -> None:
        self.manifests = manifests or Manifests()
        self.sinks = sinks or Sinks()
        self.traces = traces or Traces()
        self._directory = frozenset(normalise(entry) for entry in directory)
        self._plan = plan

    @property
    def seen(self) -> Label:
        """The join of all that the run has read."""
        return self.traces.seen

    @property
    def trusted(self) -> Stated:
        """What the user said."""
        return self.traces.trusted

    @property
    def endorsements(self) -> list[Endorsement]:
        """What was vouched for in this run."""
        return self.traces.endorsements

    @property
    def plan(self) -> frozenset[str] | None:
        """The tools with effects that the run may still use; None is no plan."""
        frozen = self.traces.plan
        if frozen is None or self._plan is None:
            return self._plan if frozen is None else frozen
        return self._plan & frozen

    @property
    def tainted(self) -> bool:
        """Whether anything untrusted was read."""
        return self.seen.integrity is Integrity.UNTRUSTED

    def user(self, text: str) -> None:
        """The user typed this."""
        self.trusted.add(text)

    def system(self, text: str) -> None:
        """The program said this, such as instructions: its values are as good as the user's, and ask for nothing."""
        self.traces.tell(text, Integrity.USER)

    def freeze(self, resources: Iterable[str], *, from_trusted: bool = False) -> None:
        """Let the run use only these tools from now on, beside such that only read.

        To be called with a plan that was made before anything untrusted was read.

        Args:
            from_trusted: It was made of trusted text alone, and by whom nothing else was shown, whatever the run has
                read; it takes the place of an earlier turn's.

        Raises:
            ValueError: Something untrusted was read already; a plan made now may be an attacker's.
        """
        if self.tainted and not from_trusted:
            raise ValueError("a plan can't be frozen after something untrusted was read")
        self.traces.plan = frozenset(resources)

    def endorse(self, value: str, by: str, integrity: Integrity = Integrity.DIRECTORY, reason: str = "") -> None:
        """Raise the integrity of a value, because a person or a rule vouched for it; `endorsements` keeps it."""
        self.traces.endorse(Endorsement(value, integrity, by, reason))

    def child(self) -> Provenance:
        """For a sub-agent: it knows what this run knows, and is as tainted. What the model tells it is no user's text.

        Its answer comes back by `observe("agent:NAME", answer, child.seen)`.
        """
        return Provenance(self.manifests, directory=self._directory, sinks=self.sinks, traces=self.traces.copy())

    def read(self, label: Label) -> None:
        """Something with this label was read, and nothing of it is to explain anything."""
        self.traces.seen = self.traces.seen.join(label)

    def observe(
        self,
        resource: str,
        value: Any,
        label: Label,
        arguments: Mapping[str, Any] | None = None,
        *,
        shown: str = "",
        schema: str = "",
    ) -> Label:
        """A tool, a file, a memory, a cell or a sub-agent gave this.

        Args:
            value: Its structured result, or its text; a text that is JSON is read as that.
            label: What the source's own declaration makes of it; a manifest's word comes before it.
            arguments: Those of the call: where the user named the thing that was read, its addresses are remembered as
                found where the user said.
            shown: What the model sees of it, where that is a text beside `value`.
            schema: The tool's `schema_hash`, for manifests that are bound to it.

        Returns:
            The label of the whole.
        """
        manifest = self.manifests.of(resource, schema)
        found = label
        if manifest is None and label.integrity is not Integrity.UNTRUSTED:
            structured = parsed(value)
            self._walk(structured, OutputManifest(), resource, label.integrity)
            for leaf in leaves(structured):
                self.traces.tell(str(leaf), label.integrity)
        elif manifest is not None:
            structured = parsed(value)
            found = _label_of(structured, manifest.output, resource, shown)
            self._walk(structured, manifest.output, resource, None)
        self.read(found)
        if manifest is not None and self._points(manifest, arguments or {}):
            self.traces.pointed.add("\n".join(str(leaf) for leaf in leaves(value)))
        if arguments and any(self.trusted.states(leaf) for leaf in leaves(dict(arguments)) if len(str(leaf)) > 3):
            self.traces.designated.update(normalise(found) for found in ADDRESS.findall(str(value)))
        return found

    def labels(self, action: Action) -> dict[str, Label]:
        """The labels of an action's arguments, for `Action.labels`."""
        manifest = self.manifest(action)
        found: dict[str, Label] = {}
        for name, value in action.arguments.items():
            given = list(leaves(value))
            label = Label.join_all(self.label(leaf, manifest.arguments.get(name)) for leaf in given)
            if self.is_private(" ".join(str(leaf) for leaf in given)):
                label = replace(label, confidentiality=max(label.confidentiality, Confidentiality.PRIVATE))
            found[name] = label
        return found

    def label(self, value: Any, role: Role | None = None) -> Label:
        """What one value derives from."""
        if isinstance(value, bool) or value is None:
            return Label.user()
        wanted = normalise(value)
        if role is Role.OBJECT:
            if wanted in self.traces.chosen or self.trusted.mentions_id(value):
                return Label.user()
        elif self.trusted.states(value):
            return Label.user()
        known = self._told(value, self.traces.known.get(wanted))
        if _among(wanted, self._directory):
            return _DIRECTORY if known is None or known.integrity < Integrity.DIRECTORY else known
        if known is not None:
            return known
        return self.seen if self.tainted else Label.user()

    def manifest(self, action: Action) -> ToolManifest:
        """What is known of an action's tool; of one that is not known, every argument is a target."""
        known = self.manifests.of(action.resource, action.schema_hash)
        if known is not None:
            return known
        return _nothing_known(tuple(action.arguments))

    def describes(self, action: Action) -> bool:
        """Whether anything is known of an action's tool."""
        return self.manifests.of(action.resource, action.schema_hash) is not None

    def is_planned(self, action: Action) -> bool:
        """Whether a plan of tools is about such a call: it may do more than read."""
        if action.kind is not ActionKind.TOOL or (action.read_only and not self.describes(action)):
            return False
        return self.manifest(action).effect is not EffectClass.READ

    def opinion(self, action: Action, facts: Facts | None = None) -> Judgement | None:
        """What its sinks say about a call of a tool; nothing about other actions."""
        if action.kind is not ActionKind.TOOL:
            return None
        return self.sinks.judge(self, action, self.manifest(action))

    def is_designated(self, address: Any) -> bool:
        """Whether it was read in a thing that the user named."""
        return normalise(address) in self.traces.designated

    def is_traced(self, value: Any) -> bool:
        """Whether a person can check where it comes from: a service attests it, or it stands, not encoded, in a thing
        that the user named, or that such a thing names."""
        return normalise(value) in self.traces.known or self.traces.pointed.states(value, plainly=True)

    def traces_words(self, text: str) -> bool:
        """`is_traced`, of each word of a text."""
        return words(text) <= self.trusted.words | self.traces.words | self.traces.pointed.words

    def names_someone(self) -> bool:
        """Whether the user's text names an entry of the directory."""
        return any(self.trusted.states(entry) for entry in self._directory if entry[:1] not in ("@", "/"))

    def is_private(self, text: str) -> bool:
        """Whether something private stands in a text."""
        return next(self._private_in(text), None) is not None

    def may_read(self, targets: Iterable[Any], text: str) -> bool:
        """Whether all that is private in a text may be seen by everyone in `targets`; by nobody, where none is."""
        wanted = [normalise(target) for target in targets]
        return all(
            bool(wanted) and all(_among(target, readers) for target in wanted) for readers in self._private_in(text)
        )

    def explains_words(self, text: str) -> bool:
        """Whether every word of a text is one that the user said or a service attested."""
        return words(text) <= self.trusted.words | self.traces.words

    def _points(self, manifest: ToolManifest, arguments: Mapping[str, Any]) -> bool:
        """Whether the user, or a thing that the user named, named what is read; a filter such as a city does not."""
        return any(
            len(str(leaf)) > 2 and (self.trusted.states(leaf) or self.traces.pointed.states(leaf, plainly=True))
            for name, value in arguments.items()
            if manifest.arguments.get(name) in (Role.OBJECT, Role.TARGET)
            for leaf in leaves(value)
        )

    def _private_in(self, text: str) -> Iterator[frozenset[str]]:
        plain = normalise(text) if self.traces.private else ""
        return (readers for value, readers in self.traces.private.items() if value in plain)

    def _told(self, value: Any, known: Label | None) -> Label | None:
        """The better of what is known of a value, and of the endorsed texts that state it."""
        for integrity in sorted(self.traces.told, reverse=True):
            if known is not None and known.integrity >= integrity:
                break
            if self.traces.told[integrity].states(value):
                return Label(integrity)
        return known

    def _walk(self, value: Any, output: OutputManifest, resource: str, given: Integrity | None) -> None:
        if isinstance(value, dict):
            self._walk_thing(cast("dict[str, Any]", value), output, resource, given)
        elif isinstance(value, list | tuple):
            for item in cast("list[Any]", value):
                self._walk(item, output, resource, given)
        elif value is not None:
            level = given if given is not None else output.level("")
            self._take(value, level, resource, output if "*" in output.private else None)

    def _walk_thing(
        self, thing: dict[str, Any], output: OutputManifest, resource: str, given: Integrity | None
    ) -> None:
        names = [str(thing[name]) for name in output.names if thing.get(name)]
        named = any(len(name) > 3 and self.trusted.states(name) for name in names)
        for field, value in thing.items():
            level = given if given is not None else output.level(field)
            if named and field in output.id:
                self.traces.chosen.add(normalise(value))
            if isinstance(value, dict | list) and level is Integrity.UNTRUSTED:
                self._walk(value, output, resource, given)
                continue
            if level is not Integrity.UNTRUSTED and field not in output.fields:
                self._take(field, level, resource)  # a table by names
            secluded = output if field in output.private or "*" in output.private else None
            for leaf in leaves(value):
                self._take(leaf, level, resource, secluded)
                if named and level is not Integrity.UNTRUSTED:
                    self.traces.designated.add(normalise(leaf))

    def _take(self, leaf: Any, level: Integrity, resource: str, private: OutputManifest | None = None) -> None:
        if private is not None and len(str(leaf)) > 5:
            readers = frozenset(normalise(reader) for reader in private.readers)
            value = normalise(leaf)
            self.traces.private[value] = self.traces.private.get(value, readers) & readers
        if level is not Integrity.UNTRUSTED:
            for part in parts(str(leaf)):
                self.traces.know(part, Label(level, sources=frozenset((resource,))))


def _label_of(structured: Any, output: OutputManifest, resource: str, shown: str) -> Label:
    integrity = worth(structured, output)
    if shown and not words(shown) <= words(" ".join(str(leaf) for leaf in leaves(structured))):
        integrity = Integrity.UNTRUSTED  # the text says more than the fields that are vouched for
    hidden = Confidentiality.PRIVATE if output.private else Confidentiality.PUBLIC
    return Label(integrity, hidden, frozenset((resource,)))


def _among(wanted: str, entries: frozenset[str]) -> bool:
    """Whether a normalised value is one of the entries, or of a domain or a host that is."""
    if wanted in entries:
        return True
    if ADDRESS.fullmatch(wanted):
        return "@" + wanted.rpartition("@")[2] in entries
    return "//" + wanted.partition("/")[0] in entries


_DIRECTORY = Label(Integrity.DIRECTORY)
