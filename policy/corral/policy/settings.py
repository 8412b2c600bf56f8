"""What changes between two policies beside their rules: limits, rates, quotas, redaction, provenance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from corral.policy.budget import Limits
from corral.policy.policy import Policy

__all__ = ["SettingChange", "diff_settings"]

_ORDERS: dict[str, tuple[Any, ...]] = {
    "redact": ("off", "secrets", "personal"),
    "provenance.underived": ("off", "ask", "deny"),
    "provenance.untraced": ("ask", "deny"),
    "provenance.lexical_plan": (False, True),
    "provenance.own_plan": (False, True),
}
"""Loosest first."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting that two policies have differently.

    Attributes:
        is_looser: Whether the newer one lets more happen, or may: of manifests, nobody can tell.
    """

    name: str
    old: str
    new: str
    is_looser: bool

    def __str__(self) -> str:
        return f"{'looser' if self.is_looser else 'stricter'}: {self.name}: {self.old} -> {self.new}"


def diff_settings(old: Policy, new: Policy) -> list[SettingChange]:
    """What changes from `old` to `new` beside the rules."""
    return [*_caps(old, new), *_ordered(old, new), *_listed(old, new), *_trusted(old, new)]


def _caps(old: Policy, new: Policy) -> Iterator[SettingChange]:
    pairs = [(f"limits.{name}", getattr(old.limits, name), getattr(new.limits, name)) for name in Limits.model_fields]
    for name, before, now in (*pairs, ("repeats", old.repeats, new.repeats)):
        if before != now:
            yield SettingChange(name, str(before), str(now), now is None or (before is not None and now > before))


def _ordered(old: Policy, new: Policy) -> Iterator[SettingChange]:
    for name, order in _ORDERS.items():
        before, now = _value(old, name), _value(new, name)
        if before != now:
            yield SettingChange(name, str(before), str(now), order.index(now) < order.index(before))


def _listed(old: Policy, new: Policy) -> Iterator[SettingChange]:
    """Rates and quotas only narrow: one that is gone loosens."""
    for name in ("rates", "quotas"):
        before, now = ([_said(item) for item in getattr(policy, name)] for policy in (old, new))
        yield from (SettingChange(name, item, "none", True) for item in before if item not in now)
        yield from (SettingChange(name, "none", item, False) for item in now if item not in before)


def _trusted(old: Policy, new: Policy) -> Iterator[SettingChange]:
    before, now = set(old.provenance.directory), set(new.provenance.directory)
    yield from (SettingChange("provenance.directory", "none", entry, True) for entry in sorted(now - before))
    yield from (SettingChange("provenance.directory", entry, "none", False) for entry in sorted(before - now))
    planned, plans = old.provenance.plan, new.provenance.plan
    if planned != plans:
        said = [str(sorted(plan)) if plan is not None else "none" for plan in (planned, plans)]
        is_looser = plans is None or (planned is not None and not plans <= planned)
        yield SettingChange("provenance.plan", *said, is_looser=is_looser)
    had, has = old.provenance.manifests, new.provenance.manifests
    for server in sorted(had.keys() | has.keys()):
        if had.get(server) != has.get(server):
            said = ["none" if policy.get(server) is None else "a manifest" for policy in (had, has)]
            yield SettingChange(f"provenance.manifests.{server}", *said, is_looser=server in has)


def _value(policy: Policy, name: str) -> Any:
    value: Any = policy
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _said(item: BaseModel) -> str:
    return item.model_dump_json()
