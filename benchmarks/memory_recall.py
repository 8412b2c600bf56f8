"""How well and how fast the memory finds: an adapter for an evidence benchmark, and a stopwatch of our own.

As a retriever of a benchmark such as LoCoMo's (turns in, ids of turns out; the data stays where it is):

    python .../locomo_bench.py -r bm25 -r benchmarks.memory_recall:make --fmt plain --by-category
    python .../locomo_bench.py -r benchmarks.memory_recall:make --fmt plain --opt embedder=minilm
    python .../locomo_bench.py -r benchmarks.memory_recall:make_mem0

What is lost in a large namespace, where few rows are scored: each conversation among 50,000 turns made of its own
words, once with candidates and once with all rows scored (`exact=1`):

    python .../locomo_bench.py -r benchmarks.memory_recall:make --fmt plain --convs 0 --opt crowd=50000 [--opt exact=1]

As a stopwatch, on made-up text:

    python -m benchmarks.memory_recall --rows 100000 --namespaces 1
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from corral.memory import Embedder, HashingEmbedder, Memory, Scope, Turn, estimate_tokens, space
from corral.memory.lexical import STOPWORDS
from corral.memory.row import Row
from corral.policy import Admission, Gate, Label, Policy, SecurityPolicy

if TYPE_CHECKING:
    from corral.memory.opened import Opened

T = TypeVar("T")

_OPEN = Policy(rules=[SecurityPolicy(resource="memory:*", actions=["*"])])


class Said(Protocol):
    """A turn of the benchmark."""

    id: str
    raw: str
    speaker: str
    session: int
    time: datetime


class Bench:
    """Our memory as the benchmark's retriever, through its public door and a gate."""

    def __init__(self, conversation: str, embedder: Embedder, crowd: int = 0) -> None:
        self._open = ExitStack()
        self._crowd = crowd
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self._portal = self._open.enter_context(start_blocking_portal())
        self._memory = Memory(folder, embedder=embedder)
        self._gate = Gate(_OPEN)
        self._user = conversation
        self._names: dict[str, str] = {}

    def index(self, turns: Sequence[Said]) -> None:
        if self._crowd:
            self._add_crowd(turns)
        sessions: dict[int, list[Said]] = {}
        for turn in turns:
            sessions.setdefault(turn.session, []).append(turn)
        for session, said in sessions.items():
            scope = Scope(self._user, session=str(session))
            rows = [Turn(t.speaker, t.raw, Label.user(), t.time.replace(tzinfo=UTC).timestamp()) for t in said]
            receipt = self._perform("write", scope, lambda a, r=rows, s=scope: self._memory.remember(r, s, admission=a))
            # Turns without text are skipped, and nobody can look for them.
            self._names |= zip(receipt.ids, (t.id for t in said if t.raw.strip()), strict=True)

    def search(self, query: str, k: int) -> list[str]:
        scope = Scope(self._user)
        found = self._perform(
            "read", scope, lambda a: self._memory.recall(query, scope, k=k, budget_tokens=10_000, admission=a)
        )
        return [self._names.get(one.id, "") for one in found[:k]]

    def _add_crowd(self, turns: Sequence[Said]) -> None:
        """Turns of words drawn from all that was said, by the same people in the same months, in sessions of twenty."""
        chance = random.Random(7)
        said = [word for turn in turns for word in turn.raw.split()]
        opened = self._memory._open()
        for start in range(0, self._crowd, 1_000):
            like = chance.choices(turns, k=min(1_000, self._crowd - start))
            texts = [" ".join(chance.choices(said, k=max(1, len(turn.raw.split())))) for turn in like]
            rows = [
                Row("episode", turn.speaker, turn.time.replace(tzinfo=UTC).timestamp(), text, Label.user(),
                    session=f"crowd {(start + number) // 20}", vector=vector)
                for number, (turn, text, vector) in enumerate(
                    zip(like, texts, opened.search.packed(texts), strict=True))
            ]  # fmt: skip
            opened.store.add(opened.store.space(Scope(self._user)), rows, opened.search.number)

    def close(self) -> None:
        self._portal.call(self._memory.close)
        self._open.close()

    def _perform(self, verb: Any, scope: Scope, effect: Callable[[Admission], Awaitable[T]]) -> T:
        return self._portal.call(self._gate.perform, Memory.action(verb, scope), effect)


def make(conversation: str, embedder: str = "hashing", crowd: str = "0", exact: str = "", **_: str) -> Bench:
    if exact:
        space.EXACT_ROWS = int(1e9)  # pyright: ignore[reportAttributeAccessIssue]
    return Bench(conversation, _embedder(embedder), int(crowd))


def _embedder(name: str) -> Embedder:
    if name == "minilm":
        from corral.memory.minilm import MiniLMEmbedder

        return MiniLMEmbedder(Path(folder) if (folder := os.environ.get("MINILM")) else None)
    return HashingEmbedder()


class PlainMem0:
    """mem0 as it comes, with its own embedded qdrant and our embedder: what the table compares with."""

    def __init__(self, conversation: str, embedder: Embedder) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._user = conversation
        os.environ.update(MEM0_TELEMETRY="False", MEM0_DIR=self._folder.name)
        from mem0 import Memory as Mem0  # after its environment is set
        from mem0.configs.base import MemoryConfig
        from mem0.embeddings.configs import EmbedderConfig
        from mem0.llms.configs import LlmConfig
        from mem0.vector_stores.configs import VectorStoreConfig

        from corral.memory import mem0_plugin

        mem0_plugin.register()
        store = {
            "collection_name": "bench",
            "embedding_model_dims": embedder.dim,
            "path": f"{self._folder.name}/qdrant",
        }
        self._mem0: Any = Mem0(
            MemoryConfig(
                embedder=EmbedderConfig.model_construct(provider=mem0_plugin.PROVIDER, config={"model": embedder}),
                llm=LlmConfig.model_construct(provider=mem0_plugin.PROVIDER, config={}),
                vector_store=VectorStoreConfig(provider="qdrant", config=store),
                history_db_path=":memory:",
            )
        )

    def index(self, turns: Sequence[Any]) -> None:
        for turn in turns:
            self._mem0.add(turn.text, user_id=self._user, infer=False, metadata={"turn": turn.id})

    def search(self, query: str, k: int) -> list[str]:
        found = self._mem0.search(query, filters={"user_id": self._user}, top_k=k, threshold=0.0)
        return [one["metadata"]["turn"] for one in found["results"]]

    def close(self) -> None:
        self._mem0.vector_store.client.close()
        self._mem0.close()
        self._folder.cleanup()


def make_mem0(conversation: str, embedder: str = "hashing", **_: str) -> PlainMem0:
    return PlainMem0(conversation, _embedder(embedder))


class Writer:
    """Made-up text: half function words, the rest Zipf-Mandelbrot over 20,000 words, as speech has them."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = ["".join(self._chance.choices(letters, k=self._chance.randint(4, 9))) for _ in range(20_000)]
        self._weights = list(accumulate(1 / (rank + 20) for rank in range(len(self._words))))
        self._function = sorted(STOPWORDS)

    def query(self, words: int = 4) -> str:
        return " ".join(self._chance.choices(self._words, cum_weights=self._weights, k=words))

    def turn(self) -> str:
        return self.query(10) + " " + " ".join(self._chance.choices(self._function, k=10))


def measure(rows: int, namespaces: int, folder: Path) -> str:
    """Fill a store below the facade, then time searches there and single additions through the facade."""
    from corral.memory.opened import Opened

    writer = Writer(7)
    users = [f"u{number}" for number in range(namespaces)]
    opened = Opened(folder, HashingEmbedder())
    began = time.perf_counter()
    fill(opened, writer, rows, users)
    loaded = time.perf_counter() - began

    def search(user: str) -> tuple[float, float]:
        query = writer.query()
        began, cpu = time.perf_counter(), time.thread_time()
        opened.recall(
            [query], Scope(user), k=8, budget=1500, count=estimate_tokens, now=0, untrusted=False, facts_only=False
        )
        return 1e3 * (time.perf_counter() - began), 1e3 * (time.thread_time() - cpu)

    chosen = users[:50]
    cold = sorted(search(user)[0] for user in chosen)
    times = [search(chosen[n % len(chosen)]) for n in range(100)]
    warm, cpu = sorted(wall for wall, _ in times), sorted(cpu for _, cpu in times)
    opened.close()
    additions = time_additions(folder, writer, users[0])
    added, added_cpu = (statistics.median(column) for column in zip(*additions, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    size = (folder / "memory.db").stat().st_size / 1e6
    return (
        f"{rows} rows in {namespaces} namespaces: load {loaded:.0f} s, search p50 cold {cold[len(cold) // 2]:.1f} ms,"
        f" warm {warm[50]:.2f} (p95 {warm[95]:.2f}, CPU {cpu[50]:.2f}) ms,"
        f" add {added:.2f} (CPU {added_cpu:.2f}) ms, peak {peak:.0f} MB, file {size:.0f} MB"
    )


def fill(opened: Opened, writer: Writer, rows: int, users: Sequence[str]) -> None:
    for start in range(0, rows, 5_000):
        texts = [writer.turn() for _ in range(min(5_000, rows - start))]
        vectors = opened.search.packed(texts)
        by_user: dict[str, list[Row]] = {}
        for place, (text, vector) in enumerate(zip(texts, vectors, strict=True), start):
            session = f"s{place // (20 * len(users))}"
            actor, at = ("ada", "bob")[place // len(users) % 2], 1.7e9 + 60 * place
            row = Row("episode", actor, at, text, Label.user(), session=session, vector=vector)
            by_user.setdefault(users[place % len(users)], []).append(row)
        for user, said in by_user.items():
            opened.store.add(opened.store.space(Scope(user)), said, opened.search.number)


def time_additions(folder: Path, writer: Writer, user: str) -> list[tuple[float, float]]:
    """Milliseconds of `remember` with one turn, gate and threads included: by the clock, and of CPU."""

    async def add_all() -> list[tuple[float, float]]:
        gate, scope, times = Gate(_OPEN), Scope(user, session="new"), list[tuple[float, float]]()
        action = Memory.action("write", scope)
        async with Memory(folder) as memory:
            for _ in range(210):
                turn = Turn("user", writer.turn(), Label.user())
                began, cpu = time.perf_counter(), time.process_time()
                await gate.perform(action, lambda a, t=turn: memory.remember([t], scope, admission=a))
                times.append((1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - cpu)))
        return times[10:]

    return anyio.run(add_all)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000])
    parser.add_argument("--namespaces", type=int, default=1)
    arguments = parser.parse_args()
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(rows, arguments.namespaces, Path(folder)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
