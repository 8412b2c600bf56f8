"""Functions in a cell that the host answers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from typing import Any

from .link import Link

__all__ = ["Calls"]


class Calls:
    """Makes the functions of tools and carries their calls to the host."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.cell = ""
        self._numbers = itertools.count(1)
        self._made: dict[str, Callable[..., Any]] = {}

    def function(self, name: str) -> Callable[..., Any]:
        """The function `name`, the same one each time."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._ask({"op": "call", "name": name, "args": args, "kwargs": kwargs}).get("value")

        def map(*iterables: Iterable[Any], **kwargs: Any) -> list[Any]:
            """The results of one call for each item, in order, as the built-in `map` takes items; all are made at once.

            Keyword arguments are given to every call. When some fail, the first error is raised after all have ended.
            """
            if not iterables:
                raise TypeError(f"{name}.map takes at least one iterable")
            items = list(zip(*iterables))
            answer = self._ask({"op": "map", "name": name, "items": items, "kwargs": kwargs}) if items else {}
            return answer.get("values", [])

        call.__name__ = call.__qualname__ = name
        call.__doc__ = "Answered by the host; arguments and result are JSON. `.map(items)` makes many calls at once."
        call.map = map  # type: ignore[attr-defined]
        return call

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        link = self.link
        link.interrupts.mask()
        try:
            key = f"{self.cell}.{next(self._numbers)}"
            link.inbox.expect(key)
            link.send({"cell": self.cell, "call": key, **question})
            answer, _ = link.inbox.wait(key)
        except EOFError:
            os._exit(0)
        finally:
            link.interrupts.unmask()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer
