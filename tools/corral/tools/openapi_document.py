"""OpenAPI documents: read from files, taken apart into operations, and where their server is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from corral.tools.endpoint import METHODS
from corral.tools.errors import ToolConfigError
from corral.tools.openapi_schema import follow

__all__ = ["Filter", "RawOperation", "find_server", "numbered", "raw_operations", "read_document"]


@dataclass(frozen=True, slots=True)
class RawOperation:
    """One operation as the document has it."""

    name: str
    method: str
    path: str
    item: dict[str, Any]
    operation: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    tags: frozenset[str]
    methods: frozenset[str]

    def takes(self, raw: RawOperation) -> bool:
        def fits(patterns: tuple[str, ...]) -> bool:
            return any(fnmatchcase(raw.name, each) or fnmatchcase(raw.path, each) for each in patterns)

        tags = raw.operation.get("tags")
        tagged = not self.tags or (isinstance(tags, list) and bool(self.tags.intersection(cast("list[str]", tags))))
        return fits(self.include) and not fits(self.exclude) and tagged and (raw.method in (self.methods or METHODS))


def raw_operations(spec: dict[str, Any]) -> Iterator[RawOperation]:
    for path, listed in cast("dict[str, Any]", spec.get("paths") or {}).items():
        item = follow(spec, listed)
        for key, operation in item.items():
            if key.upper() in METHODS and isinstance(operation, dict):
                said = cast("dict[str, Any]", operation)
                title = said.get("operationId") or f"{key}_{path.strip('/') or 'root'}"
                name = re.sub(r"[^A-Za-z0-9_.-]+", "_", str(title)).strip("_") or key
                yield RawOperation(name, key.upper(), path, item, said)


def find_server(spec: dict[str, Any], place: str) -> str:
    if spec.get("swagger") == "2.0":
        schemes = spec.get("schemes") or ["https"]
        if not spec.get("host"):
            raise ToolConfigError(place, "it names no host; give base_url")
        return f"{'https' if 'https' in schemes else schemes[0]}://{spec['host']}{spec.get('basePath') or ''}"
    servers = cast("list[dict[str, Any]]", spec.get("servers") or [])
    url = str(servers[0].get("url", "")) if servers else ""
    for name, variable in cast("dict[str, Any]", servers[0].get("variables") or {} if servers else {}).items():
        url = url.replace(f"{{{name}}}", str(variable.get("default", "")))
    if not urlsplit(urljoin("", url)).hostname:
        raise ToolConfigError(place, "it names no server with a host; give base_url")
    return url


def read_document(path: Path, place: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolConfigError(str(path), f"the file can't be read: {getattr(error, 'strerror', error)}") from error
    try:
        data: Any = json.loads(text)
    except ValueError:
        import yaml  # only where it is needed

        try:
            data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise ToolConfigError(place, "this is neither JSON nor YAML") from error
    if not isinstance(data, dict):
        raise ToolConfigError(place, "this is no OpenAPI document")
    return cast("dict[str, Any]", data)


def numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1
