"""Logging in to an MCP server that says itself where its tokens come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from corral.tools.client_identity import Assertion
from corral.tools.grants import Grant
from corral.tools.token_store import FileTokenStore, TokenStore

__all__ = ["ServerLogin"]

_LOGIN_TIME: Final = 300.0


@dataclass(frozen=True, slots=True)
class ServerLogin:
    """OAuth as MCP's specification has it (2025-11-25, basic/authorization), for `HttpServer.auth`.

    A 401 leads to the server's metadata, from there to its authorization server, where the client is registered if it
    must be, and a person consents in a browser (code and PKCE, back to this machine). Later the token is renewed by its
    refresh token, also after a restart. A 403 that names scopes leads to one more consent, with those. The server's
    connect timeout includes the person's time.

    Attributes:
        show: Is given the URL to be opened; the system's browser when None.
        folder: Keeps tokens and registrations in encrypted files (`FileTokenStore`); None forgets.
        store: Keeps them elsewhere, such as in the system's keyring; comes before `folder`.
        client_id: Of a client that was registered beforehand; with a secret, if it has one.
        client_assertion: Shows who that client is instead of a secret: `PrivateKeyJwt`, or a workload's `TokenFile`.
        client_metadata_url: Stands for the client where the authorization server takes such URLs (CIMD).
        grant: How to come to a token, instead of by a person in a browser: `ClientCredentials()` where the program acts
            for itself, `DeviceCode(None, show)` for a person elsewhere, or `JwtBearer`, `TokenExchange`.
        assertion: The same as `grant=JwtBearer(assertion)`: gives a token of the place where the program runs, such as
            a cluster's (workload identity, RFC 7523 §2.1).
        dpop: Bind the tokens to a key (RFC 9449), which is kept with them.
        ask: Ask the person when a login is needed; else it is an error that says so, with `advice`.
        user: Whose login it is, where several people's are kept in one place.
        environ: Where `${VAR}` in the client's id and secret is looked up; this process's environment when None.
        scopes: What is asked for beside what the server names.
        port: Of the redirect; any free one when 0, kept once the client is registered.
        timeout: Seconds for the person.
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
    scopes: tuple[str, ...] = ()
    client_assertion: Assertion | None = field(default=None, repr=False)
    grant: Grant | None = None
    store: TokenStore | None = None
    ask: bool = True
    advice: str = "log in again"
    user: str = ""
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    flows: WeakKeyDictionary[Any, dict[str, Any]] = field(
        default_factory=WeakKeyDictionary[Any, dict[str, Any]], repr=False, compare=False
    )
    """What was logged in to, by event loop and URL: a connection that is made again asks nobody again."""

    @property
    def kept_in(self) -> TokenStore | None:
        """Where its logins are kept."""
        if self.store is not None or self.folder is None:
            return self.store
        return FileTokenStore(self.folder)
