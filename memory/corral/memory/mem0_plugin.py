"""What mem0 is given to work with: our store as its vector store, our embedder, and no model.

Importing this module imports mem0, so only `facts` does, after it has set mem0's environment.
"""

# mem0's base classes declare no return types, which reads as None; its factories are typed in part.
# pyright: reportIncompatibleMethodOverride=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final, cast
from urllib.parse import unquote

from mem0.embeddings.base import EmbeddingBase
from mem0.llms.base import LLMBase
from mem0.utils.factory import EmbedderFactory, LlmFactory, VectorStoreFactory
from mem0.vector_stores.base import VectorStoreBase

from corral.memory.errors import LongTermUnavailable
from corral.memory.labels import pack_label, unpack_label
from corral.memory.row import Row
from corral.memory.scope import Scope
from corral.memory.search import Search, pack_vector
from corral.memory.shared import Shared
from corral.memory.store import Store
from corral.policy import Label

__all__ = ["HeldEmbedding", "HeldStore", "HeldStoreConfig", "NoModel", "register", "row_of"]

PROVIDER: Final = "corral"
_UNTRUSTED: Final = pack_label(Label())


def register() -> None:
    """Make our classes known to mem0's factories; doing it again changes nothing."""
    EmbedderFactory.provider_to_class[PROVIDER] = f"{__name__}.{HeldEmbedding.__name__}"
    VectorStoreFactory.provider_to_class[PROVIDER] = f"{__name__}.{HeldStore.__name__}"
    LlmFactory.register_provider(PROVIDER, f"{__name__}.{NoModel.__name__}")


class HeldEmbedding(EmbeddingBase):
    """Our embedder, handed through mem0's `model` setting as an object."""

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        search = cast(Search, cast(object, self.config.model))
        return search.embed([text])[0].tolist()


class NoModel(LLMBase):
    """Refuses: nothing that we ask of mem0 needs a model."""

    def generate_response(self, messages: Any, tools: Any = None, tool_choice: Any = "auto", **_: Any) -> str:
        raise LongTermUnavailable("mem0 asked for a model, and only calls with infer=False are made")


@dataclass
class HeldStoreConfig:
    """What mem0 hands from its configuration to our store; it copies it for its collection of entities."""

    collection_name: str
    store: Store
    search: Search
    shared: Shared | None

    def model_dump(self) -> dict[str, Any]:
        given = {"store": self.store, "search": self.search, "shared": self.shared}
        return {"collection_name": self.collection_name, **given}

    def __deepcopy__(self, memo: object) -> HeldStoreConfig:
        return HeldStoreConfig(self.collection_name, self.store, self.search, self.shared)


class HeldStore(VectorStoreBase):
    """mem0's vector store over ours: its collection is our `kind`, its user and agent are our scope."""

    def __init__(self, collection_name: str, store: Store, search: Search, shared: Shared | None) -> None:
        self.collection_name = collection_name
        self._store = store
        self._search = search
        self._shared = shared if collection_name == "fact" else None

    def insert(
        self,
        vectors: Sequence[Sequence[float]],
        payloads: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> None:
        for vector, payload, uid in zip(vectors, payloads or (), ids or (), strict=True):
            space = self._store.space(_scope(payload))
            # First: what can't be shared is not learned.
            if self._shared is not None:
                self._shared.add(uid, payload, vector)
            self._store.add(space, [row_of(uid, payload, vector, self.collection_name)], self._search.number)

    def update(self, vector_id: str, vector: Sequence[float] | None = None, payload: Any = None) -> None:
        if payload is not None:
            if self._shared is not None and vector is not None:
                self._shared.add(vector_id, payload, vector)
            row = row_of(vector_id, payload, vector, self.collection_name)
            self._store.replace(self._store.space(_scope(payload)), row, self._search.number)

    def search(
        self, query: str, vectors: Sequence[float], top_k: int = 5, filters: Mapping[str, Any] | None = None
    ) -> list[SimpleNamespace]:
        if self.collection_name != "fact":
            return []
        space = self._store.space(_scope(filters or {}))
        now = datetime.now(UTC).timestamp()
        found = self._search.find(space, query, top_k, now=now, untrusted=False, facts_only=True)
        rows = self._store.at([place for place, _ in found])
        return [_record(rows[place], one.score) for place, one in found if place in rows]

    def keyword_search(self, query: str, top_k: int = 5, filters: Mapping[str, Any] | None = None) -> None:
        """None: words are part of `search` already."""

    def get(self, vector_id: str) -> SimpleNamespace | None:
        row = self._store.anywhere(vector_id, self.collection_name)
        return None if row is None else _record(row[1])

    def delete(self, vector_id: str) -> None:
        row = self._store.anywhere(vector_id, self.collection_name)
        if row is not None:
            if self._shared is not None:
                self._shared.drop([vector_id])
            self._store.delete(row[0], [vector_id])

    def list(self, filters: Mapping[str, Any] | None = None, top_k: int | None = None) -> list[list[SimpleNamespace]]:
        space = self._store.space(_scope(filters or {}))
        return [[_record(row) for row in self._store.page(space, 0, top_k or -1, (self.collection_name,))]]

    def create_col(self, name: str, vector_size: int, distance: str) -> None:
        """Nothing to do: collections are kinds of rows."""

    def list_cols(self) -> list[str]:
        return [self.collection_name]

    def col_info(self) -> dict[str, str]:
        return {"name": self.collection_name}

    def delete_col(self) -> None:
        raise LongTermUnavailable("a whole collection is never deleted: it holds every user's facts")

    def reset(self) -> None:
        self.delete_col()


def row_of(uid: str, payload: Mapping[str, Any], vector: Sequence[float] | None, kind: str) -> Row:
    """A row as mem0 keeps it in a store: its `payload` is what `Facts.add` gave it, and mem0's own."""
    extra = {key: value for key, value in payload.items() if key not in ("data", "text_lemmatized")}
    created = payload.get("created_at")
    return Row(
        kind=kind,
        actor=payload.get("actor_id") or payload.get("role") or "user",
        at=datetime.fromisoformat(created).timestamp() if created else datetime.now(UTC).timestamp(),
        text=payload["data"],
        label=unpack_label(payload.get("label", _UNTRUSTED)),
        session=payload.get("session"),
        run=payload.get("run"),
        expires=payload.get("expires"),
        cites=tuple(payload.get("cites", ())),
        extra=extra,
        vector=None if vector is None else pack_vector(vector),
        uid=uid,
    )


def _scope(payload: Mapping[str, Any]) -> Scope:
    try:
        return Scope(unquote(payload["user_id"]), unquote(payload["agent_id"]))
    except KeyError as error:
        raise LongTermUnavailable(f"mem0 gave no {error.args[0]}, without which a fact belongs to nobody") from None


def _record(row: Row, score: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(id=row.uid, score=score, payload={**row.extra, "data": row.text})
