"""What a person can log in to: servers of an mcpServers file by name, and issuers and MCP servers by URL."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from corral.apps.failures import Exit, fail

if TYPE_CHECKING:
    from corral.apps.settings import Settings
    from corral.tools import Grant, HttpServer, OAuthClient, ServerLogin, TokenStore
    from corral.tools.login import Login

__all__ = ["Target", "Targets"]


@dataclass(frozen=True)
class Target:
    """One login.

    Attributes:
        name: A server's in the file, or a URL.
        url: Of the MCP server; empty where a client of an issuer logs in.
    """

    name: str
    auth: OAuthClient | ServerLogin
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    allow_private: bool = False

    @property
    def kept(self) -> Login:
        """What is known of it."""
        from corral.tools import OAuthClient
        from corral.tools.login_flow import LoginFlow  # heavy

        return self.auth.kept if isinstance(self.auth, OAuthClient) else LoginFlow(self.auth, self.url).kept

    @property
    def has_person(self) -> bool:
        from corral.tools import OAuthClient

        if isinstance(self.auth, OAuthClient):
            return self.auth.is_interactive
        return self.auth.assertion is None and (self.auth.grant is None or self.auth.grant.is_interactive)

    async def login(
        self, grant: Grant | None, show: Callable[[str], object], timeout: float, scopes: tuple[str, ...]
    ) -> Login | None:
        """Log in, with a person if it needs one; None if the server wants no login.

        Raises:
            TokenError: It did not come about.
        """
        from corral.tools import AuthorizationCode, OAuthClient
        from corral.tools.login_flow import log_in  # heavy

        if isinstance(self.auth, OAuthClient):
            person = grant or AuthorizationCode(show=show, timeout=timeout)
            await self.auth.login(person if self.has_person else None)
            return self.auth.kept
        auth = replace(self.auth, show=show, ask=True, timeout=timeout, scopes=scopes)
        auth = replace(auth, grant=grant) if self.has_person and grant else auth
        return await log_in(auth, self.url, self.headers, allow_private=self.allow_private)

    async def logout(self) -> bool:
        """Forget the login, and end it at the server; False if that has no way to.

        Raises:
            TokenError: The server could not be told; here it is forgotten.
        """
        from corral.tools import OAuthClient
        from corral.tools.login_flow import LoginFlow  # heavy

        auth = self.auth
        return await (
            auth.logout()
            if isinstance(auth, OAuthClient)
            else LoginFlow(auth, self.url, allow_private=self.allow_private).logout()
        )


class Targets:
    """All that is known to be logged in to.

    Args:
        config: The mcpServers file, if there is one.
        open: Gives where logins are kept.
    """

    def __init__(self, config: Path | None, settings: Settings, open: Callable[[], TokenStore]) -> None:
        self._config = config
        self._open = open
        self._index = settings.logins / "targets"

    def all(self) -> list[Target]:
        """Those of the file, in its order, then those that were logged in to by URL."""
        return [*self._of_file(), *(self._of_url(url, about) for url, about in sorted(self._read().items()))]

    def find(self, name: str) -> Target:
        """The one that is called so; raises bad input with a near name if there is none."""
        known = {target.name: target for target in self.all()}
        if name in known:
            return known[name]
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}" if known else ""
        if self._config is None:
            raise fail(f"{name} is no URL, and no mcpServers file was given: --mcp-config FILE{hint}", Exit.BAD_INPUT)
        raise fail(f"no server with a login is called {name!r} in {self._config}{hint}", Exit.BAD_INPUT)

    async def of_url(self, url: str, client_id: str | None, scopes: tuple[str, ...], resource: str | None) -> Target:
        """The issuer or MCP server at `url`; remembered, so that it can be logged out of by its URL alone.

        Raises:
            ToolError: It can't be asked which of them it is.
        """
        from corral.tools import TokenError
        from corral.tools.discovery import discover_server

        about: dict[str, Any] = {"server": True, "client_id": client_id}
        with suppress(TokenError):
            await discover_server(url)
            about = {"client_id": client_id, "scopes": list(scopes), "resource": resource}
            if client_id is None:
                raise fail(f"{url} is an authorization server: say who you are there, with --client-id", Exit.BAD_INPUT)
        return self._of_url(url, about)

    def remember(self, target: Target, *, forget: bool = False) -> None:
        """Keep what a target by URL is; there is no secret in it."""
        from corral.tools import OAuthClient
        from corral.tools.private_file import write_private

        if "://" not in target.name:
            return
        known = self._read()
        known.pop(target.name, None)
        if not forget and isinstance(target.auth, OAuthClient):
            known[target.name] = target.auth.describe()
        elif not forget:
            known[target.name] = {"server": True, "client_id": cast("ServerLogin", target.auth).client_id}
        write_private(self._index, known)

    def _of_file(self) -> list[Target]:
        from corral.tools import HttpServer, Logins, OAuthClient, ServerLogin, load_mcp_config

        if self._config is None:
            return []
        found: list[Target] = []
        for server in load_mcp_config(self._config, logins=Logins(self._open)):
            if isinstance(server.config, HttpServer) and isinstance(server.config.auth, OAuthClient | ServerLogin):
                url, headers = _address(server.config)
                found.append(Target(server.name, server.config.auth, url, headers, server.config.allow_private))
        return found

    def _of_url(self, url: str, about: dict[str, Any]) -> Target:
        from corral.tools import AuthorizationCode, OAuthClient, ServerLogin

        if about.get("server"):
            return Target(
                url,
                ServerLogin(client_id=about.get("client_id"), store=self._open(), ask=False),
                url,
                allow_private=True,
            )
        scopes, resource = about.get("scopes", ()), about.get("resource")
        client = OAuthClient(
            None,
            str(about.get("client_id")),
            issuer=url,
            scopes=scopes,
            resource=resource,
            grant=AuthorizationCode(),
            store=self._open(),
        )
        return Target(url, client)

    def _read(self) -> dict[str, dict[str, Any]]:
        from corral.tools.private_file import read_private

        return {url: about for url, about in (read_private(self._index) or {}).items() if isinstance(about, dict)}


def _address(config: HttpServer) -> tuple[str, dict[str, str]]:
    from corral.tools.variables import expand

    try:
        headers = {name: expand(value, os.environ) for name, value in config.headers.items()}
        return expand(config.url, os.environ), headers
    except LookupError as error:
        raise fail(f"{config.url}: it needs {error.args[0]}, which is not set", Exit.BAD_INPUT) from None
