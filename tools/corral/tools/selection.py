"""Parts of a JSON value, by JSON Pointer or by JSONPath."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, Final, cast

from corral.tools.observation import Json

__all__ = ["select_by_path", "select_by_pointer"]

MAX_MATCHES: Final = 1000
_MAX_QUERY: Final = 500
_MAX_DESCENTS: Final = 2
_MAX_SECONDS: Final = 10.0


def select_by_pointer(value: Json, pointer: str) -> Json:
    """What a JSON Pointer (RFC 6901) names.

    Raises:
        ValueError: It is none.
        LookupError: It names nothing; says what there is instead.
    """
    if not pointer.startswith("/"):
        raise ValueError("a pointer begins with /")
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            if not key.isdigit() or int(key) >= len(value):
                raise LookupError(f"a list of {len(value)} has no {key!r}")
            value = value[int(key)]
        elif isinstance(value, dict):
            if key not in value:
                raise LookupError(f"no {key!r}; there are {', '.join(list(value)[:20])}")
            value = value[key]
        else:
            raise LookupError(f"{key!r} is asked of a {type(value).__name__}")
    return value


def select_by_path(value: Json, query: str) -> tuple[list[Json], bool]:
    """All that a JSONPath query (RFC 9535, without regular expressions) finds, and whether there is more than 1000.

    The query comes from a model: its length, its descents and its time are bounded. It may take seconds; call it in a
    thread.

    Raises:
        ValueError: It is none, asks for too much, or takes too long.
    """
    import jsonpath  # only where it is needed

    if not query.lstrip().startswith("$"):
        raise ValueError("a query begins with $, such as $.items[0].name")
    if len(query) > _MAX_QUERY or query.count("..") > _MAX_DESCENTS:
        raise ValueError(f"a query has at most {_MAX_QUERY} characters and {_MAX_DESCENTS} '..'")
    deadline = time.monotonic() + _MAX_SECONDS

    class Bounded(jsonpath.JSONPathEnvironment):
        def compare(self, left: object, operator: str, right: object) -> bool:
            if time.monotonic() > deadline:
                raise ValueError(f"the query takes longer than {_MAX_SECONDS:g} s; ask for less")
            return super().compare(left, operator, right)

    environment = Bounded(strict=True)
    for name in ("match", "search"):
        environment.function_extensions.pop(name, None)  # patterns of a model could take for ever
    try:
        found: list[Json] = []
        for match in islice(environment.finditer(query, cast("Any", value)), MAX_MATCHES + 1):
            if time.monotonic() > deadline:
                raise ValueError(f"the query takes longer than {_MAX_SECONDS:g} s; ask for less")
            found.append(cast("Json", match.obj))
    except jsonpath.JSONPathError as error:
        raise ValueError(str(error).partition("\n")[0]) from None
    except RecursionError:
        raise ValueError("the value nests too deeply for it") from None
    return found[:MAX_MATCHES], len(found) > MAX_MATCHES
