"""An HTTP response as an observation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn, cast

from corral.policy import Label
from corral.tools.media import Media
from corral.tools.observation import Json, Observation

__all__ = ["Reply", "read_retry_after"]

_MAX_ERROR: Final = 500
"""Characters of an error answer that are shown."""
_TEXT_KINDS: Final = ("text/", "application/xml", "application/javascript", "application/x-www-form-urlencoded")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response that was read, up to a cap.

    Attributes:
        kind: Its media type without parameters, in lower case.
        is_cut: There was more than the cap.
    """

    status: int
    reason: str
    kind: str
    charset: str
    content: bytes
    is_cut: bool = False

    def observe(self, label: Label) -> Observation:
        """JSON as `structured`, text as text; what is neither is named. A status of 400 and more is an error."""
        structured = self._parse()
        if self.status >= 400:
            return Observation(self._explain(structured), structured, True, label)
        if not self.content:
            return Observation("(no output)", None, False, label)
        if structured is not None:
            text = structured if isinstance(structured, str) else json.dumps(structured, ensure_ascii=False)
        elif self._is_text():
            text = self._decode()
        elif self.kind.startswith(("image/", "audio/")) and not self.is_cut:
            media = Media.of(self.content, self.kind)
            return Observation(str(media), label=label, media=(media,))
        else:
            text = f"[{self.kind or 'content of unknown type'}, {len(self.content)} B]"
        if self.is_cut:
            text += f"\n[cut: the answer is longer than {len(self.content)} B]"
        return Observation(text, structured, False, label)

    def _explain(self, structured: Json | None) -> str:
        said = f"HTTP {self.status} {self.reason}".strip()
        if self.kind == "text/html":
            return said
        words = "" if not self._is_text() and structured is None else " ".join(self._decode().split())
        words = words if len(words) <= _MAX_ERROR else words[: _MAX_ERROR - 1] + "…"
        return f"{said}: {words}" if words else said

    def _parse(self) -> Json | None:
        if self.is_cut or not (self.kind == "application/json" or self.kind.endswith("+json")):
            return None
        try:
            return cast("Json", json.loads(self.content, parse_constant=_refuse))
        except (ValueError, RecursionError):
            return None

    def _is_text(self) -> bool:
        return not self.kind or self.kind.startswith(_TEXT_KINDS) or "json" in self.kind

    def _decode(self) -> str:
        try:
            return self.content.decode(self.charset, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")


def read_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait that a Retry-After header asks for (RFC 9110 §10.2.3).

    Args:
        now: Seconds of the epoch.
    """
    if value is None:
        return None
    try:
        return max(0.0, float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _refuse(constant: Any) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")
