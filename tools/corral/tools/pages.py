"""Lists that a server gives in pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

__all__ = ["all_pages"]

_MAX_PAGES: Final = 100


class Page(Protocol):
    @property
    def next_cursor(self) -> str | None: ...


PageT = TypeVar("PageT", bound=Page)


async def all_pages(fetch: Callable[[str | None], Awaitable[PageT]], of: str) -> list[PageT]:
    """Every page, by the cursor that the one before it gave.

    Args:
        of: What the list is of, such as "tools".

    Raises:
        ValueError: It has no end.
    """
    pages: list[PageT] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await fetch(cursor)
        pages.append(page)
        cursor = page.next_cursor
        if cursor is None:
            return pages
    raise ValueError(f"its list of {of} does not end after {_MAX_PAGES} pages")
