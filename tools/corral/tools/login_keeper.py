"""One login, held in memory and in a store: renewed once, however many wait for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from corral.tools.clock import ServerClock
from corral.tools.login import Login
from corral.tools.token_store import TokenStore

if TYPE_CHECKING:
    from corral.tools.dpop import Proofs

__all__ = ["LoginKeeper", "Renew"]

Renew = Callable[[Login], Awaitable[Login]]
_LOCK_TIME: Final = 30.0
_SEEN: Final = 64


class LoginKeeper:
    """Holds what is known of one login.

    Args:
        name: What it is called in the store.
        store: Keeps it over the end of the process, and shares it with others; None forgets.
    """

    def __init__(self, name: str, store: TokenStore | None) -> None:
        self.name = name
        self.held = Login()
        self.clock = ServerClock()
        """The authorization server's, for what is signed."""
        self._proofs: Proofs | None = None
        self._seen: deque[str] = deque(maxlen=_SEEN)
        self._store = store
        self._has_looked = store is None
        self._pending: dict[str, asyncio.Task[Login]] = {}

    def secrets(self) -> tuple[str, ...]:
        """What must not be seen: of the login, and of those before it, which answers on their way may still name."""
        for secret in self.held.secrets():
            if secret not in self._seen:
                self._seen.append(secret)
        return tuple(self._seen)

    async def look(self) -> Login:
        """What is held; at first, what the store keeps."""
        if not self._has_looked:
            await self.load()
        return self.held

    async def load(self) -> Login:
        """What the store keeps by now, or what is held if it keeps nothing."""
        store = self._store
        if store is not None:
            kept = await anyio.to_thread.run_sync(store.load, self.name)
            self.secrets()
            self.held = self.held if kept is None else kept
            self._has_looked = True
        return self.held

    def load_now(self) -> Login:
        """As `load`, for callers that can't wait otherwise."""
        kept = None if self._store is None else self._store.load(self.name)
        self.held = self.held if kept is None else kept
        return self.held

    async def keep(self, login: Login) -> Login:
        self.secrets()
        self.held = login
        if (store := self._store) is not None:
            await anyio.to_thread.run_sync(store.save, self.name, login)
        return login

    async def forget(self) -> None:
        self.secrets()
        self.held = Login()
        if (store := self._store) is not None:
            await anyio.to_thread.run_sync(store.delete, self.name)

    async def take(self) -> Login:
        """Forget the login, here and in the store, and give what it was."""
        async with self.locked():
            login = await self.load()
            await self.forget()
        return login

    @property
    def proofs(self) -> Proofs | None:
        """Of the key that the held token is bound to (RFC 9449); None for a token that is bound to none."""
        token = self.held.token
        return self.proofs_of(self.held) if token is not None and token.kind == "DPoP" else None

    def proofs_of(self, login: Login) -> Proofs | None:
        """Of the key of a login, if it has one; the same ones as long as the key is, as they know servers' nonces."""
        if login.key is not None and (self._proofs is None or self._proofs.key != login.key):
            from corral.tools.dpop import Proofs  # heavy

            self._proofs = Proofs(login.key, self.clock)
        return None if login.key is None else self._proofs

    @property
    def is_renewing(self) -> bool:
        return self._under_way("") is not None

    async def renew(self, refused: str | None, renew: Renew, *, purpose: str = "", timeout: float = _LOCK_TIME) -> str:
        """The access token of a new login: join the renewal under way or begin one.

        A caller who is cancelled leaves it to the others.

        A refresh token may be used up by a request whose answer nobody takes.

        Args:
            refused: The access token that was not taken.
            renew: Makes a new login of the one that is kept; called by one process at a time.
            purpose: What others don't wait for: a person who is asked may take long.
            timeout: Seconds to wait for another process.
        """
        pending = self._under_way(purpose)
        if pending is None:
            work = self._renew(refused, renew, purpose, timeout)
            pending = self._pending[purpose] = asyncio.create_task(work, name="corral token")
            pending.add_done_callback(_look_at)
        login = await asyncio.shield(pending)
        assert login.token is not None
        return login.token.access

    def _under_way(self, purpose: str) -> asyncio.Task[Login] | None:
        # A task of a loop that was closed in between will never end.
        pending = self._pending.get(purpose)
        if pending is None or pending.done() or pending.get_loop() is not asyncio.get_running_loop():
            return None
        return pending

    async def _renew(self, refused: str | None, renew: Renew, purpose: str, timeout: float) -> Login:
        async with self.locked(purpose, timeout):
            login = await self.load()
            token = login.token
            if token is not None and token.access != refused and token.is_fresh:
                return login  # another process was faster
            return await self.keep(await renew(login))

    @asynccontextmanager
    async def locked(self, purpose: str = "", timeout: float = _LOCK_TIME) -> AsyncGenerator[None]:
        """Held by one process at a time, for each purpose."""
        async with nullcontext() if self._store is None else self._store.lock(self.name + purpose, timeout):
            yield


def _look_at(task: asyncio.Task[Login]) -> None:
    """Take the exception, so that asyncio does not report it again when all who waited were cancelled."""
    if not task.cancelled():
        task.exception()
