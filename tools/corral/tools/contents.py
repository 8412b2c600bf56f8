"""MCP's results and errors as observations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from corral.policy import Label
from corral.tools.long_strings import LongStrings
from corral.tools.long_text import LongText
from corral.tools.media import Media, shown_size
from corral.tools.observation import Json, Observation

if TYPE_CHECKING:
    from mcp_types import BlobResourceContents, CallToolResult, ContentBlock, TextResourceContents

__all__ = ["observe", "show_content", "show_resource"]


def observe(result: CallToolResult, label: Label, long: LongStrings | None = None) -> Observation:
    """The result with its text joined, what is not text named, and every content block kept as it came.

    Args:
        long: Has what is long in it. A text that is all of the result stays in its file (`Observation.is_unread`).
    """
    apart = {} if long is None else {name: text for name in _texts(result) if (text := long.take(name)) is not None}
    if apart:
        if len(result.content) == 1:
            (text,) = apart.values()
            kept = (result.content[0].model_copy(update={"text": f"[a text of {len(text)} characters]"}),)
            return Observation("", cast("Json", result.structured_content), result.is_error, label, kept, text)
        result = result.model_copy(update={"content": [_filled(content, apart) for content in result.content]})
    text = "\n".join(show_content(content) for content in result.content)
    structured = cast("Json", result.structured_content)
    if not text and structured is not None:
        text = json.dumps(structured, ensure_ascii=False)
    if not text:
        text = "the tool failed and did not say why" if result.is_error else "(no output)"
    media = tuple(found for content in result.content if (found := _media(content)) is not None)
    return Observation(text, structured, result.is_error, label, tuple(result.content), media=media)


def _texts(result: CallToolResult) -> list[str]:
    return [content.text for content in result.content if content.type == "text"]


def _filled(content: ContentBlock, apart: Mapping[str, LongText]) -> ContentBlock:
    text = apart.get(content.text) if content.type == "text" else None
    return content if text is None else content.model_copy(update={"text": str(text)})


def show_content(content: ContentBlock) -> str:
    """One block as text."""
    match content.type:
        case "text":
            return content.text
        case "image" | "audio":
            return str(Media(content.mime_type, content.data))
        case "resource_link":
            return f"[resource link {content.name}: {content.uri}]"
        case "resource":
            return show_resource(content.resource)


def show_resource(resource: TextResourceContents | BlobResourceContents) -> str:
    """The resource's text, or what it is."""
    text = getattr(resource, "text", None)
    if isinstance(text, str):
        return text
    kind = resource.mime_type or "of unknown type"
    return f"[resource {resource.uri} {kind}, {shown_size(Media(kind, getattr(resource, 'blob', '')).size)}]"


def _media(content: ContentBlock) -> Media | None:
    match content.type:
        case "image" | "audio":
            return Media(content.mime_type, content.data)
        case "resource":
            blob = getattr(content.resource, "blob", None)
            kind = content.resource.mime_type or ""
            return Media(kind, blob) if isinstance(blob, str) and kind.startswith(("image/", "audio/")) else None
        case _:
            return None
