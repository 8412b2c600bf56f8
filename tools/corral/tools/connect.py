"""From a server's configuration to a live connection, or to one sentence of why not."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from corral.tools.address import carries_secrets
from corral.tools.connection import Connection, ServerTransport
from corral.tools.egress import find_fault_of_way
from corral.tools.errors import ToolSourceError
from corral.tools.failure import explain
from corral.tools.handlers import Handlers
from corral.tools.http import HttpTransport
from corral.tools.servers import HttpServer, ServerConfig, find_fault_of_http
from corral.tools.stdio import StdioTransport
from corral.tools.variables import expand

__all__ = ["connect"]

_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS")
"""Whom to trust behind a proxy that opens TLS: without them uvx and npx can't fetch a server. They hold no secret."""


async def connect(
    name: str,
    config: ServerConfig,
    environ: Mapping[str, str] | None,
    timeout: float,
    handlers: Handlers | None = None,
) -> Connection:
    """A connection that has listed the server's tools.

    Args:
        environ: Where variables are looked up; this process's environment when None.
        timeout: Seconds for all of it.

    Raises:
        ToolSourceError: There is none; nothing is left running.
    """
    attempt = _Attempt(name, config, os.environ if environ is None else environ, timeout, handlers)
    if isinstance(config, HttpServer):
        reached = attempt.transport()
        await attempt.look_where_it_leads(config)
        return await attempt.make(reached, "legacy" if config.sse else "auto")
    transport = attempt.transport()
    try:
        return await attempt.make(transport, "auto")
    except ToolSourceError:
        if not transport.over or attempt.time_left <= 0:
            raise
        # It ended on the newest protocol's first question, perhaps: ask a fresh process in the older way.
        return await attempt.make(attempt.transport(), "legacy")


class _Attempt:
    """One try to connect, with its deadline."""

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        environ: Mapping[str, str],
        timeout: float,
        handlers: Handlers | None,
    ) -> None:
        self._handlers = handlers
        self._name = name
        self._config = config
        self._environ = environ
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout

    @property
    def time_left(self) -> float:
        return self._deadline - time.monotonic()

    def transport(self) -> StdioTransport | HttpTransport:
        try:
            return self._make_transport(self._config)
        except LookupError as error:
            raise ToolSourceError(self._name, f"its configuration needs {error.args[0]}, which is not set") from None

    async def look_where_it_leads(self, config: HttpServer) -> None:
        """Refuse a name that leads where nothing may be sent."""
        url = expand(config.url, self._environ)
        fault = await find_fault_of_way(url, allow_private=config.allow_private)
        if fault is not None:
            raise ToolSourceError(self._name, f"its url can't be used: {fault}")

    async def make(self, transport: ServerTransport, mode: str) -> Connection:
        connection = Connection(transport, mode, self._name, self._handlers)
        try:
            await connection.open(self.time_left)
            return connection
        except TimeoutError:
            problem = f"the server did not answer within {self._timeout:g} s"
        except OSError as error:
            problem = _explain_start(self._config, error)
        except Exception as error:  # noqa: BLE001 - the SDK raises many kinds; each is a server that can't be used
            problem = f"the server can't be used: {explain(error, {})}"
            if isinstance(transport, HttpTransport) and transport.problem is not None:
                problem = f"the server {transport.problem}"
            elif transport.over:
                problem = f"the server stopped at its start ({await connection.obituary()})"
        raise ToolSourceError(self._name, problem, await connection.last_words())

    def _make_transport(self, config: ServerConfig) -> StdioTransport | HttpTransport:
        if isinstance(config, HttpServer):
            url = expand(config.url, self._environ)
            fault = find_fault_of_http(config, url)
            if fault is not None:
                raise ToolSourceError(self._name, f"its url can't be used: {fault}")
            headers = {name: expand(value, self._environ) for name, value in config.headers.items()}
            secret = [name for name, value in config.headers.items() if carries_secrets(name, value)]
            return HttpTransport(
                url,
                headers,
                config.auth,
                secret_headers=secret,
                sse=config.sse,
                max_message_bytes=config.max_message_bytes,
                allow_private=config.allow_private,
            )
        from mcp.client.stdio import get_default_environment  # keeps start-up light

        args = [expand(arg, self._environ) for arg in config.args]
        env = {key: expand(value, self._environ) for key, value in config.env.items()}
        trusted = {name: self._environ[name] for name in _TRUST if name in self._environ}
        variables = get_default_environment() | trusted | env
        command = (config.command, *args)
        return StdioTransport(command, variables, config.cwd, max_line_bytes=config.max_message_bytes)


def _explain_start(config: ServerConfig, error: OSError) -> str:
    if isinstance(config, HttpServer):
        return f"the server can't be reached: {error.strerror or type(error).__name__}"
    if config.cwd is not None and not os.path.isdir(config.cwd):
        return f"its folder {config.cwd!r} does not exist"
    if isinstance(error, FileNotFoundError):
        return f"the command {config.command!r} was not found; install it, or correct the server's command"
    return f"the command {config.command!r} can't be started: {error.strerror or error}"
