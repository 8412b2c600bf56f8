"""Rendering: a conversation as a provider's client puts it on the wire, each turn rendered once.

lm15 renders every turn anew for every request: in a run of two hundred steps that is half of all the time that goes by
outside the model. Turns are never rewritten in place, so what was made of the old ones still holds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from operator import is_
from typing import Any, TypeAlias, cast

from dspy.lm15 import Message, Request

__all__ = ["Rendered", "keep_rendered", "rendering_once"]

Rows: TypeAlias = "list[dict[str, Any]]"


@dataclass(frozen=True, slots=True)
class _Turns:
    """What one client, for one kind of server, made of these very messages."""

    client: Any
    compat: Any
    messages: tuple[Message, ...]
    rows: Rows


class Rendered:
    """The turns of one run as they were sent last; it lives as long as the run, and no other run sees it."""

    def __init__(self) -> None:
        self._turns: _Turns | None = None

    def rows(self, client: Any, request: Request, compat: Any, render: Callable[[Request], Rows]) -> Rows:
        """What `render` makes of the request, asked for only what is new at its end."""
        turns, messages = self._turns, request.messages
        old: Rows = []
        count = 0
        if turns is not None and turns.client is client and turns.compat == compat:
            count = len(turns.messages)
            if count <= len(messages) and all(map(is_, turns.messages, messages)):
                old = turns.rows
            else:
                count = 0
        new = render(_part(request, None, messages[count:])) if count < len(messages) else []
        # A thread may build a request as well: what is kept is replaced as a whole, and no list is changed.
        self._turns = _Turns(client, compat, messages, [*old, *new])
        return [*render(_part(request, request.system, ())), *self._turns.rows]


_RENDERED: ContextVar[Rendered | None] = ContextVar("_RENDERED", default=None)


@contextmanager
def rendering_once() -> Generator[None]:
    """Let the requests that are sent within be those of one conversation."""
    token = _RENDERED.set(Rendered())
    try:
        yield
    finally:
        _RENDERED.reset(token)


def keep_rendered(client: Any) -> None:
    """Have an lm15 client for Chat Completions ask the conversation for what it rendered before.

    It renders message by message, which a test pins. Clients of other kinds stay as they are.
    """
    kind: Any = cast("Any", type(client))
    if not hasattr(kind, "_build_messages"):
        return

    def build_messages(self: Any, request: Request, compat: Any, **more: Any) -> Rows:
        def render(part: Request) -> Rows:
            return kind._build_messages(self, part, compat, **more)

        rendered = _RENDERED.get()
        # Such as a breakpoint of the prompt cache, which marks a message by its number, in its row.
        if rendered is None or any(value is not None for value in more.values()):
            return render(request)
        return rendered.rows(self, request, compat, render)

    client.__class__ = type(kind.__name__, (kind,), {"__slots__": (), "_build_messages": build_messages})


def _part(request: Request, system: Any, messages: tuple[Message, ...]) -> Request:
    """The same request with other messages; not looked through once more, and of no message where that is meant."""
    part = copy(request)
    object.__setattr__(part, "system", system)
    object.__setattr__(part, "messages", messages)
    return part
