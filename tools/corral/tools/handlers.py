"""What an MCP server may ask of its user and tell about its work, as callbacks of whoever holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from corral.policy import Action, Admission, Label
from corral.tools.arguments import Checker

__all__ = ["Elicitation", "Handlers", "LogEntry", "Progress"]


@dataclass(frozen=True, slots=True)
class Elicitation:
    """A question of a server to the person in front of the program, in the middle of a call.

    Attributes:
        message: What the server says; untrusted text.
        schema: JSON Schema of a flat object to be filled in; None if the person is sent to a URL instead.
        url: Where the person is to go; untrusted, to be shown whole and opened only with consent.
    """

    server: str
    message: str
    schema: dict[str, Any] | None = None
    url: str | None = None

    def action(self, principal: str, user: str, label: Label, via: tuple[str, ...] = ()) -> Action:
        """The question as an action for the gate, "tool:SERVER/elicitation": rules may deny it, a person answers it.

        Args:
            label: Of the call in which it is asked.
        """
        asked = {"message": self.message, "schema": self.schema, "url": self.url}
        given = {name: value for name, value in asked.items() if value is not None}
        labels = dict.fromkeys(given, label)
        resource = f"tool:{self.server}/elicitation"
        return Action(resource, "call", principal, user, given, labels, via=via, for_person=True)

    async def answered(self, admission: Admission) -> dict[str, Any] | bool | None:
        """What the person said whom the gate asked about `action`; None if nobody was asked.

        Raises:
            BadArguments: What was filled in does not fit the form.
        """
        action = admission.action
        admission.claim(f"tool:{self.server}/elicitation", "call", action.arguments)
        judgement = admission.judgement
        if judgement is None or judgement.answered_by is None:
            return None
        return True if self.schema is None else self.filled(dict(judgement.content or {}))

    def filled(self, given: dict[str, Any]) -> dict[str, Any]:
        """The form with what was given, and the server's defaults for the rest.

        Raises:
            BadArguments: It does not fit the schema.
        """
        properties = cast("dict[str, Any]", (self.schema or {}).get("properties") or {})
        defaults = {
            name: cast("dict[str, Any]", part)["default"]
            for name, part in properties.items()
            if isinstance(part, dict) and "default" in part
        }
        form = {name: value for name, value in (defaults | given).items() if name in properties}
        return Checker("the form", {**(self.schema or {}), "type": "object"}).check(form)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come, as its server tells it; `total` is None if it does not know."""

    server: str
    tool: str
    done: float
    total: float | None
    message: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line that a server logs; untrusted text.

    Attributes:
        level: One of MCP's: "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency".
        logger: The part of the server that says it, if it names one.
    """

    server: str
    level: str
    text: str
    logger: str = ""


class Elicit(Protocol):
    """Answers an elicitation."""

    async def __call__(self, elicitation: Elicitation, /) -> dict[str, Any] | bool | None:
        """What was filled in, or True for a URL that was opened; False is a refusal, None no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Handlers:
    """Callbacks of one server, for what a run does not hear itself (see `Reports`).

    Attributes:
        elicit: Asks the person; instead of whoever made the call. Its time does not count as the call's.
        progress: Told how a call goes on.
        log: Told the level and the text of what the server logs.
        roots: Folders that the server is told of, as file URIs; with none, it is told that there are none to tell of.
    """

    elicit: Elicit | None = None
    progress: Callable[[Progress], None] | None = None
    log: Callable[[str, str], None] | None = None
    roots: tuple[str, ...] = field(default=())
