"""Operations of OpenAPI documents (Swagger 2.0, OpenAPI 3.0 and 3.1) as tools."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from corral.tools.address import is_inside, show_url
from corral.tools.api import HttpClient
from corral.tools.errors import ToolConfigError
from corral.tools.http_tools import HttpTools
from corral.tools.oauth import TokenSource
from corral.tools.openapi_document import (
    Filter,
    fetch_document,
    find_server,
    operations_at,
    read_document,
)
from corral.tools.openapi_operation import Reader
from corral.tools.openapi_schema import numbered
from corral.tools.openapi_security import Security
from corral.tools.servers import PerUser
from corral.tools.tool import DEFAULT_TIMEOUT

__all__ = ["load_openapi"]


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
    with _well_formed(place):
        known = Security(spec, security or {}, place)
        found = base_url or find_server(spec, place, server, variables, at)
        paths = list(cast("Mapping[str, Any]", spec.get("paths") or {}).items())
    if auth is not None and known.source is not None:
        raise ToolConfigError(place, "auth and security both give tokens; give one of them")
    if base_url is None and at and not is_inside(urlsplit(at).hostname) and is_inside(urlsplit(found).hostname):
        raise ToolConfigError(place, f"its server {found!r} is inside this network, and the document is not")
    source = HttpTools(
        name,
        found,
        auth=auth or known.source,
        headers=headers,
        client=client,
        allow_private=allow_private,
        credentials=known.credentials,
    )
    judged: dict[str, str | None] = {}
    for path, item in paths:
        try:
            chosen = [raw for raw in operations_at(spec, path, item) if wanted.takes(raw)]
        except Exception as error:  # noqa: BLE001 - a foreign document can be malformed in any way
            source.left_out[str(path)] = _blame(error)
            continue
        for raw in chosen:
            title = next(each for each in numbered(raw.name) if not source.knows(each))
            try:
                source.add(replace(Reader(spec, raw, title, timeout, judged).read(), schemes=known.of(raw.operation)))
            except Exception as error:  # noqa: BLE001 - as above, and the other operations are of use
                source.left_out[title] = _blame(error)
    return source


def _blame(error: Exception) -> str:
    if isinstance(error, ToolConfigError):
        return error.problem
    if type(error) is LookupError:  # which our own readers raise, with a sentence
        return str(error.args[0])
    return f"the document is malformed here ({type(error).__name__})"


@contextmanager
def _well_formed(place: str) -> Generator[None]:
    try:
        yield
    except ToolConfigError:
        raise
    except Exception as error:
        raise ToolConfigError(place, f"its servers, paths or security can't be read: {_blame(error)}") from error


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
