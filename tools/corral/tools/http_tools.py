"""Declared HTTP endpoints as tools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from corral.policy import Admission, Label
from corral.tools.address import carries_secrets, find_fault, is_private_way
from corral.tools.api import Api, HttpClient
from corral.tools.arguments import broken
from corral.tools.credentials import Credential
from corral.tools.egress import guarded
from corral.tools.endpoint import HttpEndpoint
from corral.tools.errors import BadArguments, ToolConfigError, ToolSourceError
from corral.tools.log_filter import logs_without
from corral.tools.names import check_source_name, spell
from corral.tools.oauth import TokenSource
from corral.tools.observation import Json, Observation
from corral.tools.pagination import next_page
from corral.tools.route import Route
from corral.tools.servers import PerUser
from corral.tools.tool import Effect, Tool
from corral.tools.variables import expand

__all__ = ["HttpTools"]

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_CONNECT_TIME: Final = 10.0
_TRIES: Final = 3


class HttpTools:
    """Endpoints of one HTTP API as a source of tools.

    Requests go to the base URL's host only; redirects elsewhere are not followed, and no cookie is kept. A call that
    may be repeated is sent again, with growing waits, after a failure to connect, 429, 502, 503 and 504; a
    `Retry-After` of up to 10 s is kept.
    All of it is one call, within the tool's timeout.

    Args:
        name: The first part of its tools' names and resources.
        base_url: What each endpoint's path is added to; may name variables.
        auth: Gives the access token of each request, or that of each user; https is then demanded, except to this
            machine.
        headers: Sent with every request; their values may name variables, `${VAR}`.
        client: Sends the requests instead of one of our own, and is not closed.
        max_bytes: Of one answer; a longer one is cut.
        environ: Where variables are looked up when it is opened; this process's environment when None.
        allow_private: The host's name may lead into this machine or network; an address that is written down may
            anyway. A client that was given decides for itself.
        credentials: By the names that endpoints give as their `schemes`.

    Raises:
        ToolConfigError: The name, the URL or an endpoint can't be used.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *endpoints: HttpEndpoint,
        auth: TokenSource | PerUser | None = None,
        headers: Mapping[str, str] | None = None,
        client: HttpClient | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
        tries: int = _TRIES,
        environ: Mapping[str, str] | None = None,
        allow_private: bool = False,
        credentials: Mapping[str, Credential] | None = None,
    ) -> None:
        check_source_name("API", name)
        self.name = name
        self._base_url = base_url
        self._auth = auth
        self._headers = dict(headers or {})
        self._client = client
        self._max_bytes = max_bytes
        self._tries = max(1, tries)
        self._environ = environ
        self._allow_private = allow_private
        self._credentials = dict(credentials or {})
        self._expanded: dict[str, Credential] = {}
        self._api: Api | None = None
        self._own: Any = None
        self._logs = ExitStack()
        if "${" not in base_url and (fault := self._find_fault(base_url)) is not None:
            raise ToolConfigError(f"API {name!r}", fault)
        self._tools: dict[str, Tool] = {}
        self.left_out: dict[str, str] = {}
        """One sentence for each operation of a document that can't be a tool, by its name."""
        for endpoint in endpoints:
            self.add(endpoint)

    async def __aenter__(self) -> Self:
        if self._api is not None:
            raise RuntimeError(f"the API {self.name!r} is open already")
        try:
            environ = os.environ if self._environ is None else self._environ
            base_url = expand(self._base_url, environ)
            headers = {name: expand(value, environ) for name, value in self._headers.items()}
            self._expanded = {name: each.expanded(environ) for name, each in self._credentials.items()}
        except LookupError as error:
            raise ToolSourceError(self.name, f"its configuration needs {error.args[0]}, which is not set") from None
        fault = self._find_fault(base_url)
        if fault is not None:
            raise ToolSourceError(self.name, fault)
        secret = [headers[name] for name, value in self._headers.items() if carries_secrets(name, value)]
        self._api = Api(
            self._client or self._make_client(base_url),
            base_url,
            headers,
            self._auth,
            secret_values=(
                *(value.removeprefix("Bearer ") for value in secret),
                *(secret for each in self._expanded.values() for secret in each.secrets()),
            ),
            max_bytes=self._max_bytes,
            tries=self._tries,
        )
        self._logs.enter_context(logs_without(self._api.secrets))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        own, self._own, self._api = self._own, None, None
        self._logs.close()
        if own is not None:
            await own.aclose()

    def add(self, endpoint: HttpEndpoint) -> None:
        """One endpoint more, before it is opened.

        Raises:
            ToolConfigError: It can't be used, or another one has its name.
        """
        if endpoint.name in self._tools:
            raise ToolConfigError(f"endpoint {endpoint.name!r}", "two endpoints have this name")
        self._tools[endpoint.name] = self._make_tool(endpoint)

    def knows(self, name: str) -> bool:
        """Whether an endpoint is called so, or was left out."""
        return name in self._tools or name in self.left_out

    async def tools(self) -> list[Tool]:
        return list(self._tools.values())

    async def call(self, name: str, arguments: dict[str, Any], admission: Admission) -> Observation:
        return await self._tools[name].call(arguments, admission)

    def _make_client(self, base_url: str) -> HttpClient:
        from http.cookiejar import CookieJar, DefaultCookiePolicy  # neither is quick to import

        import httpx

        transport = guarded(httpx, base_url, allow_private=self._allow_private)
        timeout = httpx.Timeout(None, connect=_CONNECT_TIME)
        # A server's cookie may be a session, and the next call another user's.
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        self._own = httpx.AsyncClient(timeout=timeout, transport=transport, cookies=jar)
        return self._own

    def _find_fault(self, base_url: str) -> str | None:
        fault = find_fault(base_url)
        if fault is not None:
            return f"its base URL can't be used: {fault}"
        if "?" in base_url or "#" in base_url:
            return "its base URL has a query or fragment, to which no path can be added"
        secret = (
            self._auth is not None
            or bool(self._credentials)
            or any(carries_secrets(name, value) for name, value in self._headers.items())
        )
        if secret and not is_private_way(base_url):
            return "tokens and secret headers are sent over https only, except to this machine"
        return None

    def _make_tool(self, endpoint: HttpEndpoint) -> Tool:
        route, effect, schema = endpoint.route(), endpoint.effect_of_call(), endpoint.input_schema()
        fault = None if getattr(endpoint, "is_judged", False) else broken(schema)
        if fault is not None:
            raise ToolConfigError(f"endpoint {endpoint.name!r}", f"its parameters' schema is broken: {fault}")
        resource = f"tool:{self.name}/{endpoint.name}"
        label = Label.untrusted(resource)
        return Tool(
            spell(self.name, endpoint.name),
            resource,
            partial(self._run, endpoint, route, effect, label, schema),
            description=endpoint.description,
            input_schema=schema,
            output_schema=endpoint.output_schema,
            effect=effect,
            read_only=effect is Effect.READ if endpoint.read_only is None else endpoint.read_only,
            timeout=endpoint.timeout,
            label=label,
        )

    async def _run(
        self,
        endpoint: HttpEndpoint,
        route: Route,
        effect: Effect,
        label: Label,
        schema: dict[str, Any],
        arguments: dict[str, Any],
    ) -> Observation:
        if self._api is None:
            return Observation(f"the API {self.name!r} is closed; nothing was sent to it", is_error=True, label=label)
        try:
            message = route.fill(arguments)
        except ValueError as error:
            raise BadArguments(endpoint.name, (str(error),)) from None
        schemes: tuple[str, ...] | None = getattr(endpoint, "schemes", None)
        for name in schemes or ():
            if name in self._expanded:
                message = self._expanded[name].added_to(message)

        def remark(answer: Json | None, link: str | None) -> str | None:
            changed = next_page(route, schema, arguments, answer, link)
            return None if changed is None else f"[there is more: call it again, changing {changed}]"

        signed = schemes is None or any(name not in self._expanded for name in schemes)
        return await self._api.call(message, effect, label, signed=signed, remark=remark)
