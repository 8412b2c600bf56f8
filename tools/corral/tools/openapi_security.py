"""Security schemes of OpenAPI documents, and what the user gave for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from corral.tools.credentials import Credential
from corral.tools.errors import ToolConfigError
from corral.tools.oauth import TokenSource
from corral.tools.openapi_schema import follow

__all__ = ["Security"]


class Security:
    """Which credentials each operation takes.

    Args:
        given: By the scheme's name in the document: a source of tokens (oauth2, openIdConnect, http bearer), or a text
            that may name variables (apiKey, http bearer; "user:password" for http basic).

    Raises:
        ToolConfigError: The document has no such scheme, or it takes something else.
    """

    def __init__(self, spec: dict[str, Any], given: Mapping[str, TokenSource | str], place: str) -> None:
        self._spec = spec
        self._given = given
        self._place = place
        components: dict[str, Any] = spec.get("components") or {}
        self._schemes: dict[str, Any] = components.get("securitySchemes") or spec.get("securityDefinitions") or {}
        self.source: TokenSource | None = None
        self.credentials: dict[str, Credential] = {}
        for name, value in given.items():
            self._take(name, value)

    def of(self, operation: dict[str, Any]) -> tuple[str, ...] | None:
        """The schemes that an operation uses; None where nothing was given for any, and all goes by `auth`.

        Raises:
            LookupError: It needs one for which nothing was given.
        """
        if not self._given:
            return None
        wanted: Any = operation.get("security", self._spec.get("security"))
        if not isinstance(wanted, list) or not wanted:
            return ()
        # What was given is used, also where the operation could do without.
        for alternative in sorted(cast("list[dict[str, Any]]", wanted), key=lambda each: not each):
            if all(name in self._given for name in alternative):
                return tuple(alternative)
        first = ", ".join(cast("list[dict[str, Any]]", wanted)[0])
        raise LookupError(f"it needs credentials for {first}; give them in security")

    def is_signed(self, schemes: tuple[str, ...]) -> bool:
        """Whether one of them takes tokens of the source."""
        return any(name not in self.credentials for name in schemes)

    def _take(self, name: str, value: TokenSource | str) -> None:
        if name not in self._schemes:
            known = ", ".join(self._schemes) or "none"
            raise ToolConfigError(self._place, f"security: it has no scheme {name!r}; it has {known}")
        scheme = follow(self._spec, self._schemes[name])
        kind, way = scheme.get("type"), str(scheme.get("scheme") or "").lower()
        if not isinstance(value, str):
            if kind not in ("oauth2", "openIdConnect") and (kind, way) != ("http", "bearer"):
                raise ToolConfigError(self._place, f"security: {name!r} is no scheme of tokens; give a text")
            if self.source is not None:
                raise ToolConfigError(self._place, "security: one source of tokens is enough")
            self.source = value
        elif kind == "apiKey" and scheme.get("in") in ("header", "query", "cookie"):
            self.credentials[name] = Credential(scheme["in"], str(scheme.get("name")), value)
        elif kind == "basic" or (kind, way) == ("http", "basic"):
            self.credentials[name] = Credential("header", "Authorization", value, "Basic")
        elif kind in ("oauth2", "openIdConnect") or (kind, way) == ("http", "bearer"):
            self.credentials[name] = Credential("header", "Authorization", value, "Bearer")
        else:
            raise ToolConfigError(self._place, f"security: schemes such as {name!r} can't be used")
