"""How MCP servers are reached: a command to run, or a URL to talk to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from corral.tools.address import carries_secrets, find_fault, is_private_way
from corral.tools.oauth import TokenSource
from corral.tools.server_login import ServerLogin
from corral.tools.tool import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    import httpx2

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

__all__ = ["HttpAuth", "HttpServer", "PerUser", "ServerConfig", "StdioServer", "find_fault_of_http"]


@dataclass(frozen=True, slots=True)
class PerUser:
    """A credential for each user: a call goes out with that of the user on whose behalf it is made, over a connection
    of its own.

    Attributes:
        of: The source of a user's tokens, or the user's login, by the user's name in actions, such as "user:ada"; asked
            once for a connection, it may raise `TokenError`. Where a store keeps several users' logins, each
            `OAuthClient` and `ServerLogin` says whose it is, `user=`.
        listing: With whose credential the tools are listed.
    """

    of: Callable[[str], TokenSource | ServerLogin]
    listing: str = "user:local"


HttpAuth: TypeAlias = "TokenSource | ServerLogin | PerUser | httpx2.Auth"


@dataclass(frozen=True, slots=True)
class StdioServer:
    """How to run a server that speaks MCP on its standard streams.

    Attributes:
        args: May name variables, `${VAR}`, `${env:VAR}` or `${VAR:-default}`; so may the values of `env`.
        env: Variables beside the few that every server gets (HOME, PATH and the like).
        trust: Its annotations are believed: a tool with readOnlyHint that is not open-world is then read-only.
        timeout: Seconds that a call may take.
        include: Globs on its tools' own names, or on their names or resources in a toolbox.
        exclude: The same, for tools that are left out.
        max_message_bytes: Of one message; an answer that is longer fails its call.
    """

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    trust: bool = False
    timeout: float = DEFAULT_TIMEOUT
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    max_message_bytes: int = MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class HttpServer:
    """How to talk to a server that speaks MCP over HTTP; see `StdioServer` for what both have.

    Attributes:
        url: Of its MCP endpoint; may name variables. Redirects to another origin are not followed.
        headers: Sent with every request; their values may name variables, so that no secret stands in a file.
        auth: Gives the access token of each request, or logs in as the server says, or is an `Auth` of httpx2. Tokens
            and secret headers go over TLS or stay on this machine.
        sse: It speaks the HTTP+SSE transport of 2024-11-05 instead of streamable HTTP.
        allow_private: The name may lead into this machine or network; an address that is written down may anyway.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    auth: HttpAuth | None = None
    sse: bool = False
    trust: bool = False
    timeout: float = DEFAULT_TIMEOUT
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    max_message_bytes: int = MAX_MESSAGE_BYTES
    allow_private: bool = False


ServerConfig: TypeAlias = StdioServer | HttpServer


def find_fault_of_http(config: HttpServer, url: str) -> str | None:
    """Why nothing may be sent to `url`, the expanded one of `config`; or None."""
    fault = find_fault(url)
    if fault is not None:
        return fault
    secret = config.auth is not None or any(carries_secrets(name, value) for name, value in config.headers.items())
    if secret and not is_private_way(url):
        return "tokens and secret headers are sent over https only, except to this machine"
    return None
