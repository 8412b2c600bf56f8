"""What comes back from a tool, ready for a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from pydantic import JsonValue

from corral.policy import Label
from corral.tools.long_text import LongText
from corral.tools.media import Media

__all__ = ["Json", "Observation"]

Json: TypeAlias = JsonValue

_UNKNOWN = Label()


@dataclass(frozen=True, slots=True)
class Observation:
    """What a tool returned, or in one line why it returned nothing.

    Attributes:
        text: What a model is shown. What is not text stands in it by kind, such as "[image image/png, 12 kB]".
        structured: The same as a JSON value, where the tool gave one; a string result has only `text`.
        is_error: The tool failed, ran past its time or could not be reached; `text` says which.
        label: Where the content came from: untrusted, unless the tool's source is endorsed.
        contents: The source's own content blocks, untouched (for MCP, those of `mcp_types`).
        media: Pictures and sounds among them; a model that can see is shown the pictures.
        whole: All of `text`, where that was shortened for a model; `str` of it is the text. A source may give a
            `LongText` and no `text`: where nobody shortens it, `Tool.call` reads it.
    """

    text: str
    structured: Json | None = None
    is_error: bool = False
    label: Label = _UNKNOWN
    contents: tuple[Any, ...] = ()
    whole: str | LongText | None = None
    media: tuple[Media, ...] = ()

    @property
    def is_unread(self) -> bool:
        """The text is in `whole` only, in a file."""
        return isinstance(self.whole, LongText) and not self.text

    def read(self) -> Observation:
        """This with its text in memory."""
        if not self.is_unread:
            return self
        text = str(self.whole)
        contents = tuple(one.model_copy(update={"text": text}) if _is_text(one) else one for one in self.contents)
        return replace(self, text=text, contents=contents, whole=None)


def _is_text(content: Any) -> bool:
    return getattr(content, "type", None) == "text"
