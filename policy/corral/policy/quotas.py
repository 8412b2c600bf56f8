"""Quotas: how much of something may go out within a time, such as money moved in a day or bytes sent in an hour."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from corral.policy.action import Action
from corral.policy.ledger import Ledger, LedgerFault
from corral.policy.rule import SecurityPolicy, compile_pattern

__all__ = ["Quota", "Quotas"]


class Quota(BaseModel):
    """At most so much within the last so many seconds.

    Attributes:
        resource: A pattern as in rules; what it does not fit is not counted.
        of: "bytes" of the call's arguments as JSON, or "args.NAME", a number among them.
        most: In the unit of what is counted.
        seconds: Counted over a window that moves: in no span of this length is it more.
        per: What is counted by itself: each resource, each agent, each user, or all together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource: str
    of: Annotated[str, Field(pattern=r"^(bytes|args\..+)$")]
    most: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    per: Literal["resource", "principal", "user", "all"] = "user"

    @field_validator("resource")
    @classmethod
    def _resource_is_a_pattern(cls, resource: str) -> str:
        return SecurityPolicy(resource=resource, actions=["*"]).resource

    def amount(self, action: Action) -> float | None:
        """How much a call is; None where it can't be told."""
        if self.of == "bytes":
            return float(len(json.dumps(dict(action.arguments), ensure_ascii=False, default=str).encode()))
        value = action.arguments.get(self.of.removeprefix("args."))
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            return None
        return float(value)

    def name(self, action: Action) -> str:
        """What the call is counted with; a quota whose `most` was changed goes on with what was counted."""
        whose = {"resource": action.resource, "principal": action.principal, "user": action.user, "all": ""}[self.per]
        return json.dumps([self.resource, self.of, self.seconds, self.per, whose])


class Quotas:
    """Counts calls against some quotas, ahead of each call: one that fails later has counted all the same.

    Args:
        ledger: Keeps what was counted, over runs and processes; None keeps it as long as this lives.
        clock: Seconds since the epoch. Where it jumps back, the latest time that was seen counts.
    """

    def __init__(
        self, quotas: Sequence[Quota], ledger: Ledger | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.quotas = tuple(quotas)
        self._fits = [compile_pattern(quota.resource) for quota in self.quotas]
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, list[tuple[float, float]]] = {}

    def take(self, action: Action, digest: str) -> str | None:
        """None, and the call is counted in every quota that it is about; or why it may not be, and it is in none."""
        about = [quota for quota, fits in zip(self.quotas, self._fits, strict=True) if fits(action.resource)]
        if not about:
            return None
        wanted: list[tuple[Quota, str, float]] = []
        for quota in about:
            amount = quota.amount(action)
            if amount is None:
                return f"a quota counts {quota.of}, which is no amount here"
            wanted.append((quota, quota.name(action), amount))
        with self._lock:
            if self._ledger is None:
                return self._count(wanted)
            try:
                return self._count_in(self._ledger, wanted)
            except LedgerFault as error:
                return f"what quotas have counted can't be read: {error}"

    def _count(self, wanted: Sequence[tuple[Quota, str, float]]) -> str | None:
        latest = max((at for kept in self._kept.values() for at, _ in kept), default=0.0)
        now = max(self._clock(), latest)
        for quota, name, amount in wanted:
            kept = [(at, spent) for at, spent in self._kept.get(name, []) if at > now - quota.seconds]
            self._kept[name] = kept
            if why := _over(quota, sum(spent for _, spent in kept), amount):
                return why
        for _, name, amount in wanted:
            self._kept[name].append((now, amount))
        return None

    def _count_in(self, ledger: Ledger, wanted: Sequence[tuple[Quota, str, float]]) -> str | None:
        with ledger.change() as connection:
            (latest,) = connection.execute("SELECT COALESCE(MAX(at), 0) FROM spent").fetchone()
            now = max(self._clock(), latest)
            for quota, name, amount in wanted:
                since = now - quota.seconds
                connection.execute("DELETE FROM spent WHERE quota = ? AND at <= ?", (name, since))
                (spent,) = connection.execute(
                    "SELECT COALESCE(SUM(amount), 0) FROM spent WHERE quota = ?", (name,)
                ).fetchone()
                if why := _over(quota, spent, amount):
                    return why
            connection.executemany(
                "INSERT INTO spent (quota, at, amount) VALUES (?, ?, ?)",
                [(name, now, amount) for _, name, amount in wanted],
            )
        return None


def _over(quota: Quota, spent: float, amount: float) -> str | None:
    if spent + amount <= quota.most:
        return None
    return (
        f"the quota of {quota.most:g} {quota.of.removeprefix('args.')} in {quota.seconds:g} s for {quota.resource} "
        f"has {max(0.0, quota.most - spent):g} left, and this takes {amount:g}"
    )
