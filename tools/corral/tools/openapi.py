"""Operations of OpenAPI documents (Swagger 2.0, OpenAPI 3.0 and 3.1) as tools."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from corral.tools.address import is_inside, show_url
from corral.tools.api import HttpClient
from corral.tools.endpoint import METHODS
from corral.tools.errors import ToolConfigError
from corral.tools.http_tools import HttpTools
from corral.tools.oauth import TokenSource
from corral.tools.openapi_document import (
    Filter,
    RawOperation,
    fetch_document,
    find_server,
    raw_operations,
    read_document,
)
from corral.tools.openapi_schema import Schemas, follow, numbered
from corral.tools.openapi_security import Security
from corral.tools.route import Place, Placement, Route, Style
from corral.tools.servers import PerUser
from corral.tools.tool import DEFAULT_TIMEOUT, Effect

__all__ = ["load_openapi"]

# A header parameter of these names is ignored (OpenAPI 3.1.1 §4.8.12.1).
_NOT_PARAMETERS: Final = frozenset(("accept", "content-type", "authorization"))
_STYLES: Final[dict[str, Style]] = {"deepObject": "deep", "spaceDelimited": "spaces", "pipeDelimited": "pipes"}
_FILE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "filename": {"type": "string"},
        "content": {"type": "string", "description": "Its text, or its bytes in base64."},
        "base64": {"type": "boolean", "default": False},
    },
    "required": ["filename", "content"],
    "additionalProperties": False,
}


def load_openapi(
    name: str,
    document: str | os.PathLike[str] | Mapping[str, Any],
    *,
    base_url: str | None = None,
    auth: TokenSource | PerUser | None = None,
    headers: Mapping[str, str] | None = None,
    client: HttpClient | None = None,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    tags: Sequence[str] = (),
    methods: Sequence[str] = (),
    timeout: float = DEFAULT_TIMEOUT,
    server: int | str = 0,
    variables: Mapping[str, str] | None = None,
    security: Mapping[str, TokenSource | str] | None = None,
    allow_private: bool = False,
) -> HttpTools:
    """The operations of an API as a source of tools; see `HttpTools` for what holds when they are called.

    The body of a request is the argument `body`, and the fields of a form are arguments. What can't be a tool is told
    in `left_out`, by the operation's name.

    Args:
        document: A file in JSON or YAML, its URL, or what was read from one.
        base_url: Of the API; one of the document's servers when None.
        include: Globs on operations' names or paths.
        tags: If given, operations with one of these only.
        methods: If given, operations of these only, such as "GET".
        server: Which of the document's servers: its number, or a part of its URL or description.
        variables: Of the server's URL, instead of their defaults.
        security: Credentials by the names of the document's security schemes: a source of tokens, or a text that may
            name variables ("user:password" for http basic). Each operation gets those that it names; one whose schemes
            are not given is left out.

    Raises:
        ToolConfigError: The document can't be read, or has no server that can be used.
    """
    spec, place, at = _document(name, document, allow_private)
    if not (str(spec.get("openapi", "")).startswith("3.") or spec.get("swagger") == "2.0"):
        raise ToolConfigError(place, "this is no OpenAPI document of version 3, and no Swagger 2.0")
    wanted = Filter(tuple(include), tuple(exclude), frozenset(tags), frozenset(method.upper() for method in methods))
    known = Security(spec, security or {}, place)
    operations: dict[str, _Operation] = {}
    left_out: dict[str, str] = {}
    for raw in raw_operations(spec):
        if not wanted.takes(raw):
            continue
        title = next(each for each in numbered(raw.name) if each not in operations and each not in left_out)
        try:
            operations[title] = replace(_Reader(spec, raw, title, timeout).read(), schemes=known.of(raw.operation))
        except (LookupError, ToolConfigError, RecursionError) as error:
            left_out[title] = error.problem if isinstance(error, ToolConfigError) else str(error.args[0])
    if auth is not None and known.source is not None:
        raise ToolConfigError(place, "auth and security both give tokens; give one of them")
    found = base_url or find_server(spec, place, server, variables, at)
    if base_url is None and at and not is_inside(urlsplit(at).hostname) and is_inside(urlsplit(found).hostname):
        raise ToolConfigError(place, f"its server {found!r} is inside this network, and the document is not")
    source = HttpTools(
        name,
        found,
        *operations.values(),
        auth=auth or known.source,
        headers=headers,
        client=client,
        allow_private=allow_private,
        credentials=known.credentials,
    )
    source.left_out.update(left_out)
    return source


def _document(
    name: str, document: str | os.PathLike[str] | Mapping[str, Any], allow_private: bool
) -> tuple[dict[str, Any], str, str]:
    """The document, what it is called in errors, and the URL that it came from."""
    if isinstance(document, Mapping):
        return dict(document), name, ""
    if isinstance(document, str) and document.startswith(("http://", "https://")):
        place = show_url(document)
        return fetch_document(document, place, allow_private=allow_private), place, document
    path = Path(document)
    return read_document(path, path.name), path.name, ""


@dataclass(frozen=True, slots=True)
class _Operation:
    """One operation, in the form in which `HttpTools` takes endpoints."""

    name: str
    description: str
    timeout: float
    output_schema: dict[str, Any] | None
    schema: dict[str, Any]
    where: Route
    read_only: bool | None = None
    schemes: tuple[str, ...] | None = None

    def route(self) -> Route:
        return self.where

    def input_schema(self) -> dict[str, Any]:
        return self.schema

    def effect_of_call(self) -> Effect:
        return METHODS[self.where.method]


class _Reader:
    """Reads one operation."""

    def __init__(self, spec: dict[str, Any], raw: RawOperation, title: str, timeout: float) -> None:
        self._spec = spec
        self._raw = raw
        self._title = title
        self._timeout = timeout
        self._schemas = Schemas(spec)
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._placements: list[Placement] = []
        self._body: Literal["json", "form", "multipart", "text"] = "json"

    def read(self) -> _Operation:
        if servers := self._raw.operation.get("servers") or self._raw.item.get("servers"):
            raise LookupError(f"it has a server of its own, {servers[0].get('url', '')!r}, which is not called")
        for parameter in self._parameters():
            self._add_parameter(parameter)
        if "requestBody" in self._raw.operation:
            self._add_body(follow(self._spec, self._raw.operation["requestBody"]))
        schema: dict[str, Any] = {"type": "object", "properties": self._properties, "additionalProperties": False}
        if self._required:
            schema["required"] = self._required
        if definitions := self._schemas.definitions():
            schema["$defs"] = definitions
        said = [str(self._raw.operation.get(key) or "").strip() for key in ("summary", "description")]
        description = "\n\n".join(dict.fromkeys(text for text in said if text))
        route = Route(self._raw.method, self._raw.path, tuple(self._placements), self._body)
        return _Operation(self._title, description, self._timeout, None, schema, route)

    def _parameters(self) -> list[dict[str, Any]]:
        """The operation's parameters, which replace those of its path."""
        found: dict[tuple[Any, Any], dict[str, Any]] = {}
        for holder in (self._raw.item, self._raw.operation):
            for each in cast("list[Any]", holder.get("parameters") or []):
                parameter = follow(self._spec, each)
                found[parameter.get("name"), parameter.get("in")] = parameter
        return list(found.values())

    def _add_parameter(self, parameter: dict[str, Any]) -> None:
        wire, where = str(parameter.get("name")), parameter.get("in")
        schema: Any = parameter.get("schema")
        match where:
            case "header" if wire.lower() in _NOT_PARAMETERS:
                return
            case "body":  # Swagger 2.0
                self._add("body", "content", wire, schema or {}, parameter)
                return
            case "formData":
                is_file = parameter.get("type") == "file"
                self._body = "multipart" if is_file or self._body == "multipart" else "form"
                self._add(wire, "body", wire, _FILE if is_file else _inline(parameter), parameter)
                return
            case "path" | "query" | "header" | "cookie":
                pass
            case _:
                raise LookupError(f"the parameter {wire!r} is in {where!r}, which is unknown")
        if schema is None and isinstance(content := parameter.get("content"), dict):
            media: list[Any] = list(cast("dict[str, Any]", content).values())
            schema = media[0].get("schema") if media else None
        style = _STYLES.get(parameter.get("style", ""), "form")
        is_list = parameter.get("collectionFormat", "multi" if "openapi" in self._spec else "csv") == "multi"
        explode = parameter.get("explode", is_list)
        self._add(wire, where, wire, schema or _inline(parameter), parameter, style, explode)

    def _add_body(self, body: dict[str, Any]) -> None:
        content: dict[str, Any] = body.get("content") or {}
        kinds = {kind.partition(";")[0].strip().lower(): media for kind, media in content.items()}
        json_kind = next((kind for kind in kinds if kind.endswith(("/json", "+json")) or kind == "*/*"), None)
        if json_kind is not None:
            self._add("body", "content", "body", kinds[json_kind].get("schema") or {}, body)
        elif "multipart/form-data" in kinds or "application/x-www-form-urlencoded" in kinds:
            self._body = "multipart" if "multipart/form-data" in kinds else "form"
            media = kinds.get("multipart/form-data") or kinds["application/x-www-form-urlencoded"]
            self._add_fields(follow(self._spec, media.get("schema") or {}))
        elif any(kind.startswith("text/") for kind in kinds):
            self._body = "text"
            self._add("body", "content", "body", {"type": "string"}, body)
        elif kinds:
            raise LookupError(f"its body is of type {', '.join(kinds)}, which can't be written")

    def _add_fields(self, schema: dict[str, Any]) -> None:
        required: list[Any] = schema.get("required") or []
        for name, each in cast("dict[str, Any]", schema.get("properties") or {}).items():
            field = follow(self._spec, each)
            is_file = field.get("format") == "binary" or "contentMediaType" in field
            self._add(name, "body", name, _FILE if is_file else each, {"required": name in required})

    def _add(
        self,
        name: str,
        where: Any,
        wire: str,
        schema: Any,
        remarks: dict[str, Any],
        style: Style = "form",
        explode: bool = True,
    ) -> None:
        argument = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64]
        if argument in self._properties:
            argument = next(each for each in numbered(f"{argument}_{where}") if each not in self._properties)
        converted = self._schemas.convert(schema)
        if isinstance(remarks.get("description"), str) and isinstance(converted, dict):
            converted = {"description": remarks["description"], **cast("dict[str, Any]", converted)}
        self._properties[argument] = converted
        if remarks.get("required") or where == "path":
            self._required.append(argument)
        self._placements.append(Placement(argument, cast("Place", where), wire, bool(explode), style))


def _inline(parameter: dict[str, Any]) -> dict[str, Any]:
    """The schema that stands in a parameter of Swagger 2.0 itself."""
    keys = parameter.keys() - {"name", "in", "required", "description", "collectionFormat", "allowEmptyValue"}
    return {key: parameter[key] for key in keys}
