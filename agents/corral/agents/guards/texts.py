"""Guards over texts: how long they are, what stands in them, what must not be shown."""

from __future__ import annotations

import re
from typing import Any

from corral.agents.errors import DefinitionError
from corral.agents.guards.guard import About, Found, Guard
from corral.policy import Redactor

__all__ = ["Length", "Pattern", "Redact"]


class Length(Guard):
    """Texts of at least `least` and at most `most` characters; redacting cuts what is longer.

    Raises:
        DefinitionError: Nothing is between them.
    """

    redacts = True

    def __init__(self, most: int, *, least: int = 0, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= least <= most:
            raise DefinitionError(f"no text has at least {least} and at most {most} characters")
        self._most = most
        self._least = least

    async def look(self, text: str, about: About) -> Found | None:
        if len(text) > self._most:
            return Found(f"it has {len(text)} characters, and at most {self._most} may be", text[: self._most])
        if len(text) < self._least:
            return Found(f"it has {len(text)} characters, and at least {self._least} must be")
        return None


class Pattern(Guard):
    """Texts in which a regular expression is found nowhere, or, with `required`, somewhere.

    Args:
        means: What the pattern stands for, such as "an order number"; it is said instead of the pattern.

    Raises:
        DefinitionError: It is no regular expression.
    """

    def __init__(self, pattern: str, *, means: str, required: bool = False, **options: Any) -> None:
        self.redacts = not required
        super().__init__(**options)
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise DefinitionError(f"the pattern {pattern!r} can't be read: {error}") from None
        self._means = means
        self._required = required

    async def look(self, text: str, about: About) -> Found | None:
        found = self._pattern.search(text) is not None
        if found is self._required:
            return None
        if self._required:
            return Found(f"{self._means} is missing")
        return Found(f"{self._means} stands in it", self._pattern.sub("[removed]", text))


class Redact(Guard):
    """Secrets and personal numbers: taken out, unless they are to be blocked or flagged."""

    redacts = True

    def __init__(self, redactor: Redactor | None = None, *, on: Any = "redact", **options: Any) -> None:
        super().__init__(on=on, **options)
        self._redactor = redactor or Redactor()

    async def look(self, text: str, about: About) -> Found | None:
        kinds = sorted({finding.kind for finding in self._redactor.find(text)})
        return Found(f"{', '.join(kinds)} in it", self._redactor.redact(text)) if kinds else None
