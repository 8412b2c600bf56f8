"""Calls whose answer was lost, and whether they can have had an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from mcp.shared.exceptions import MCPError

__all__ = ["SENT", "Lost", "read_loss"]

SENT: Final = "corral/sent"
"""In the data of a JSON-RPC error that we made ourselves: whether the request may have been carried out."""
_CLOSED: Final = -32000
_STREAM_ENDED: Final = "SSE stream "
"""How the SDK's messages begin when a response stream ended early (mcp 2.3.0, client/streamable_http.py)."""


class Lost(Exception):
    """A call got no answer.

    Attributes:
        problem: A sentence without its subject, the server.
        sent: The server may have carried it out.
    """

    def __init__(self, problem: str, *, sent: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.sent = sent


def read_loss(error: MCPError) -> Lost | None:
    """The loss that an error of the SDK stands for; None if the server itself answered with it."""
    if error.error.code != _CLOSED:
        return None
    data = error.error.data
    if isinstance(data, dict):
        sent = cast("dict[str, Any]", data).get(SENT)
        if isinstance(sent, bool):
            return Lost(error.error.message, sent=sent)
    if error.error.message.startswith(_STREAM_ENDED):
        return Lost("broke off its answer", sent=True)
    return None
