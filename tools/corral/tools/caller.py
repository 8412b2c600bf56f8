"""Requests to one server that are a call's work: sent again where that can do no harm, told where they were lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import anyio
from pydantic import ValidationError

from corral.policy import Label
from corral.tools.connection import Connection
from corral.tools.errors import ToolSourceError
from corral.tools.link import Link
from corral.tools.links import Links
from corral.tools.loss import Lost
from corral.tools.observation import Observation
from corral.tools.secrets import hide_secrets
from corral.tools.tool import Effect

__all__ = ["Ask", "Caller"]

Ask = Callable[[Connection], Awaitable[Observation]]

_WAITS: Final = (0.05, 0.4)
"""Seconds before a lost call is sent again: a dying process may still take connections for a moment."""


class Caller:
    """Asks one server, over whatever connection is live; there is none where `links` is None."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.links: Links | None = None

    async def perform(
        self, effect: Effect, label: Label, ask: Ask, why_not: Callable[[str], str | None] = lambda user: None
    ) -> Observation:
        """The server's answer, or what became of the request.

        Args:
            why_not: Asked once a connection is there, with whose it is: why nothing may be sent after all, a sentence
                without its subject.
        """
        links = self.links
        if links is None:
            text = f"the server {self._server!r} is closed; nothing was sent to it"
            return Observation(text, is_error=True, label=label)
        try:
            with links.for_call() as (user, link):
                return await self._send(link, effect, ask, lambda: why_not(user))
        except ToolSourceError as error:
            text = f"the server {self._server!r} has stopped and can't be used: {error.problem}; nothing was sent to it"
        except Lost as loss:
            outcome = "nothing was sent to it" if not loss.sent else "whether the call took effect is unknown"
            if loss.sent and effect.repeatable:
                outcome = "the call was repeated, and failed again"
            text = f"the server {self._server!r} {loss.problem}; {outcome}"
        except ValidationError as error:
            outcome = "" if effect is Effect.READ else "; whether the call took effect is unknown"
            text = f"the server {self._server!r} answered with {_what_it_is(error)}{outcome}"
        finally:
            await links.close_idle()
        return Observation(text, is_error=True, label=label)

    async def _send(self, link: Link, effect: Effect, ask: Ask, why_not: Callable[[], str | None]) -> Observation:
        for wait in (*_WAITS, None):
            connection = await link.live()
            if (problem := why_not()) is not None:
                raise Lost(problem, sent=False)
            try:
                observation = await ask(connection)
            except Lost as loss:
                if wait is None or (loss.sent and not effect.repeatable):
                    raise
                await anyio.sleep(wait)
                continue
            link.worked()
            return hide_secrets(observation, connection.secrets())
        raise AssertionError("unreachable")


def _what_it_is(error: ValidationError) -> str:
    """An answer that is not what was asked for."""
    first = error.errors(include_url=False, include_context=False)[0]
    given = cast("dict[str, Any]", first["input"]) if isinstance(first["input"], dict) else {}
    if "task" in given:
        return "a task in the background, which is not supported"
    place = ".".join(str(step) for step in first["loc"])
    return f"what is no result ({place}: {first['msg']})" if place else f"what is no result ({first['msg']})"
