"""Policies that include others: the rules of all, the strictest default, the narrowest limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from corral.policy.budget import Limits
from corral.policy.errors import PolicyFileError
from corral.policy.files import read
from corral.policy.policy import Policy
from corral.policy.rates import Rate
from corral.policy.rule import SecurityPolicy

__all__ = ["read_policy"]

Default = Literal["ask", "deny", "inherit"]
_STRICTEST_FIRST: tuple[Default, ...] = ("deny", "ask", "inherit")


class _PolicyFile(BaseModel):
    """A policy as it stands in one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    rules: list[SecurityPolicy] = []
    default: Default | None = None
    limits: Limits = Limits()
    rates: list[Rate] = []
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
    rates = [rate for _, file in files for rate in file.rates]
    return Policy(rules=rules, default=stated[0] if stated else "deny", limits=limits, rates=rates)


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
