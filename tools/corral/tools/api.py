"""One HTTP API as it is called: its host only, its credentials, its caps, and what may be repeated."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import anyio

from corral.policy import Label
from corral.tools.address import origin, show_url
from corral.tools.breaker import Breaker
from corral.tools.egress import REFUSED
from corral.tools.errors import TokenError
from corral.tools.observation import Json, Observation
from corral.tools.reply import Reply, read_retry_after
from corral.tools.route import Message
from corral.tools.secrets import hide_secrets
from corral.tools.sources_per_user import Sources
from corral.tools.tool import Effect

if TYPE_CHECKING:
    import httpx
    import httpx2
    from tenacity import RetryCallState

    from corral.tools.oauth import TokenSource
    from corral.tools.servers import PerUser

__all__ = ["Api", "HttpClient"]

HttpClient: TypeAlias = "httpx.AsyncClient | httpx2.AsyncClient"

Remark: TypeAlias = "Callable[[Json | None, str | None], str | None]"

_DOWN: Final = frozenset((502, 503, 504))
_AGAIN: Final = _DOWN | {429}
_MAX_REDIRECTS: Final = 5
_MAX_RETRY_AFTER: Final = 10.0
_FIRST_WAIT: Final = 0.3
_MAX_WAIT: Final = 5.0


class _Unfinished(Exception):
    """A try that another may better; has what to tell if none does."""

    def __init__(self, observation: Observation, retry_after: float | None = None) -> None:
        super().__init__(observation, retry_after)
        self.observation = observation
        self.retry_after = retry_after


class Api:
    """Sends messages to one server and gives observations, never an exception of HTTP.

    Args:
        secret_values: Of headers, which must not be seen in results.
        max_bytes: Of one answer, as it is after decompression; the rest is not read.
        tries: How often a call is sent at most, if its effect lets it be repeated.
    """

    def __init__(
        self,
        client: HttpClient,
        base_url: str,
        headers: dict[str, str],
        auth: TokenSource | PerUser | None,
        *,
        secret_values: tuple[str, ...],
        max_bytes: int,
        tries: int,
    ) -> None:
        self._client: Any = client  # the two libraries' clients are alike, their types are not
        self._base_url = base_url.rstrip("/")
        self._headers = headers
        self._sources = Sources(auth)
        self._secret_values = secret_values
        self._max_bytes = max_bytes
        self._tries = tries
        self._breaker = Breaker(threshold=2 * tries)

    def secrets(self) -> tuple[str, ...]:
        """What must not be seen of its credentials, whoever's they are."""
        return (*self._secret_values, *self._sources.secrets())

    async def call(
        self, message: Message, effect: Effect, label: Label, *, signed: bool = True, remark: Remark | None = None
    ) -> Observation:
        """The answer to `message`, sent again after a failure that may pass, if `effect` allows.

        Args:
            signed: With a token of the source, if there is one.
            remark: Adds to the text of a good answer, of which it is given the JSON and the Link header.
        """
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt  # keeps start-up light

        source = self._sources.of_call() if signed else None
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._tries if effect.repeatable else 1),
            wait=_wait,
            retry=retry_if_exception_type(_Unfinished),
            sleep=anyio.sleep,
            reraise=True,
        )
        try:
            observation: Observation = await cast("Any", retrying)(self._try, message, effect, label, source, remark)
        except _Unfinished as unfinished:
            observation = unfinished.observation
        held = () if source is None else source.secrets()
        return hide_secrets(observation, (*held, *self._secret_values))

    async def _try(
        self, message: Message, effect: Effect, label: Label, source: TokenSource | None, remark: Remark | None
    ) -> Observation:
        import httpx  # keeps start-up light
        import httpx2

        left = self._breaker.time_left
        if left > 0:
            text = f"{show_url(self._base_url)} failed several times in a row and is left alone for {left:.0f} s more"
            return Observation(f"{text}; nothing was sent", is_error=True, label=label)
        try:
            async with self._send(message, source) as response:
                if response.status_code in _DOWN:
                    self._breaker.failed()
                else:
                    self._breaker.worked()
                return await self._read(response, label, remark)
        except (httpx.ConnectError, httpx2.ConnectError, httpx.ConnectTimeout, httpx2.ConnectTimeout) as error:
            if str(error).startswith(REFUSED):
                return Observation(f"{str(error).removeprefix(REFUSED)}; nothing was sent", is_error=True, label=label)
            self._breaker.failed()
            text = f"{show_url(self._base_url)} can't be reached; nothing was sent"
            raise _Unfinished(Observation(text, is_error=True, label=label)) from None
        except (httpx.HTTPError, httpx2.HTTPError) as error:
            self._breaker.failed()
            outcome = "" if effect.repeatable else "; whether the call took effect is unknown"
            text = f"the exchange with {show_url(self._base_url)} broke off ({type(error).__name__}){outcome}"
            raise _Unfinished(Observation(text, is_error=True, label=label)) from None
        except anyio.get_cancelled_exc_class():
            if anyio.current_time() >= anyio.current_effective_deadline():
                self._breaker.failed()  # it had the call's whole time
            raise
        except TokenError as error:
            return Observation(str(error), is_error=True, label=label)

    @asynccontextmanager
    async def _send(self, message: Message, source: TokenSource | None) -> AsyncGenerator[Any]:
        from corral.tools.oauth import bearer

        options: dict[str, Any] = {} if source is None else {"auth": bearer(source)}
        url = self._base_url + message.target
        # An argument may not replace what was configured, nor stand beside it.
        configured = {name.lower() for name in self._headers}
        headers = {name: value for name, value in message.headers.items() if name.lower() not in configured}
        headers |= self._headers
        request = self._client.build_request(message.method, url, headers=headers, content=message.content)
        response: Any = None
        for _ in range(_MAX_REDIRECTS):
            response = await self._client.send(request, stream=True, follow_redirects=False, **options)
            following = response.next_request
            if following is None or not self._may_follow(request, following):
                break
            await response.aclose()
            request = following
        try:
            yield response
        finally:
            await response.aclose()

    def _may_follow(self, request: Any, following: Any) -> bool:
        same = origin(str(following.url)) == origin(self._base_url)
        return same and following.method == request.method and not following.url.userinfo

    async def _read(self, response: Any, label: Label, remark: Remark | None) -> Observation:
        if response.next_request is not None:
            there = show_url(str(response.next_request.url))
            return Observation(f"it redirects to {there}, which is not followed", is_error=True, label=label)
        parts: list[bytes] = []
        left = self._max_bytes
        async for chunk in response.aiter_bytes():
            parts.append(chunk[:left])
            left -= len(chunk)
            if left < 0:
                break
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        charset = response.charset_encoding or "utf-8"
        reply = Reply(response.status_code, response.reason_phrase, kind, charset, b"".join(parts), left < 0)
        observation = reply.observe(label)
        if remark is not None and not observation.is_error:
            said = remark(observation.structured, response.headers.get("link"))
            observation = replace(observation, text=f"{observation.text}\n{said}") if said else observation
        if response.status_code in _AGAIN:
            wanted = read_retry_after(response.headers.get("retry-after"), time.time())
            if wanted is None or wanted <= _MAX_RETRY_AFTER:
                raise _Unfinished(observation, wanted)
        return observation


def _wait(state: RetryCallState) -> float:
    from tenacity import wait_random_exponential  # keeps start-up light

    error = None if state.outcome is None else state.outcome.exception()
    if isinstance(error, _Unfinished) and error.retry_after is not None:
        return error.retry_after
    return wait_random_exponential(multiplier=_FIRST_WAIT, max=_MAX_WAIT)(state)
