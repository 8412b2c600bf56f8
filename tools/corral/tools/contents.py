"""MCP's results and errors as observations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from corral.policy import Label
from corral.tools.observation import Json, Observation

if TYPE_CHECKING:
    from mcp_types import BlobResourceContents, CallToolResult, ContentBlock, TextResourceContents

__all__ = ["observe", "show_content", "show_resource"]


def observe(result: CallToolResult, label: Label) -> Observation:
    """The result with its text joined, what is not text named, and every content block kept as it came."""
    text = "\n".join(show_content(content) for content in result.content)
    structured = cast("Json", result.structured_content)
    if not text and structured is not None:
        text = json.dumps(structured, ensure_ascii=False)
    if not text:
        text = "the tool failed and did not say why" if result.is_error else "(no output)"
    return Observation(text, structured, result.is_error, label, tuple(result.content))


def show_content(content: ContentBlock) -> str:
    """One block as text."""
    match content.type:
        case "text":
            return content.text
        case "image" | "audio":
            return f"[{content.type} {content.mime_type}, {_size(content.data)}]"
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
    return f"[resource {resource.uri} {kind}, {_size(getattr(resource, 'blob', ''))}]"


def _size(base64: str) -> str:
    size = len(base64) * 3 // 4 - base64[-2:].count("=")
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
