"""What a cell shows beside text: images, tables and figures, each as bytes with a media type."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, cast

__all__ = ["PYPLOT", "Display"]

PYPLOT = "matplotlib.pyplot"

# Richest first; what a notebook would show.
METHODS = (
    ("_repr_png_", "image/png", "png"),
    ("_repr_jpeg_", "image/jpeg", "jpg"),
    ("_repr_svg_", "image/svg+xml", "svg"),
    ("_repr_html_", "text/html", "html"),
    ("_repr_markdown_", "text/markdown", "md"),
)
SIGNATURES = ((b"\x89PNG\r\n", "image/png", "png"), (b"\xff\xd8\xff", "image/jpeg", "jpg"))


class Display:
    """`display` of the cells, numbering what is shown.

    Args:
        send: Takes a name, a media type and the bytes.
        limit: Bytes that one cell may show.
    """

    def __init__(self, send: Callable[[str, str, bytes], None], limit: int) -> None:
        self._send = send
        self._limit = limit
        self.begin()

    def begin(self) -> None:
        self.shown = 0
        self._bytes = 0

    def display(self, *values: Any) -> None:
        """Show values: those that can be an image or a table go to the host as such, the others are printed."""
        for value in values:
            if not self.show(value):
                print(value)  # noqa: T201 - that is what it does

    def show(self, value: Any) -> bool:
        """Send `value` if it has a rich form."""
        rich = _rich(value)
        if rich is None:
            return False
        data, media_type, suffix = rich
        if self._bytes + len(data) > self._limit:
            raise ValueError(f"a cell can show {self._limit} bytes in all, and this would make it more")
        self._bytes += len(data)
        self.shown += 1
        self._send(f"shown-{self.shown}.{suffix}", media_type, data)
        return True

    def figures(self) -> None:
        """Show what is left open in pyplot and close it, as a notebook does at a cell's end."""
        pyplot: Any = sys.modules.get(PYPLOT)
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            self.show(pyplot.figure(number))


def _rich(value: Any) -> tuple[bytes, str, str] | None:
    if isinstance(value, type):
        return None
    if isinstance(value, bytes):
        return next(((value, kind, suffix) for start, kind, suffix in SIGNATURES if value.startswith(start)), None)
    for name, media_type, suffix in METHODS:
        method = getattr(value, name, None)
        shown: Any = method() if callable(method) else None
        if type(shown) is tuple:  # the data, and metadata for a notebook
            shown = cast("tuple[Any, ...]", shown)[0]
        if isinstance(shown, str):
            shown = shown.encode("utf-8", "surrogatepass")
        if isinstance(shown, bytes):
            return shown, media_type, suffix
    if hasattr(value, "savefig") and type(value).__module__.startswith("matplotlib."):
        buffer = io.BytesIO()
        value.savefig(buffer, format="png", bbox_inches="tight")
        if pyplot := sys.modules.get(PYPLOT):
            pyplot.close(value)  # it need not be shown again at the cell's end
        return buffer.getvalue(), "image/png", "png"
    return None
