"""One operation of an OpenAPI document: its arguments, and where each is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from corral.tools.arguments import broken
from corral.tools.body import Body
from corral.tools.endpoint import METHODS
from corral.tools.openapi_document import RawOperation
from corral.tools.openapi_schema import Schemas, follow, numbered
from corral.tools.route import NAMED, Place, Placement, Route
from corral.tools.styles import Style
from corral.tools.tool import Effect

__all__ = ["Operation", "Reader"]

# A header parameter of these names is ignored (OpenAPI 3.1.1 §4.8.12.1).
_NOT_PARAMETERS: Final = frozenset(("accept", "content-type", "authorization"))
_STYLES: Final[dict[str, Style]] = {
    "deepObject": "deep",
    "spaceDelimited": "spaces",
    "pipeDelimited": "pipes",
    "simple": "simple",
    "label": "label",
    "matrix": "matrix",
}
_COLLECTED: Final[dict[str, Style]] = {"ssv": "spaces", "pipes": "pipes", "tsv": "tabs"}
_CONTENT: Final[dict[str, Any]] = {
    "content": {"type": "string", "description": "Its text, or its bytes in base64."},
    "base64": {"type": "boolean", "default": False},
}
_FILE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"filename": {"type": "string"}, **_CONTENT},
    "required": ["filename", "content"],
    "additionalProperties": False,
}
_BYTES: Final[dict[str, Any]] = _FILE | {"required": ["content"]}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, in the form in which `HttpTools` takes endpoints."""

    name: str
    description: str
    timeout: float
    output_schema: dict[str, Any] | None
    schema: dict[str, Any]
    where: Route
    read_only: bool | None = None
    schemes: tuple[str, ...] | None = None
    is_judged = True
    """Its schema was looked at, part by part."""

    def route(self) -> Route:
        return self.where

    def input_schema(self) -> dict[str, Any]:
        return self.schema

    def effect_of_call(self) -> Effect:
        return METHODS[self.where.method]


class Reader:
    """Reads one operation.

    Args:
        judged: As `Schemas` has it.
    """

    def __init__(
        self, spec: dict[str, Any], raw: RawOperation, title: str, timeout: float, judged: dict[str, str | None]
    ) -> None:
        self._spec = spec
        self._raw = raw
        self._title = title
        self._timeout = timeout
        self._schemas = Schemas(spec, judged)
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._placements: list[Placement] = []
        self._body = Body()

    def read(self) -> Operation:
        if servers := self._raw.operation.get("servers") or self._raw.item.get("servers"):
            raise LookupError(f"it has a server of its own, {servers[0].get('url', '')!r}, which is not called")
        for parameter in self._parameters():
            self._add_parameter(parameter)
        declared = {each.wire for each in self._placements if each.where == "path"}
        for name in NAMED.findall(self._raw.path):
            if name not in declared:
                self._add(name, "path", name, {"type": "string"}, {}, "simple", explode=False)
        if "requestBody" in self._raw.operation:
            self._add_body(follow(self._spec, self._raw.operation["requestBody"]))
        schema: dict[str, Any] = {"type": "object", "properties": self._properties, "additionalProperties": False}
        if self._required:
            schema["required"] = self._required
        if (fault := broken(schema)) is not None:
            raise LookupError(f"its parameters' schema is broken: {fault}")
        if definitions := self._schemas.definitions():
            schema["$defs"] = definitions
        said = [str(self._raw.operation.get(key) or "").strip() for key in ("summary", "description")]
        description = "\n\n".join(dict.fromkeys(text for text in said if text))
        route = Route(self._raw.method, self._raw.path, tuple(self._placements), self._body)
        return Operation(self._title, description, self._timeout, None, schema, route)

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
                takes: list[Any] = self._raw.operation.get("consumes") or self._spec.get("consumes") or []
                if is_file or self._body.way == "multipart" or (takes and set(takes) == {"multipart/form-data"}):
                    self._body = Body("multipart")
                else:
                    self._body = Body("form")
                self._add(wire, "body", wire, _FILE if is_file else _inline(parameter), parameter)
                return
            case "path" | "query" | "header" | "cookie":
                pass
            case _:
                raise LookupError(f"the parameter {wire!r} is in {where!r}, which is unknown")
        content = parameter.get("content")
        if schema is None and isinstance(content, dict) and content:
            media = next(iter(cast("dict[str, Any]", content).values()))
            self._add(wire, where, wire, media.get("schema") or {}, parameter, "json")
            return
        style, explode = self._style_of(parameter)
        self._add(wire, where, wire, schema or _inline(parameter), parameter, style, explode)

    def _style_of(self, parameter: dict[str, Any]) -> tuple[Style, bool]:
        if "openapi" not in self._spec:
            collected = parameter.get("collectionFormat", "csv")
            return _COLLECTED.get(collected, "form"), collected == "multi"
        usual = "form" if parameter.get("in") in ("query", "cookie") else "simple"
        style = _STYLES.get(parameter.get("style", usual), "form")
        return style, bool(parameter.get("explode", style == "form"))

    def _add_body(self, body: dict[str, Any]) -> None:
        content: dict[str, Any] = body.get("content") or {}
        kinds: dict[str, dict[str, Any]] = {
            kind.partition(";")[0].strip().lower(): media or {} for kind, media in content.items()
        }
        if not kinds:
            return
        kind = min(kinds, key=_rank)
        way = self._body = Body(_way_of(kind), "" if kind in ("*/*", "multipart/form-data") else kind)
        if way.way in ("form", "multipart"):
            self._add_fields(follow(self._spec, kinds[kind].get("schema") or {}))
        elif way.way == "json":
            self._add("body", "content", "body", kinds[kind].get("schema") or {}, body)
        else:
            self._add("body", "content", "body", {"type": "string"} if way.way == "text" else _BYTES, body)

    def _add_fields(self, schema: dict[str, Any]) -> None:
        for part in cast("list[Any]", schema.get("allOf") or []):
            self._add_fields(follow(self._spec, part))
        required: list[Any] = schema.get("required") or []
        for name, each in cast("dict[str, Any]", schema.get("properties") or {}).items():
            field = follow(self._spec, each)
            if field.get("readOnly") is True:
                continue
            items = field.get("items")
            if self._is_file(field):
                each = _FILE
            elif isinstance(items, dict) and self._is_file(follow(self._spec, items)):
                each = {"type": "array", "items": _FILE}
            self._add(name, "body", name, each, {"required": name in required, "description": field.get("description")})

    def _is_file(self, schema: dict[str, Any]) -> bool:
        return self._body.way == "multipart" and (schema.get("format") == "binary" or "contentMediaType" in schema)

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


def _way_of(kind: str) -> Literal["json", "form", "multipart", "text", "file"]:
    if kind == "*/*" or kind.endswith(("/json", "+json")):
        return "json"
    if kind == "multipart/form-data":
        return "multipart"
    if kind == "application/x-www-form-urlencoded":
        return "form"
    return "text" if kind.startswith("text/") or kind.endswith(("/xml", "+xml", "/yaml", "+yaml")) else "file"


def _rank(kind: str) -> int:
    """Of several ways to send the same, the first is taken."""
    return ("json", "multipart", "form", "text", "file").index(_way_of(kind))


def _inline(parameter: dict[str, Any]) -> dict[str, Any]:
    """The schema that stands in a parameter of Swagger 2.0 itself."""
    keys = parameter.keys() - {"name", "in", "required", "description", "collectionFormat", "allowEmptyValue"}
    return {key: parameter[key] for key in keys}
