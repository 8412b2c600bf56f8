"""Embedders: what holds of each, and what happens when another one comes."""

import json
import os
import random
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import numpy as np
import pytest

from corral.memory import (
    CallingEmbedder,
    EmbedderUnavailable,
    HashingEmbedder,
    Memory,
    MiniLMEmbedder,
    Scope,
    mem0_embedder,
)

from .conftest import Held


def minilm() -> MiniLMEmbedder:
    """With the installed weights, or those in the folder that MINILM names."""
    folder = os.environ.get("MINILM")
    embedder = MiniLMEmbedder(Path(folder) if folder else None)
    try:
        embedder.embed(["x"])
    except EmbedderUnavailable as error:
        pytest.skip(str(error))
    return embedder


@pytest.fixture(params=["hashing", "minilm"])
def embedder(request: pytest.FixtureRequest) -> Any:
    return HashingEmbedder() if request.param == "hashing" else minilm()


def test_vectors_have_the_promised_shape_and_unit_length(embedder: Any) -> None:
    vectors = embedder.embed(["one text", "another", "é🐎 漢字", "word " * 5_000])
    assert (vectors.shape, vectors.dtype) == ((4, embedder.dim), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_alike_texts_are_closer_than_others(embedder: Any) -> None:
    one, alike, other = embedder.embed(["we adopted two puppies", "two puppies were adopted", "quarterly revenue"])
    assert one @ alike > embedder.floor > one @ other


def test_a_text_has_the_same_vector_alone_and_among_others(embedder: Any) -> None:
    texts = ["a cat", "a much longer text about the sea", "a dog"]
    assert np.allclose(embedder.embed(texts), np.vstack([embedder.embed([text]) for text in texts]), atol=1e-5)


def test_nothing_is_no_vectors(embedder: Any) -> None:
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_other_weights_than_the_published_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(EmbedderUnavailable, match="not the published"):
        MiniLMEmbedder(tmp_path).embed(["x"])


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailable, match="can't be read"):
        MiniLMEmbedder(tmp_path).embed(["x"])


def test_meaning_is_found_without_a_common_word() -> None:
    embedder = minilm()
    query, right, wrong = embedder.embed(["a pet dog", "we adopted two puppies", "the train leaves at nine"])
    assert query @ right > embedder.floor > query @ wrong


def test_any_function_is_an_embedder() -> None:
    embedder = CallingEmbedder(lambda texts: [[len(text), 0, 3] for text in texts], name="lengths", dim=3)
    assert np.allclose(embedder.embed(["four", ""]), [[0.8, 0, 0.6], [0, 0, 1]])
    assert embedder.embed([]).shape == (0, 3)


@pytest.mark.parametrize("gives", [[[1.0, 2.0]], [[1.0, float("nan"), 1.0]], [], "no", None])
def test_a_function_that_gives_no_vectors_is_a_typed_error(gives: Any) -> None:
    with pytest.raises(EmbedderUnavailable, match="odd"):
        CallingEmbedder(lambda texts: gives, name="odd", dim=3).embed(["x"])


class Lengths(BaseHTTPRequestHandler):
    """An embeddings endpoint as OpenAI has it: a text's vector is its length, and 3."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = [
            {"object": "embedding", "index": number, "embedding": [float(len(text)), 3.0]}
            for number, text in enumerate(asked["input"])
        ]
        body = json.dumps({"object": "list", "data": data, "model": asked["model"], "usage": USAGE}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


USAGE = {"prompt_tokens": 1, "total_tokens": 1}


def test_an_embedder_of_mem0s_own_list(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Lengths) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        config = {"model": "m", "api_key": "k", "openai_base_url": f"http://127.0.0.1:{server.server_port}"}
        embedder = mem0_embedder("openai", config, dim=2, home=tmp_path / "mem0")
        assert np.allclose(embedder.embed(["four", ""]), [[0.8, 0.6], [0, 1]])
        assert embedder.name == "mem0-openai-m"
        with pytest.raises(EmbedderUnavailable, match=r"gave \(1, 2\), not \(1, 3\)"):
            mem0_embedder("openai", config, dim=3, home=tmp_path / "mem0").embed(["x"])
        server.shutdown()


def test_an_embedder_that_mem0_does_not_have_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(EmbedderUnavailable, match="Unsupported"):
        mem0_embedder("nobody", {}, dim=2, home=tmp_path).embed(["x"])


class Constant:
    """An embedder that finds everything alike."""

    weight, floor = 0.1, 0.5

    def __init__(self, name: str, dim: int, gives: int | None = None) -> None:
        self.name, self.dim, self._gives = name, dim, gives or dim

    def embed(self, texts: Sequence[str]) -> Any:
        return np.full((len(texts), self._gives), self._gives**-0.5, np.float32)


async def test_another_embedder_re_embeds_what_is_there_and_mixes_nothing(folder: Path, scope: Scope) -> None:
    async with Memory(folder) as memory:
        await Held(memory).remember(scope, *(f"turn {number}" for number in range(200)))
    async with Memory(folder, embedder=Constant("constant", 32)) as memory:
        held = Held(memory)
        assert "turn 7" in await held.texts("7", scope)
        with anyio.fail_after(5):
            while (await memory.stats())["stale"]:
                await anyio.wait_all_tasks_blocked()
        # Nothing in common but the vector.
        assert len(await held.texts("zebra", scope, k=5)) >= 5
    async with Memory(folder) as memory:
        assert "turn 7" in await Held(memory).texts("7", scope)


async def test_a_memory_closes_in_the_middle_of_re_embedding(folder: Path, scope: Scope) -> None:
    async with Memory(folder) as memory:
        await Held(memory).remember(scope, *(f"turn {number}" for number in range(2_000)))
    async with Memory(folder, embedder=Constant("constant", 32)) as memory:
        await memory.stats()
    async with Memory(folder, embedder=Constant("constant", 32)) as memory:
        assert "turn 7" in await Held(memory).texts("7", scope)


async def test_an_embedder_that_breaks_its_promise_is_a_typed_error(folder: Path, scope: Scope) -> None:
    async with Memory(folder, embedder=Constant("liar", 32, gives=16)) as memory:
        with pytest.raises(EmbedderUnavailable, match="liar"):
            await Held(memory).remember(scope, "x")
        assert (await memory.stats())["episodes"] == 0


async def test_large_namespaces_are_searched_through_candidates_and_find_the_same(
    monkeypatch: pytest.MonkeyPatch, held: Held, scope: Scope
) -> None:
    for number in range(30):
        session = Scope("ada", "main", str(number))
        await held.remember(session, *(f"topic {number} remark {turn} word{number * turn}" for turn in range(20)))
    queries = [f"topic {number} word{number * 3}" for number in range(1, 30)]
    exact = [await held.texts(query, scope, k=5) for query in queries]
    monkeypatch.setattr("corral.memory.space.EXACT_ROWS", 100)
    async with Memory(held.memory.path) as memory:
        limited = [await Held(memory).texts(query, scope, k=5) for query in queries]
        # And it goes on when more is said.
        await Held(memory).remember(scope, "topic 99 word9999")
        assert (await Held(memory).texts("word9999", scope))[0] == "topic 99 word9999"
    same = sum(len(set(one[:5]) & set(other[:5])) for one, other in zip(exact, limited, strict=True))
    assert same >= 0.95 * 5 * len(queries)


class Weighty(HashingEmbedder):
    """One whose cosines count, as those of a model of language do."""

    weight, floor = 0.6, 0.2


async def test_the_best_of_a_large_namespace_are_compared_by_their_whole_vectors(
    monkeypatch: pytest.MonkeyPatch, folder: Path, scope: Scope
) -> None:
    chance = random.Random(7)
    made = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(60)]
    texts = [" ".join(chance.sample(made, 6)) for _ in range(600)]
    # Each word with another letter at its end, so that vectors alone find it.
    queries = [" ".join(word[:-1] + "0" for word in text.split()) for text in texts[:60]]
    async with Memory(folder, embedder=Weighty()) as memory:
        await Held(memory).remember(scope, *texts)
        exact = [await Held(memory).texts(query, scope, k=3, budget_tokens=60) for query in queries]
    monkeypatch.setattr("corral.memory.space.EXACT_ROWS", 100)
    async with Memory(folder, embedder=Weighty()) as memory:
        limited = [await Held(memory).texts(query, scope, k=3, budget_tokens=60) for query in queries]
    same = sum(one[:3] == other[:3] for one, other in zip(exact, limited, strict=True))
    assert sum(map(bool, exact)) > 50
    assert same >= 0.85 * len(queries)


async def test_expired_rows_of_a_large_namespace_do_not_crowd_out_the_others(
    monkeypatch: pytest.MonkeyPatch, folder: Path, scope: Scope
) -> None:
    monkeypatch.setattr("corral.memory.space.EXACT_ROWS", 100)
    monkeypatch.setattr("corral.memory.ranking._LEXICAL_CANDIDATES", 20)
    now = 1_000_000.0
    async with Memory(folder, clock=lambda: now) as memory:
        held = Held(memory)
        # Long, so that its vector is not near and only its word finds it.
        text = "the meeting is in the blue room beside old stairs " + " ".join(f"remark{n} aside{n}" for n in range(40))
        await held.remember(scope, text)
        await held.remember(Scope("ada", "main", "other"), *(f"meeting {n}" for n in range(300)), expires=now + 60)
        now += 61
        assert await held.texts("meeting", scope) == [text]
