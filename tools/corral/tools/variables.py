"""`${VAR}`, `${VAR:-default}` and `${env:VAR}` in configured values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from corral.tools.errors import TokenError

__all__ = ["expand", "expand_of_client"]

_REFERENCE: Final = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{input:[^}]*\}")
"""As shells and other MCP clients write them; `${input:...}` has some of these ask a person, which is not done here."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with each reference replaced; as in a shell, the default also stands for an empty variable.

    Raises:
        LookupError: A variable without a default is not set, or a person would have to be asked; the argument is the
            reference, such as "${TOKEN}".
    """

    def look_up(match: re.Match[str]) -> str:
        if match[1] is None:
            raise LookupError(match[0])
        value, default = environ.get(match[1]), match[2]
        if default is not None:
            return value or default
        if value is None:
            raise LookupError(f"${{{match[1]}}}")
        return value

    return _REFERENCE.sub(look_up, text)


def expand_of_client(text: str, environ: Mapping[str, str] | None) -> str:
    """The same for the id or secret of an OAuth client, in this process's environment when `environ` is None.

    Raises:
        TokenError: A variable is not set.
    """
    try:
        return expand(text, os.environ if environ is None else environ)
    except LookupError as error:
        raise TokenError("the OAuth client", f"it needs {error.args[0]}, which is not set") from None
