"""Long-term facts, through mem0 on our own store."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from corral.memory.changes import FactChange
from corral.memory.errors import LongTermUnavailable, MemoryFault, NotRemembered
from corral.memory.labels import pack_label
from corral.memory.mem0_import import importing_mem0, owner_of
from corral.memory.row import Row, unpack_vector
from corral.memory.scope import Scope
from corral.memory.store import Store
from corral.policy import Label

if TYPE_CHECKING:
    from corral.memory.search import Search
    from corral.memory.shared import Shared

__all__ = ["Fact", "Facts"]


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact about to be stored; `cites` are the ids of the episodes that it was drawn from."""

    text: str
    label: Label
    at: float
    actor: str = "user"
    cites: tuple[str, ...] = ()
    expires: float | None = None


class Facts:
    """The facts of all namespaces. mem0 is imported when the first fact is written: it takes more than a second.

    Args:
        home: mem0's own folder (`MEM0_DIR`), inside the data folder.
        shared: A server that has each fact too.
    """

    def __init__(self, store: Store, search: Search, home: Path, shared: Shared | None = None) -> None:
        self._store = store
        self._shared = shared
        self._search = search
        self._home = home
        self._opening = threading.Lock()
        self._opened: Any = None

    def add(self, fact: Fact, scope: Scope) -> str:
        """Store a fact word for word, and return its id."""
        metadata: dict[str, Any] = {
            "label": pack_label(fact.label),
            "cites": list(fact.cites),
            "created_at": datetime.fromtimestamp(fact.at, UTC).isoformat(),
        }
        optional = {"session": scope.session, "run": scope.run, "expires": fact.expires}
        metadata |= {key: value for key, value in optional.items() if value is not None}
        message = {"role": "user", "content": fact.text, "name": fact.actor}
        with _typed():
            added = self._mem0().add([message], **owner_of(scope), metadata=metadata, infer=False)
            return added["results"][0]["id"]

    def edit(self, uid: str, text: str, scope: Scope) -> None:
        """Give a fact other words; the old ones stay in its history."""
        self._require(uid, scope)
        with _typed():
            self._mem0().update(uid, text=text)

    def history(self, uid: str, scope: Scope) -> list[FactChange]:
        """What became of a fact, oldest first."""
        self._require(uid, scope)
        with _typed():
            changes = cast("list[Mapping[str, Any]]", self._mem0().history(uid))
        return [
            FactChange(one["event"], one["old_memory"], one["new_memory"], one["updated_at"] or one["created_at"])
            for one in changes
        ]

    def prepare(self) -> None:
        """Make sure that mem0's own tables are in the store."""
        self._mem0()

    def payload(self, row: Row, scope: Scope) -> dict[str, Any]:
        """What mem0 would have kept of `row`, for facts that come from an export."""
        created = datetime.fromtimestamp(row.at, UTC).isoformat()
        return {
            **owner_of(scope),
            **{"created_at": created, "updated_at": created, "role": "user", "actor_id": row.actor},
            **{"label": pack_label(row.label), "cites": list(row.cites)},
        }

    def share(self, rows: Iterable[Row], scope: Scope) -> None:
        """Let the server have facts that came by another way than `add`; those that are superseded stay here."""
        if self._shared is not None:
            for row in rows:
                if row.kind == "fact" and row.replaced_by is None and row.vector is not None:
                    payload = {**self.payload(row, scope), "data": row.text, "expires": row.expires}
                    self._shared.add(row.uid, payload, unpack_vector(row.vector))

    def close(self) -> None:
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _require(self, uid: str, scope: Scope) -> None:
        if not any(row.kind == "fact" for row in self._store.get(self._store.space(scope), [uid])):
            raise NotRemembered(uid)

    def _mem0(self) -> Any:
        with self._opening:
            if self._opened is None:
                self._opened = _open_mem0(self._store, self._search, self._home, self._shared)
            return self._opened


def _open_mem0(store: Store, search: Search, home: Path, shared: Shared | None) -> Any:
    with importing_mem0(home), _typed():
        # Heavy: more than a second, and it makes its folder; so only when a fact is first needed.
        import mem0.memory.main
        import mem0.memory.telemetry
        import mem0.utils.spacy_models
        from mem0.configs.base import MemoryConfig
        from mem0.embeddings.configs import EmbedderConfig
        from mem0.llms.configs import LlmConfig
        from mem0.vector_stores.configs import VectorStoreConfig

        from corral.memory import mem0_plugin

        # Somebody may have imported mem0 before us, with telemetry on.
        mem0.memory.telemetry.MEM0_TELEMETRY = mem0.memory.main.MEM0_TELEMETRY = False
        # Where spaCy is installed, mem0 would download a model for it; to us, words are the store's business.
        spacy = cast(Any, mem0.utils.spacy_models)
        spacy._load_failed_lemma = spacy._load_failed_full = True
        mem0_plugin.register()
        name = mem0_plugin.PROVIDER
        held = mem0_plugin.HeldStoreConfig("fact", store, search, shared)
        # model_construct, because mem0 validates providers against its own list.
        config = MemoryConfig.model_construct(
            embedder=EmbedderConfig.model_construct(provider=name, config={"model": search}),
            llm=LlmConfig.model_construct(provider=name, config={}),
            vector_store=VectorStoreConfig.model_construct(provider=name, config=held),
            history_db_path=str(store.database.path),
            reranker=None,
            version="v1.1",
            custom_instructions=None,
        )
        opened = cast(Any, mem0.memory.main.Memory(config))
        opened.db.connection.execute("pragma busy_timeout = 30000")
        opened.db.connection.execute("pragma synchronous = normal")
        return opened


@contextmanager
def _typed() -> Generator[None]:
    try:
        yield
    except MemoryFault:
        raise
    except Exception as error:
        raise LongTermUnavailable(f"mem0 failed with {type(error).__name__}: {error}") from error
