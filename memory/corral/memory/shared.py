"""Facts in a server of mem0's own kinds, qdrant or pgvector, which other machines share."""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from corral.memory.errors import LongTermUnavailable
from corral.memory.mem0_import import importing_mem0, owner_of
from corral.policy import Integrity, Label

if TYPE_CHECKING:
    from corral.memory.row import Row
    from corral.memory.scope import Scope
    from corral.memory.search import Search

__all__ = ["Shared", "SharedStore"]

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ALL: Final = 1_000_000
_NAMES: Final = uuid.UUID("6f4f9f0e-4a63-4f0b-9a5e-0f3a1f0f6a51")


@dataclass(frozen=True, slots=True)
class SharedStore:
    """Which of mem0's stores holds the facts too.

    Attributes:
        provider: "pgvector" takes the extra `corral[pgvector]`.
        config: As mem0 has it, such as `{"connection_string": "postgresql://..."}` or `{"url": ..., "api_key": ...}`;
            texts may name variables of the environment, `${VAR}`, looked up when the store is opened. The collection is
            named after `collection` and the embedder, so that dimensions never mix.
    """

    provider: Literal["qdrant", "pgvector"]
    config: Mapping[str, Any] = field(repr=False)
    collection: str = "corral_facts"


class Shared:
    """The facts in force that are in the server: each that is learned here, and those that others learned.

    The file beside it stays what holds a fact's history, and everything that was superseded.
    """

    def __init__(self, store: SharedStore, search: Search, home: Path) -> None:
        self._store = store
        self._home = home
        self._search = search
        # Clients of embedded stores are not safe to use from several threads.
        self._lock = threading.RLock()
        self._opened: Any = None

    def add(self, uid: str, payload: Mapping[str, Any], vector: Sequence[float]) -> None:
        """Keep a fact there too, or put it in the place of the one with this id."""
        with self._using() as store:
            store.delete(_place(uid))
            store.insert([list(vector)], [{**payload, "uid": uid}], [_place(uid)])

    def drop(self, uids: Iterable[str]) -> None:
        """Erase facts there; those that it doesn't have are no error."""
        with self._using() as store:
            for uid in uids:
                store.delete(_place(uid))

    def find(self, query: str, scope: Scope, k: int) -> list[tuple[Row, float]]:
        """The facts of `scope` nearest to `query`, with their cosine, nearest first."""
        vector = self._search.embed([query])[0].tolist()
        with self._using() as store:
            found = store.search(query, vector, top_k=k, filters=owner_of(scope))
            return [(_row(one), float(one.score)) for one in found]

    def all(self, scope: Scope) -> list[Row]:
        """All facts of `scope` that are there."""
        with self._using() as store:
            found = store.list(filters=owner_of(scope), top_k=_ALL)
            return [_row(one) for one in found[0]]

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            opened, self._opened = self._opened, None
            for client in (getattr(opened, "client", None), getattr(opened, "connection_pool", None)):
                if client is not None:
                    client.close()

    @contextmanager
    def _using(self) -> Generator[Any]:
        with self._lock:
            try:
                if self._opened is None:
                    self._opened = self._open()
                yield self._opened
            except ImportError as error:
                raise LongTermUnavailable(
                    f"{self._store.provider} can't be used: {error}; install corral[{self._store.provider}]"
                ) from error
            except LongTermUnavailable:
                raise
            except Exception as error:
                # Its text may name the server, never the configuration.
                problem = f"{type(error).__name__}: {error}"
                raise LongTermUnavailable(f"the shared store ({self._store.provider}) failed with {problem}") from error

    def _open(self) -> Any:
        with importing_mem0(self._home):  # heavy: only when it is needed
            from mem0.configs.vector_stores.pgvector import PGVectorConfig
            from mem0.configs.vector_stores.qdrant import QdrantConfig
            from mem0.utils.factory import VectorStoreFactory

        name = "".join(c if c.isalnum() else "_" for c in f"{self._store.collection}_{self._search.name}")
        given = {**_expanded(self._store.config), "collection_name": name, "embedding_model_dims": self._search.dim}
        if self._store.provider == "pgvector":
            # With its approximate index a small tenant of a large table finds none of its rows.
            config: Any = PGVectorConfig.model_validate({"hnsw": False, **given})
        else:
            config = QdrantConfig.model_validate({"path": None, **given})
        return cast(Any, VectorStoreFactory).create(self._store.provider, config)


def _expanded(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what the variables in its texts say.

    Raises:
        LongTermUnavailable: One is not set.
    """

    def look_up(found: re.Match[str]) -> str:
        if (value := os.environ.get(found[1])) is None:
            raise LongTermUnavailable(f"the configuration of the shared store names {found[0]}, which is not set")
        return value

    return {name: _VARIABLE.sub(look_up, value) if isinstance(value, str) else value for name, value in config.items()}


def _place(uid: str) -> str:
    """Where a fact is there: these stores take UUIDs only."""
    try:
        return str(uuid.UUID(uid))
    except ValueError:
        return str(uuid.uuid5(_NAMES, uid))


def _row(record: Any) -> Row:
    from corral.memory.mem0_plugin import row_of  # mem0 is behind it

    row = row_of(str(record.payload["uid"]), record.payload, None, "fact")
    # Whoever may write to the server may have written it: it vouches for no more than that.
    return replace(row, label=row.label.join(Label(Integrity.ATTESTED)))
