"""Redaction: secrets and personal numbers taken out of texts, before a log, a prompt or a stranger sees them.

Each pattern is looked for only where a cheap word of it stands, and numbers count only when their checksum is right.
With PyPI's google-re2 installed the patterns run on that; they take linear time either way.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import quote

from corral.policy.patterns import PERSONAL, SECRETS

__all__ = ["Finding", "Redactor"]


_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should not be shown: what kind it is, and where it stands."""

    kind: str
    start: int
    end: int


class Redactor:
    """Takes out what must not be shown; immutable, so one serves all threads.

    Args:
        known: Secrets that the host holds: they are found wherever they stand, also in base64, in URL encoding, in hex
            and within JSON. Shorter ones than 6 characters are refused, they would tear texts apart.
        looks: Also what only looks like a secret, such as a private key or a cloud's access key.
        personal: Also mail addresses, IBANs, card and social security numbers, telephone numbers.
    """

    def __init__(self, known: Iterable[str] = (), *, looks: bool = True, personal: bool = True) -> None:
        secrets = sorted(set(known))
        if any(len(secret) < 6 for secret in secrets):
            raise ValueError("a known secret has fewer than 6 characters")
        forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, forms))) if forms else None
        self._secrets = secrets
        self._looks = looks
        self._personal = personal
        self._patterns = (*(SECRETS if looks else ()), *(PERSONAL if personal else ()))
        self._hints = tuple((hint, at) for at, pattern in enumerate(self._patterns) for hint in pattern.hints)
        self._numbers = {at for at, pattern in enumerate(self._patterns) if not pattern.hints}

    def redact(self, text: str) -> str:
        """`text` with "[KIND]" in the place of each finding."""
        parts: list[str] = []
        at = 0
        for finding in self.find(text):
            parts += text[at : finding.start], f"[{finding.kind}]"
            at = finding.end
        return "".join(parts) + text[at:] if parts else text

    def redact_json(self, value: Any) -> Any:
        """A JSON value, each string in it redacted, keys too."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, list):
            return [self.redact_json(item) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            given = cast("dict[str, Any]", value)
            return {self.redact(key): self.redact_json(item) for key, item in given.items()}
        return value

    def joined(self, other: Redactor) -> Redactor:
        """One that takes out what either does."""
        return Redactor(
            (*self._secrets, *other._secrets),
            looks=self._looks or other._looks,
            personal=self._personal or other._personal,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Redactor:
        return self

    def find(self, text: str) -> list[Finding]:
        """What should not be shown, in order and without overlap; of two at one place, the earlier and longer."""
        found = sorted(self._all(text), key=lambda finding: (finding.start, -finding.end))
        kept: list[Finding] = []
        for finding in found:
            if not kept or finding.start >= kept[-1].end:
                kept.append(finding)
            elif finding.end > kept[-1].end:
                kept[-1] = Finding(kept[-1].kind, kept[-1].start, finding.end)
        return kept

    def _all(self, text: str) -> Iterator[Finding]:
        if self._known is not None:
            for match in self._known.finditer(text):
                yield Finding("secret", match.start(), match.end())
        possible = {at for hint, at in self._hints if hint in text}
        if self._numbers and _DIGIT.search(text) is not None:
            possible |= self._numbers
        for at in sorted(possible):
            pattern = self._patterns[at]
            for match in _compiled(pattern.source).finditer(text):
                if pattern.accept is None or pattern.accept(match.group()):
                    yield Finding(pattern.kind, match.start(), match.end())


def _forms(secret: str) -> Iterator[str]:
    """How a secret may be written; of base64, what does not depend on its neighbours, at each of three places."""
    yield secret
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    raw = secret.encode()
    yield raw.hex()
    yield raw.hex().upper()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        # The first characters hold bits of what stands before, the last of what follows.
        core = text[(0, 2, 3)[before] : len(text) - (1 if (before + len(raw)) % 3 else 0)]
        if len(core) >= 6:
            yield core
            yield core.replace("+", "-").replace("/", "_")


@cache
def _compiled(source: str) -> Any:
    try:
        import re2  # pyright: ignore[reportMissingImports] - optional, and much faster where it is there
    except ImportError:
        return re.compile(source)
    return re2.compile(source)  # pyright: ignore
