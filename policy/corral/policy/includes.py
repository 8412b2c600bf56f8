"""Policies that include others: the rules of all, the strictest default, the narrowest limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from corral.policy.budget import Limits
from corral.policy.errors import PolicyFileError
from corral.policy.files import read
from corral.policy.manifest import Manifest
from corral.policy.policy import Policy, Redact
from corral.policy.quotas import Quota
from corral.policy.rates import Rate
from corral.policy.rule import SecurityPolicy
from corral.policy.tracing import Tracing

__all__ = ["read_policy"]

Default = Literal["ask", "deny", "inherit"]
_MOST_REDACTED: tuple[Redact, ...] = ("personal", "secrets", "off")
_STRICTEST_FIRST: tuple[Default, ...] = ("deny", "ask", "inherit")


class _TracingFile(BaseModel):
    """`Tracing` as it stands in a file: manifests may be named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    underived: Literal["off", "ask", "deny"] = "off"
    manifests: dict[str, str | Manifest] = {}
    directory: list[str] = []
    untraced: Literal["ask", "deny"] = "ask"
    lexical_plan: bool = False
    plan: frozenset[str] | None = None
    own_plan: bool = False

    def read_in(self, path: Path) -> Tracing:
        """What it says, with the manifests that it names.

        Raises:
            PolicyFileError: One can't be read.
        """
        found: dict[str, Manifest] = {}
        for server, named in self.manifests.items():
            if isinstance(named, str):
                named = Manifest.load(path.parent / named) if "." in named else _built_in(path, server, named)
            found[server] = named
        return Tracing.model_validate({**dict(self), "manifests": found})


def _built_in(path: Path, server: str, name: str) -> Manifest:
    try:
        return Manifest.builtin(name)
    except PolicyFileError as error:
        raise PolicyFileError(path, None, f"provenance.manifests.{server}: {error.problem}") from None


class _PolicyFile(BaseModel):
    """A policy as it stands in one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    rules: list[SecurityPolicy] = []
    default: Default | None = None
    limits: Limits = Limits()
    rates: list[Rate] = []
    quotas: list[Quota] = []
    repeats: Annotated[int, Field(ge=1)] | None = None
    redact: Redact | None = None
    provenance: _TracingFile = _TracingFile()
    include: list[str] = []


def read_policy(path: Path) -> Policy:
    """The policy in `path` with all that it includes.

    Raises:
        PolicyFileError: A file is missing or wrong, or they include each other in a circle.
    """
    files = _collect(path, ())
    rules: list[SecurityPolicy] = []
    limits = Limits()
    for number, (where, file) in enumerate(files):
        limits = limits.narrowed(file.limits)
        for place, rule in enumerate(file.rules):
            named: dict[str, Any] = {} if rule.id or number == 0 else {"id": f"{where.name}:rules[{place}]"}
            rules.append(rule.model_copy(update=named))
    said = {file.default for _, file in files}
    stated: list[Default] = [default for default in _STRICTEST_FIRST if default in said]
    return Policy(
        rules=rules,
        default=stated[0] if stated else "deny",
        limits=limits,
        rates=[rate for _, file in files for rate in file.rates],
        quotas=[quota for _, file in files for quota in file.quotas],
        repeats=min((file.repeats for _, file in files if file.repeats is not None), default=None),
        redact=_most_redacted([file.redact for _, file in files]),
        provenance=_tracing(path, files),
    )


def _tracing(path: Path, files: Iterable[tuple[Path, _PolicyFile]]) -> Tracing:
    joined = Tracing()
    for where, file in files:
        try:
            joined = joined.joined(file.provenance.read_in(where))
        except ValueError as error:
            raise PolicyFileError(path, None, str(error)) from None
    return joined


def _most_redacted(said: Collection[Redact | None]) -> Redact:
    for level in _MOST_REDACTED:
        if level in said:
            return level
    return "secrets"


def _collect(path: Path, above: tuple[Path, ...]) -> list[tuple[Path, _PolicyFile]]:
    real = path.resolve()
    if real in above:
        circle = " -> ".join(file.name for file in (*above[above.index(real) :], real))
        raise PolicyFileError(path, None, f"files include each other in a circle: {circle}")
    file = read(path, _PolicyFile)
    found = [(path, file)]
    for name in file.include:
        for below in _collect(path.parent / name, (*above, real)):
            if below[0].resolve() not in {known.resolve() for known, _ in found}:
                found.append(below)
    return found
