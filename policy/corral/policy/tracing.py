"""Tracing: what a policy says about arguments by where their values come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, field_validator

from corral.policy.errors import PolicyFileError
from corral.policy.judgement import Verdict
from corral.policy.manifest import Manifest, Manifests
from corral.policy.provenance import Provenance
from corral.policy.sinks import Sinks
from corral.policy.traces import Traces

__all__ = ["Tracing"]

Underived = Literal["off", "ask", "deny"]
_VERDICTS = {"off": Verdict.ALLOW, "ask": Verdict.ASK, "deny": Verdict.DENY}
_STRICTEST_FIRST: tuple[Underived, ...] = ("deny", "ask", "off")


class Tracing(BaseModel):
    """What becomes of a call of a tool whose arguments could do harm and don't derive from trusted text.

    Attributes:
        underived: "off" leaves it to the rules; "ask" and "deny" hold on top of them, for tools with effects, once the
            run has read something untrusted. A tool without a manifest has only such arguments.
        manifests: What is known of the tools of a server, by the name it is configured under: a built-in manifest's
            name, a file named from the policy's folder, or the manifest itself.
        directory: Endorsed by whoever writes the policy: names, addresses, accounts, "@example.org" for all addresses
            there, "//www.example.org" for all URLs there.
        untraced: "deny" refuses instead of asking where no person could check where a value comes from; see `Sinks`.
        lexical_plan: Deny, and don't ask about, what the user's own words don't ask for; see `Sinks`.
        plan: The tools with effects that a run may use at all, such as "tool:mail/send"; others are denied, and nobody
            is asked. It was made before any run read anything, so that no text can widen it. None is no plan.
        own_plan: Whether each run of an agent makes a plan too: its model is asked once, and is shown the user's own
            words and the tools' trusted definitions alone, which tools with effects the task needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    underived: Underived = "off"
    manifests: dict[str, Manifest] = {}
    directory: list[str] = []
    untraced: Literal["ask", "deny"] = "ask"
    lexical_plan: bool = False
    plan: frozenset[str] | None = None
    own_plan: bool = False

    @field_validator("manifests", mode="before")
    @classmethod
    def _built_in_by_name(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        named = cast("Mapping[str, Any]", given)
        return {
            server: _built_in(server, value) if isinstance(value, str) else value for server, value in named.items()
        }

    def narrowed(self, other: Tracing) -> Tracing:
        """Both, the stricter of each; what loosens, manifests and directory, is the first one's that has any."""
        return Tracing(
            underived=_stricter(self.underived, other.underived),
            manifests=self.manifests or other.manifests,
            directory=self.directory or other.directory,
            untraced="deny" if "deny" in (self.untraced, other.untraced) else "ask",
            lexical_plan=self.lexical_plan or other.lexical_plan,
            plan=_both(self.plan, other.plan),
            own_plan=self.own_plan or other.own_plan,
        )

    def joined(self, other: Tracing) -> Tracing:
        """Both, as a file and what it includes are.

        Raises:
            ValueError: They describe one server differently.
        """
        for server in self.manifests.keys() & other.manifests.keys():
            if self.manifests[server] != other.manifests[server]:
                raise ValueError(f"two files have a manifest for {server!r}, and not the same one")
        return Tracing(
            underived=_stricter(self.underived, other.underived),
            manifests={**self.manifests, **other.manifests},
            directory=[*self.directory, *(entry for entry in other.directory if entry not in self.directory)],
            untraced="deny" if "deny" in (self.untraced, other.untraced) else "ask",
            lexical_plan=self.lexical_plan or other.lexical_plan,
            plan=_both(self.plan, other.plan),
            own_plan=self.own_plan or other.own_plan,
        )

    def start(self, traces: Traces | None = None) -> Provenance:
        """What traces one run, which goes on from `traces`."""
        sinks = Sinks(
            lexical_plan=self.lexical_plan, underived=_VERDICTS[self.underived], untraced=_VERDICTS[self.untraced]
        )
        manifests = Manifests(self.manifests)
        return Provenance(manifests, directory=self.directory, sinks=sinks, traces=traces, plan=self.plan)


def _stricter(*given: Underived) -> Underived:
    return next(level for level in _STRICTEST_FIRST if level in given)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return one & other if one is not None and other is not None else one if other is None else other


def _built_in(server: str, name: str) -> Manifest:
    try:
        return Manifest.builtin(name)
    except PolicyFileError as error:
        raise ValueError(f"{server}: {error.problem}; a manifest file is named in a policy file only") from None
