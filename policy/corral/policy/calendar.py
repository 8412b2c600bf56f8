"""Times of day and days of the week, as conditions name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from typing import Any, cast
from zoneinfo import ZoneInfo

from corral.policy.addresses import Undecidable

__all__ = ["Calendar"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Calendar:
    """Hours and days at which a rule holds; a span whose end comes before its begin crosses midnight."""

    begin: time | None
    end: time | None
    days: frozenset[int] | None
    zone: tzinfo

    @classmethod
    def parse(cls, timed: Mapping[str, Any]) -> Calendar:
        """From `time.hours`, `time.days` and `time.zone`.

        Raises:
            ValueError: Something else, or no such time, day or zone.
        """
        unknown = timed.keys() - {"time.hours", "time.days", "time.zone"}
        if unknown or not timed.keys() - {"time.zone"}:
            raise ValueError(f"time takes hours or days, and a zone for them, not {sorted(timed)}")
        begin, end = _hours(timed["time.hours"]) if "time.hours" in timed else (None, None)
        days = _days(timed["time.days"]) if "time.days" in timed else None
        return cls(begin, end, days, _zone(timed["time.zone"]) if "time.zone" in timed else UTC)

    def holds(self, now: datetime | None) -> bool:
        """Whether it is such a time.

        Raises:
            Undecidable: `now` is not given, or has no zone.
        """
        if now is None or now.tzinfo is None:
            raise Undecidable("the time is not known")
        there = now.astimezone(self.zone)
        if self.days is not None and there.weekday() not in self.days:
            return False
        if self.begin is None or self.end is None:
            return True
        clock = there.time()
        if self.begin <= self.end:
            return self.begin <= clock < self.end
        return clock >= self.begin or clock < self.end


def _hours(value: Any) -> tuple[time, time]:
    found = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'time.hours takes a span such as "08:00-18:00", not {value!r}')
    hours = [int(part) for part in found.groups()]
    return time(hours[0], hours[1]), time(hours[2], hours[3])


def _days(value: Any) -> frozenset[int]:
    listed = cast("list[Any]", value) if isinstance(value, list) else []
    if not listed or not all(day in _DAYS for day in listed):
        raise ValueError(f"time.days takes a list of {', '.join(_DAYS)}, not {value!r}")
    return frozenset(_DAYS.index(day) for day in listed)


def _zone(value: Any) -> tzinfo:
    try:
        return ZoneInfo(str(value))
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f'time.zone takes a name such as "Europe/Berlin" that this machine knows, not {value!r}'
        ) from None
