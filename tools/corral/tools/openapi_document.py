"""OpenAPI documents: read from files, taken apart into operations, and where their server is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

from corral.tools.address import find_fault
from corral.tools.egress import REFUSED, guarded_sync
from corral.tools.endpoint import METHODS
from corral.tools.errors import ToolConfigError
from corral.tools.openapi_schema import follow

__all__ = [
    "Filter",
    "RawOperation",
    "fetch_document",
    "find_server",
    "parse_document",
    "operations_at",
    "read_document",
]

_MAX_DOCUMENT: Final = 20_000_000
_FETCH_TIME: Final = 30.0


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


def operations_at(spec: dict[str, Any], path: str, listed: Any) -> Iterator[RawOperation]:
    """The operations of one path.

    Raises:
        LookupError: What stands at the path is no object, or a reference that leads nowhere.
    """
    item = follow(spec, listed)
    for key, operation in item.items():
        if key.upper() in METHODS and isinstance(operation, dict):
            said = cast("dict[str, Any]", operation)
            title = said.get("operationId") or f"{key}_{path.strip('/') or 'root'}"
            name = re.sub(r"[^A-Za-z0-9_.-]+", "_", str(title)).strip("_") or key
            yield RawOperation(name, key.upper(), path, item, said)


def find_server(
    spec: dict[str, Any], place: str, chosen: int | str = 0, variables: Mapping[str, str] | None = None, at: str = ""
) -> str:
    """The URL of one of the document's servers.

    Args:
        chosen: Its number, or a part of its URL or description.
        variables: Instead of the defaults of those in the URL.
        at: Where the document itself came from: servers may be written relative to it.

    Raises:
        ToolConfigError: There is none, or a variable takes no such value.
    """
    if spec.get("swagger") == "2.0":
        schemes = spec.get("schemes") or ["https"]
        host, scheme = spec.get("host"), "https" if "https" in schemes else schemes[0]
        if not host and at:  # then it is the one that served the document
            host, scheme = urlsplit(at).netloc, scheme if "schemes" in spec else urlsplit(at).scheme
        if not host:
            raise ToolConfigError(place, "it names no host; give base_url")
        return f"{scheme}://{host}{spec.get('basePath') or ''}"
    servers = cast("list[dict[str, Any]]", spec.get("servers") or ([{"url": "/"}] if at else []))
    server = _choose(servers, chosen, place) if servers else {}
    url, known = str(server.get("url", "")), cast("dict[str, Any]", server.get("variables") or {})
    for name, value in (variables or {}).items():
        allowed: Any = known.get(name, {}).get("enum") if name in known else ()
        if name not in known or (isinstance(allowed, list) and value not in allowed):
            raise ToolConfigError(place, f"its server takes no {name}={value!r}")
    for name, variable in known.items():
        url = url.replace(f"{{{name}}}", (variables or {}).get(name, str(variable.get("default", ""))))
    url = urljoin(at, url) if at else url
    if not urlsplit(url).hostname:
        raise ToolConfigError(place, "it names no server with a host; give base_url")
    return url.rstrip("/") if at else url


def _choose(servers: list[dict[str, Any]], chosen: int | str, place: str) -> dict[str, Any]:
    if isinstance(chosen, int):
        if not 0 <= chosen < len(servers):
            raise ToolConfigError(place, f"it has {len(servers)} servers, and no number {chosen}")
        return servers[chosen]
    fitting = [one for one in servers if chosen in f"{one.get('url', '')} {one.get('description', '')}"]
    if len(fitting) != 1:
        listed = ", ".join(str(one.get("url", "")) for one in servers)
        raise ToolConfigError(place, f"{chosen!r} names {len(fitting)} of its servers: {listed}")
    return fitting[0]


def fetch_document(url: str, place: str, *, allow_private: bool = False) -> dict[str, Any]:
    """The document at `url`, of at most 20 MB; redirects are not followed.

    Raises:
        ToolConfigError: It can't be had.
    """
    import httpx  # keeps start-up light

    if (fault := find_fault(url)) is not None:
        raise ToolConfigError(place, fault)
    transport = guarded_sync(httpx, url, allow_private=allow_private)
    parts: list[bytes] = []
    try:
        with (
            httpx.Client(timeout=_FETCH_TIME, transport=transport) as client,
            client.stream("GET", url, headers={"Accept": "application/json, application/yaml, */*"}) as answer,
        ):
            if answer.status_code != 200:
                raise ToolConfigError(place, f"its address answers with HTTP {answer.status_code}, not with a document")
            for chunk in answer.iter_bytes():
                parts.append(chunk)
                if sum(map(len, parts)) > _MAX_DOCUMENT:
                    raise ToolConfigError(place, f"it is longer than {_MAX_DOCUMENT // 1_000_000} MB")
    except httpx.HTTPError as error:
        raise ToolConfigError(place, f"it can't be fetched: {str(error).removeprefix(REFUSED)}") from error
    return parse_document(b"".join(parts).decode("utf-8-sig", "replace"), place)


def read_document(path: Path, place: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ToolConfigError(str(path), f"the file can't be read: {getattr(error, 'strerror', error)}") from error
    return parse_document(text, place)


def parse_document(text: str, place: str) -> dict[str, Any]:
    """A document in JSON or YAML.

    Raises:
        ToolConfigError: It is neither, or no object.
    """
    try:
        data: Any = json.loads(text)
    except ValueError:
        data = _parse_yaml(text, place)
    if not isinstance(data, dict):
        raise ToolConfigError(place, "this is no OpenAPI document")
    return cast("dict[str, Any]", data)


def _parse_yaml(text: str, place: str) -> Any:
    """As OpenAPI wants it (3.1.1 §4.3): a date is a text, and only true and false are booleans, not "no" and "on"."""
    import yaml  # only where it is needed

    loader: Any = type("Plain", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
    left_out = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
    loader.yaml_implicit_resolvers = {
        first: [each for each in resolvers if each[0] not in left_out]
        for first, resolvers in loader.yaml_implicit_resolvers.items()
    }
    loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false|True|False"), list("tTfF"))
    try:
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ToolConfigError(place, "this is neither JSON nor YAML") from error
