"""The memory of an agent: what was said and what is known, found again, and forgotten when told."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from anyio import to_thread

from corral.memory.changes import FactChange
from corral.memory.consolidation import consolidate
from corral.memory.decomposition import decompose
from corral.memory.embedder import Embedder
from corral.memory.episodes import Redact, write_episodes
from corral.memory.erasure import erase
from corral.memory.errors import StoreUnavailable
from corral.memory.facts import Fact
from corral.memory.hashing import HashingEmbedder
from corral.memory.model import Model
from corral.memory.rendering import render
from corral.memory.scope import Layer, Scope
from corral.memory.shared import SharedStore
from corral.memory.tokens import TokenCounter, estimate_tokens
from corral.memory.transfer import export_page, import_lines
from corral.memory.turn import Pending, Receipt, Recollection, Turn
from corral.policy import Action, Admission, Label

if TYPE_CHECKING:
    from corral.memory.opened import Opened

__all__ = ["Memory"]

_MOST_COUNTED = 1_000

T = TypeVar("T")
Verb = Literal["read", "write", "delete"]


class Memory:
    """What an agent remembers, in one folder that any number of threads and processes may share.

    Nothing happens before the first call; that makes the folder. Whoever opened it closes it: `async with`.
    Every effect takes the gate's admission for `Memory.action(...)` with its verb and layer. All methods raise
    `StoreUnavailable`, `StoreCorrupt` or `StoreTooNew` when the store can't be used.

    Args:
        path: The data folder; all that is ever written is in it.
        embedder: By default `HashingEmbedder`.
        redact: Applied to every text before it is stored, such as `corral.policy.Redactor().redact`.
        count_tokens: For budgets; the model's own tokenizer is better than the estimate.
        clock: Seconds since the epoch.
        model: Asked once in each recall, to break a question that needs several memories into searches.
        shared: A server in which facts are kept too, and looked for; what is said stays in the folder.
    """

    def __init__(
        self,
        path: Path,
        *,
        embedder: Embedder | None = None,
        redact: Redact | None = None,
        count_tokens: TokenCounter = estimate_tokens,
        clock: Callable[[], float] = time.time,
        model: Model | None = None,
        shared: SharedStore | None = None,
    ) -> None:
        self.path = path
        self._embedder = embedder or HashingEmbedder()
        self._redact = redact
        self._count = count_tokens
        self._clock = clock
        self._model = model
        self.shared = shared
        self._opening = Lock()
        self._opened: Opened | None = None
        self._closed = False

    render = staticmethod(render)

    @staticmethod
    def action(
        verb: Verb,
        scope: Scope,
        *,
        layer: Layer = "episodic",
        arguments: Mapping[str, Any] | None = None,
        labels: Mapping[str, Label] | None = None,
    ) -> Action:
        """The action to be judged before an effect on one layer of the memory of `scope`."""
        return Action(
            scope.resource(layer), verb, f"agent:{scope.agent}", f"user:{scope.user}", arguments or {}, labels or {}
        )

    async def recall(
        self,
        query: str,
        scope: Scope,
        *,
        k: int = 8,
        budget_tokens: int = 1500,
        untrusted: bool = False,
        model: Model | None = None,
        admission: Admission,
    ) -> list[Recollection]:
        """Up to `k` memories that answer `query`, best first, then turns beside them while the budget lasts.

        Args:
            model: In the place of the memory's own; without its help recall goes on alone.
            untrusted: Also find what came from tools and the web; it is quarantined, and only data.
            admission: To read "episodic", which admits facts too, or "long" for facts alone.
        """
        facts_only = _claim(admission, scope, "read")
        asked = model or self._model
        queries = [query] if asked is None else await decompose(query, asked)
        return await self._run(
            lambda opened: opened.recall(
                queries,
                scope,
                k=k,
                budget=budget_tokens,
                count=self._count,
                now=self._clock(),
                untrusted=untrusted,
                facts_only=facts_only,
            )
        )

    async def get(self, id: str, scope: Scope, *, admission: Admission) -> Recollection:
        """One memory by its id, quarantined, superseded or expired though it be.

        Args:
            admission: To read "episodic", which admits facts too, or "long" for facts alone.

        Raises:
            NotRemembered: The namespace has none of that id.
        """
        facts_only = _claim(admission, scope, "read")
        return await self._run(lambda opened: opened.get(id, scope, facts_only=facts_only))

    async def remember(
        self, turns: Sequence[Turn], scope: Scope, *, expires: float | None = None, admission: Admission
    ) -> Receipt:
        """Store turns, all or none, at once and without a model; once this returns, they survive a crash.

        Empty turns and text that was itself recalled are skipped.

        Args:
            expires: After this moment, seconds since the epoch, they are no longer found.
            admission: To write "episodic".
        """
        admission.claim(scope.resource("episodic"), "write")
        return await self._run(
            lambda opened: write_episodes(
                opened.store, opened.search, turns, scope, now=self._clock(), expires=expires, redact=self._redact
            )
        )

    async def learn(
        self,
        text: str,
        scope: Scope,
        *,
        label: Label,
        cites: Sequence[str] = (),
        replaces: str | None = None,
        expires: float | None = None,
        admission: Admission,
    ) -> Receipt:
        """Store a fact for good; one that is known already is not stored twice.

        Args:
            cites: The episodes that it was drawn from; it is forgotten with the last of them.
            replaces: The fact that it supersedes; the old one stays, hidden.
            admission: To write "long".

        Raises:
            Quarantined: The label is untrusted.
            NotRemembered: There is no fact `replaces`.
            LongTermUnavailable: mem0 failed.
        """
        admission.claim(scope.resource("long"), "write")
        fact = Fact(text, label, self._clock(), cites=tuple(cites), expires=expires)
        return await self._run(lambda opened: opened.learn(fact, scope, replaces=replaces, redact=self._redact))

    async def edit(self, id: str, text: str, scope: Scope, *, admission: Admission) -> None:
        """Give a fact other words; its history keeps the old ones.

        Args:
            admission: To write "long".

        Raises:
            NotRemembered: There is no such fact.
        """
        admission.claim(scope.resource("long"), "write")
        await self._run(lambda opened: opened.edit(id, text, scope, redact=self._redact))

    async def history(self, id: str, scope: Scope, *, admission: Admission) -> list[FactChange]:
        """What became of a fact, oldest first.

        Args:
            admission: To read "long".

        Raises:
            NotRemembered: There is no such fact.
        """
        admission.claim(scope.resource("long"), "read")
        return await self._run(lambda opened: opened.facts.history(id, scope))

    async def consolidate(
        self, model: Model, scope: Scope, *, most: int | None = None, admission: Admission
    ) -> Receipt:
        """Let a model find the facts in what was said since the last time; one that cites no turn is refused.

        Not for the path of a reply: one model call for 40 turns. Quarantined turns take no part. It may be cancelled
        or killed at any moment: the next call goes on after the last whole batch.

        Args:
            most: Times that the model is asked; None goes on to the newest turn.
            admission: To write "long".

        Raises:
            ConsolidationFailed: The model was of no help; the next call begins where this one failed.
            ConsolidationBusy: Another process consolidates this memory now; nothing was done.
        """
        admission.claim(scope.resource("long"), "write")
        return await consolidate(self._run, model, scope, self._clock(), self._redact, most)

    async def pending(self, scope: Scope, *, most: int = _MOST_COUNTED) -> Pending:
        """How much was said since the last consolidation: a count and never text, quick also in a large store.

        Args:
            most: Turns that are looked at, the oldest first.
        """
        return await self._run(lambda opened: opened.store.pending(opened.store.space(scope), most))

    async def forget(
        self,
        subject: str | None,
        scope: Scope,
        *,
        ids: Sequence[str] = (),
        session: str | None = None,
        expired: bool = False,
        everything: bool = False,
        admission: Admission,
    ) -> Receipt:
        """Erase every copy of what contains `subject`, has one of `ids`, was said in `session` or has expired.

        Facts that cite nothing else go with what they cite. The file is rewritten, so that the bytes are gone from it:
        some seconds for a large one.

        Args:
            subject: A piece of text, letter case aside.
            admission: To delete "episodic", which takes facts too, or "long" for facts alone.
        """
        if not (subject or ids or session or expired or everything):
            raise ValueError("say what to forget: a subject, ids, a session, expired=True or everything=True")
        facts_only = _claim(admission, scope, "delete")
        return await self._run(
            lambda opened: erase(
                opened.store,
                scope,
                subject=subject,
                ids=ids,
                session=session,
                expired_at=self._clock() if expired else None,
                everything=everything,
                facts_only=facts_only,
                shared=opened.shared,
            )
        )

    async def export(self, scope: Scope, *, admission: Admission) -> AsyncIterator[dict[str, Any]]:
        """Every memory of the namespace, oldest first, as JSON values: one line of JSONL each.

        Args:
            admission: To read "episodic".
        """
        admission.claim(scope.resource("episodic"), "read")
        after = 0
        while True:
            lines, after = await self._run(partial(_page, scope, after))
            if not lines:
                return
            for line in lines:
                yield line

    async def import_(
        self,
        lines: Iterable[str | Mapping[str, Any]],
        scope: Scope,
        *,
        label: Label | None = None,
        admission: Admission,
    ) -> Receipt:
        """Add what `export` wrote; lines that are ill-formed, or there already, are skipped and counted.

        Args:
            label: Joined to every line's own, for a file that is not quite trusted.
            admission: To write "episodic".
        """
        admission.claim(scope.resource("episodic"), "write")
        return await self._run(
            lambda opened: import_lines(
                opened.store, opened.search, opened.facts, lines, scope, label=label, redact=self._redact
            )
        )

    async def stats(self, scope: Scope | None = None) -> dict[str, Any]:
        """How much is remembered, in one namespace or in all: counts and the embedder, never text."""
        return await self._run(lambda opened: opened.stats(scope))

    async def backup(self, target: Path) -> None:
        """Copy the whole store into a new file while others go on using it."""
        await self._run(lambda opened: opened.database.backup(target))

    async def close(self) -> None:
        """Close the files. Calls after this fail; calls that run are waited for."""
        self._closed = True
        if self._opened is not None:
            await to_thread.run_sync(self._opened.close)
            self._opened = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, work: Callable[[Opened], T]) -> T:
        # Not abandoned on cancellation: whether a write happened is never unknown.
        return await to_thread.run_sync(lambda: work(self._open()))

    def _open(self) -> Opened:
        with self._opening:
            if self._closed:
                raise StoreUnavailable(self.path, "this memory was closed")
            if self._opened is None:
                from corral.memory.opened import Opened  # numpy is behind it: kept out of start-up

                self._opened = Opened(self.path, self._embedder, self.shared)
            return self._opened


def _page(scope: Scope, after: int, opened: Opened) -> tuple[list[dict[str, Any]], int]:
    return export_page(opened.store, scope, after)


def _claim(admission: Admission, scope: Scope, verb: Verb) -> bool:
    """Claim for the layer that the admission names; whether that is long-term facts alone."""
    facts_only = admission.action.resource == scope.resource("long")
    admission.claim(scope.resource("long" if facts_only else "episodic"), verb)
    return facts_only
