"""Schemas of OpenAPI documents as JSON Schema of their own: references moved to `$defs`, older spellings renewed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from corral.tools.arguments import malformed

__all__ = ["Schemas", "follow", "numbered", "resolve"]

_IGNORED: Final = frozenset(("discriminator", "xml", "externalDocs", "example", "nullable", "readOnly", "writeOnly"))
_MAX_HOPS: Final = 20
_MAX_PARTS: Final = 50_000


def resolve(document: dict[str, Any], reference: str) -> Any:
    """What a local reference names.

    Raises:
        LookupError: It names nothing, or is not local.
    """
    if not reference.startswith("#"):
        raise LookupError(f"{reference[:80]!r} is outside the document")
    found: Any = document
    for step in reference[1:].split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and key.isdigit():
            listed = cast("list[Any]", found)
            found = listed[int(key)] if int(key) < len(listed) else None
        else:
            found = cast("dict[str, Any]", found).get(key) if isinstance(found, dict) else None
        if found is None:
            raise LookupError(f"{reference[:80]!r} names nothing")
    return found


def follow(document: dict[str, Any], value: Any) -> dict[str, Any]:
    """`value`, or what it refers to in the end.

    Raises:
        LookupError: It is no object, or leads nowhere.
    """
    for _ in range(_MAX_HOPS):
        if not isinstance(value, dict):
            break
        named = cast("dict[str, Any]", value)
        if not isinstance(named.get("$ref"), str):
            return named
        value = resolve(document, named["$ref"])
    raise LookupError("a reference leads nowhere")


class Schemas:
    """Converts the schemas of one operation's request, and collects what they refer to.

    Args:
        judged: By reference what is wrong with it, shared by operations: judging takes most of the time.
    """

    def __init__(self, document: dict[str, Any], judged: dict[str, str | None] | None = None) -> None:
        self._document = document
        self._judged = {} if judged is None else judged
        self._is_old = "swagger" in document or str(document.get("openapi", "")).startswith("3.0")
        self._names: dict[str, str] = {}
        self._pending: list[str] = []
        self._parts = 0

    def convert(self, schema: Any) -> Any:
        """The schema, where each reference is one to `$defs`."""
        if not isinstance(schema, dict):
            return schema
        self._parts += 1
        if self._parts > _MAX_PARTS:  # aliases of YAML make much of little
            raise LookupError(f"its schemas have more than {_MAX_PARTS} parts")
        source = cast("dict[str, Any]", schema)
        if isinstance(reference := source.get("$ref"), str):
            # Beside a reference, 3.0 ignores what stands there; its remark is of use all the same.
            rest = {key: value for key, value in source.items() if key == "description"} if self._is_old else source
            return {key: value for key, value in rest.items() if key != "$ref"} | {"$ref": self._name(reference)}
        source = self._without_read_only(source)
        made = {key: self._convert_part(key, value) for key, value in source.items() if key not in _IGNORED}
        return self._renew(source, made) if self._is_old else made

    def definitions(self) -> dict[str, Any]:
        """All that was referred to, by name in `$defs`; to be called last.

        Raises:
            LookupError: A reference leads nowhere, or out of the document, or to what is no schema.
        """
        made: dict[str, Any] = {}
        while self._pending:
            reference = self._pending.pop()
            definition = made[self._names[reference]] = self.convert(resolve(self._document, reference))
            if reference not in self._judged:
                self._judged[reference] = malformed(cast("Any", definition)) if isinstance(definition, dict) else None
            if (fault := self._judged[reference]) is not None:
                raise LookupError(f"its schema {reference[:80]} is broken: {fault}")
        return made

    def _without_read_only(self, source: dict[str, Any]) -> dict[str, Any]:
        """The schema without the properties that servers alone set: they are not sent, nor required of a request."""
        properties = source.get("properties")
        if not isinstance(properties, dict):
            return source
        named = cast("dict[str, Any]", properties)
        kept = {name: part for name, part in named.items() if not self._is_read_only(part)}
        if len(kept) == len(named):
            return source
        required = [each for each in cast("list[Any]", source.get("required") or []) if each not in named.keys() - kept]
        return source | {"properties": kept, "required": required}

    def _is_read_only(self, part: Any) -> bool:
        try:
            return isinstance(part, dict) and follow(self._document, cast("Any", part)).get("readOnly") is True
        except LookupError:
            return False  # told where it is converted

    def _convert_part(self, key: str, value: Any) -> Any:
        if key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            if isinstance(value, dict):
                return {name: self.convert(part) for name, part in cast("dict[str, Any]", value).items()}
        elif key in ("allOf", "anyOf", "oneOf", "prefixItems"):
            if isinstance(value, list):
                return [self.convert(part) for part in cast("list[Any]", value)]
        elif key in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
            return self.convert(value)
        return value

    def _name(self, reference: str) -> str:
        if reference not in self._names:
            last = re.sub(r"[^A-Za-z0-9_]", "_", reference.rpartition("/")[2]) or "schema"
            taken = set(self._names.values())
            self._names[reference] = next(name for name in numbered(last) if name not in taken)
            self._pending.append(reference)
        return f"#/$defs/{self._names[reference]}"

    def _renew(self, source: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
        """What Swagger 2.0 and OpenAPI 3.0 spell in their own way."""
        for edge in ("Minimum", "Maximum"):
            exclusive, plain = f"exclusive{edge}", edge.lower()
            if made.get(exclusive) is True and plain in made:
                made[exclusive] = made.pop(plain)
            elif isinstance(made.get(exclusive), bool):
                del made[exclusive]
        if made.get("type") == "file":
            made |= {"type": "string", "format": "binary"}
        if source.get("nullable") is True or source.get("x-nullable") is True:
            if isinstance(made.get("type"), str):
                made["type"] = [made["type"], "null"]
                if isinstance(made.get("enum"), list) and None not in made["enum"]:
                    made["enum"] = [*made["enum"], None]
            else:
                made = {"anyOf": [made, {"type": "null"}]}
        return made


def numbered(name: str) -> Iterator[str]:
    """The name, and what to try instead where it is taken."""
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1
