"""Secrets that go along with requests of an API, by the names of its security schemes."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import quote, quote_plus, urlencode

from corral.tools.route import Message
from corral.tools.variables import expand

__all__ = ["Credential"]


@dataclass(frozen=True, slots=True)
class Credential:
    """One secret and its place in a request.

    Attributes:
        wire: What it is called there.
        value: May name variables, "${VAR}"; for "Basic" it is "user:password".
        scheme: Stands before the value in a header.
    """

    place: Literal["header", "query", "cookie"]
    wire: str
    value: str = field(repr=False)
    scheme: Literal["", "Bearer", "Basic"] = ""

    def expanded(self, environ: Mapping[str, str]) -> Credential:
        """With its variables replaced.

        Raises:
            LookupError: One is not set.
        """
        value = expand(self.value, environ)
        if self.scheme == "Basic":
            value = base64.b64encode(value.encode()).decode()
        return replace(self, value=value)

    def secrets(self) -> tuple[str, ...]:
        """What must not be seen of it once it is expanded, in each form in which it may come back."""
        if self.scheme == "Basic":
            decoded = base64.b64decode(self.value).decode()
            return self.value, decoded, decoded.partition(":")[2]
        return self.value, quote(self.value, safe=""), quote_plus(self.value)

    def added_to(self, message: Message) -> Message:
        """The message with this expanded credential; it takes the place of an argument of the same name."""
        if self.place == "query":
            separator = "&" if "?" in message.target else "?"
            return replace(message, target=f"{message.target}{separator}{urlencode({self.wire: self.value})}")
        if self.place == "cookie":
            cookies = [message.headers["Cookie"]] if "Cookie" in message.headers else []
            cookies.append(f"{self.wire}={quote(self.value, safe='')}")
            return replace(message, headers={**message.headers, "Cookie": "; ".join(cookies)})
        others = {name: value for name, value in message.headers.items() if name.lower() != self.wire.lower()}
        return replace(message, headers={**others, self.wire: f"{self.scheme} {self.value}".lstrip()})
