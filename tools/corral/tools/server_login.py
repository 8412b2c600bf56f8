"""Logging in to an MCP server that says itself where its tokens come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from pydantic import SecretStr

__all__ = ["ServerLogin"]

_LOGIN_TIME: Final = 300.0


@dataclass(frozen=True, slots=True)
class ServerLogin:
    """OAuth as MCP's specification has it (2025-11-25, basic/authorization), for `HttpServer.auth`.

    A 401 leads to the server's metadata, from there to its authorization server, where the client is registered if it
    must be, and a person consents in a browser (code and PKCE, back to this machine). Later the token is renewed by its
    refresh token, also after a restart. The server's connect timeout includes the person's time.

    Attributes:
        show: Is given the URL to be opened; the system's browser when None.
        folder: Keeps tokens and registrations, in files that only their owner may read, not encrypted; None forgets.
        client_id: Of a client that was registered beforehand; with a secret, if it has one.
        client_metadata_url: Stands for the client where the authorization server takes such URLs (CIMD).
        assertion: Gives a token of the place where the program runs, such as a cluster's, instead of a person's consent
            (workload identity, RFC 7523 §2.1).
        dpop: Bind the tokens to a key (RFC 9449), which is kept in the folder.
        port: Of the redirect; any free one when 0, kept once the client is registered.
    """

    show: Callable[[str], object] | None = None
    folder: str | os.PathLike[str] | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = field(default=None, repr=False)
    client_metadata_url: str | None = None
    client_name: str = "Corral"
    assertion: Callable[[], str] | None = field(default=None, repr=False)
    dpop: bool = False
    port: int = 0
    timeout: float = _LOGIN_TIME
    flows: WeakKeyDictionary[Any, dict[str, Any]] = field(
        default_factory=WeakKeyDictionary[Any, dict[str, Any]], repr=False, compare=False
    )
    """What was logged in to, by event loop and URL: a connection that is made again asks nobody again."""
