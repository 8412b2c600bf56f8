"""The call that goes on: on whose behalf, until when, and who hears what its server says in the middle of it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Protocol

import anyio

from corral.tools.handlers import Elicitation, LogEntry, Progress

__all__ = ["CURRENT", "REPORTS", "CurrentCall", "Reports", "reporting"]


class Reports(Protocol):
    """Whoever made a call, and hears of it until it is over; what a server says is untrusted, and may be a flood."""

    def progress(self, progress: Progress, /) -> None: ...

    def log(self, entry: LogEntry, /) -> None: ...

    async def elicit(self, elicitation: Elicitation, /) -> dict[str, Any] | bool | None:
        """What was filled in, or True for a URL that was opened; False is a refusal, None no answer."""
        ...


REPORTS: Final[ContextVar[Reports | None]] = ContextVar("REPORTS", default=None)
"""Who hears of calls that are made here; `reporting` sets it."""


@dataclass(eq=False, slots=True)
class CurrentCall:
    """One call of a tool, between the gate and its result.

    Attributes:
        user: On whose behalf, such as "user:local".
        scope: Ends with the call's time.
    """

    user: str
    scope: anyio.CancelScope
    reports: Reports | None

    @contextmanager
    def waiting_for_a_person(self) -> Generator[None]:
        """The call's own time stands still."""
        left = self.scope.deadline - anyio.current_time()
        self.scope.deadline = inf
        try:
            yield
        finally:
            self.scope.deadline = anyio.current_time() + left


CURRENT: Final[ContextVar[CurrentCall | None]] = ContextVar("CURRENT", default=None)
"""The call that this code is a part of; `Tool.call` sets it."""


@contextmanager
def reporting(reports: Reports | None) -> Generator[None]:
    """`reports` hears of the calls that are made inside."""
    token = REPORTS.set(reports)
    try:
        yield
    finally:
        REPORTS.reset(token)
