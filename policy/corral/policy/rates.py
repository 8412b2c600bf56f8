"""Rates: how often something may happen, as token buckets; and the detection of a run that goes in circles."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from corral.policy.action import Action
from corral.policy.ledger import Ledger, LedgerFault
from corral.policy.rule import SecurityPolicy, compile_pattern

__all__ = ["Rate", "RateLimits", "Repeats"]


class Rate(BaseModel):
    """So many effects in so many seconds.

    Attributes:
        resource: A pattern as in rules; what it does not fit is not counted.
        per: What has a bucket of its own: each resource, each agent, each user, or all together.
        calls: How many may come at once; as many come back in `seconds`, evenly.
        seconds: Until an empty bucket is full again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resource: str
    calls: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    per: Literal["resource", "principal", "user", "all"] = "resource"

    @field_validator("resource")
    @classmethod
    def _resource_is_a_pattern(cls, resource: str) -> str:
        return SecurityPolicy(resource=resource, actions=["*"]).resource

    def bucket(self, action: Action) -> str:
        """The name of the bucket that an action draws from."""
        names = {"resource": action.resource, "principal": action.principal, "user": action.user, "all": ""}
        return names[self.per]


class RateLimits:
    """Buckets for some rates; share one among the gates that draw from them together. Safe from several threads.

    Args:
        state: What `state` gave before a restart. Buckets fill with the time of `clock`, never for time that it ran
            backwards, and never past full.
        ledger: Keeps the buckets instead, over runs and processes.
    """

    def __init__(
        self,
        rates: Sequence[Rate],
        state: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] = time.time,
        ledger: Ledger | None = None,
    ) -> None:
        self._ledger = ledger
        self.rates = tuple(rates)
        self._fits = [compile_pattern(rate.resource) for rate in self.rates]
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[int, str], tuple[float, float]] = {}
        for key, bucket in (state or {}).items():
            place, _, name = key.partition(" ")
            if place.isdecimal() and int(place) < len(self.rates):
                level, since = float(bucket[0]), float(bucket[1])
                self._buckets[int(place), name] = (min(max(level, 0.0), self.rates[int(place)].calls), since)

    @property
    def state(self) -> dict[str, Any]:
        """The buckets as JSON: of each its level, and since when (seconds since the epoch)."""
        with self._lock:
            return {f"{place} {name}": list(bucket) for (place, name), bucket in self._buckets.items()}

    def take(self, action: Action, digest: str) -> str | None:
        """None, and one is taken from every bucket that the action draws from; or why it must wait, and none is."""
        drawn = [
            (place, rate.bucket(action)) for place, rate in enumerate(self.rates) if self._fits[place](action.resource)
        ]
        with self._lock:
            if self._ledger is None or not drawn:
                return self._draw(drawn)
            try:
                with self._ledger.change() as connection:
                    self._read(connection, drawn)
                    why = self._draw(drawn)
                    self._write(connection, drawn)
                return why
            except LedgerFault as error:
                return f"what rates have counted can't be read: {error}"

    def _draw(self, drawn: Sequence[tuple[int, str]]) -> str | None:
        now = self._clock()
        for place, name in drawn:
            level = self._fill(place, name, now)
            if level < 1:
                rate = self.rates[place]
                wait = (1 - level) * rate.seconds / rate.calls
                return (
                    f"the rate of {rate.calls} in {rate.seconds:g} s for {rate.resource} is used up; "
                    f"try again in {wait:.1f} s"
                )
        for key in drawn:
            level, since = self._buckets[key]
            self._buckets[key] = (level - 1, since)
        return None

    def _read(self, connection: sqlite3.Connection, drawn: Sequence[tuple[int, str]]) -> None:
        for place, name in drawn:
            row = connection.execute("SELECT level, since FROM buckets WHERE name = ?", (self._key(place, name),))
            if (bucket := row.fetchone()) is None:
                self._buckets.pop((place, name), None)
            else:
                self._buckets[place, name] = (float(bucket[0]), float(bucket[1]))

    def _write(self, connection: sqlite3.Connection, drawn: Sequence[tuple[int, str]]) -> None:
        kept = [(self._key(*key), *self._buckets[key]) for key in drawn if key in self._buckets]
        connection.executemany("INSERT OR REPLACE INTO buckets (name, level, since) VALUES (?, ?, ?)", kept)

    def _key(self, place: int, name: str) -> str:
        rate = self.rates[place]
        return json.dumps([rate.resource, rate.calls, rate.seconds, rate.per, name])

    def _fill(self, place: int, name: str, now: float) -> float:
        rate = self.rates[place]
        level, since = self._buckets.get((place, name), (float(rate.calls), now))
        level = min(float(rate.calls), level + max(0.0, now - since) * rate.calls / rate.seconds)
        self._buckets[place, name] = (level, now)
        return level


class Repeats:
    """Notices a run that makes the same call again and again; one for each run.

    Args:
        most: So often may one call be made, with the same arguments, within the last `window` calls.
    """

    def __init__(self, most: int = 5, window: int = 50) -> None:
        if most < 1 or window < most:
            raise ValueError(f"most {most} and window {window}: at least one call must fit, and `most` into `window`")
        self._most = most
        self._last: deque[str] = deque(maxlen=window)

    def take(self, action: Action, digest: str) -> str | None:
        """None, and the call is counted; or why it is one too many. Model calls and cells are not looked at."""
        if not action.resource.startswith("tool:"):
            return None
        if self._last.count(digest) >= self._most:
            return f"the same call was made {self._most} times; its result is known, do something else"
        self._last.append(digest)
        return None
