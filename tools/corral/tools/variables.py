"""`${VAR}` and `${VAR:-default}` in configured values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["expand"]

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with each reference replaced; as in a shell, the default also stands for an empty variable.

    Raises:
        LookupError: A variable without a default is not set; the argument is its reference, such as "${TOKEN}".
    """

    def look_up(match: re.Match[str]) -> str:
        value, default = environ.get(match[1]), match[2]
        if default is not None:
            return value or default
        if value is None:
            raise LookupError(f"${{{match[1]}}}")
        return value

    return _REFERENCE.sub(look_up, text)
