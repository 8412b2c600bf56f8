"""Forgetting: every copy, down to the bytes."""

import sqlite3
from pathlib import Path

import pytest

from corral.memory import Memory, Scope, Turn
from corral.policy import Label

from .conftest import Held, files_with

PIN = "zq7391xk"


async def test_a_forgotten_pin_is_in_no_file(folder: Path, scope: Scope) -> None:
    async with Memory(folder) as memory:
        held = Held(memory)
        for number in range(300):
            await held.remember(scope, f"filler {number} about nothing in particular")
        await held.remember(scope, f"my pin is {PIN}", "thanks", Turn("agent", f"noted: {PIN.upper()}", Label.user()))
        (id,) = (await held.learn(f"Ada's pin is {PIN}", scope)).ids
        (edited,) = (await held.learn(f"the old pin was {PIN}", scope)).ids
        await held.admitted(
            "write", scope, lambda a: memory.edit(edited, "there was an old pin", scope, admission=a), "long"
        )
        await held.learn("Ada's pin is another one", scope, replaces=id)
        assert files_with(PIN.encode(), folder) != []
        receipt = await held.forget(PIN, scope)
        assert receipt.complete
        assert receipt.copies["episode"] == 2
        assert receipt.copies["fact"] == 1
        assert receipt.copies["history"] >= 2
        assert files_with(PIN.encode(), folder) == []
        assert files_with(PIN.upper().encode(), folder) == []
        assert PIN not in " ".join(await held.texts("pin", scope)).lower()
        assert "thanks" in await held.texts("thanks", scope)
    assert files_with(PIN.encode(), folder) == []


async def test_the_words_are_gone_from_the_index_too(held: Held, scope: Scope, folder: Path) -> None:
    await held.remember(scope, f"alpha {PIN}", "beta")
    await held.forget("alpha", scope)
    assert files_with(b"alpha", folder) == []
    assert await held.texts(PIN, scope) == []
    assert await held.texts("beta", scope) == ["beta"]


async def test_by_id_by_session_and_all(held: Held, scope: Scope) -> None:
    friday = Scope("ada", "main", "friday")
    one, _ = (await held.remember(scope, "first thing", "second thing")).ids
    await held.remember(friday, "third thing", "fourth thing")
    await held.remember(Scope("bob"), "a thing of his own")
    assert (await held.forget(None, scope, ids=[one])).ids == (one,)
    assert len((await held.forget(None, scope, session="friday")).ids) == 2
    assert len((await held.forget(None, scope, everything=True)).ids) == 1
    assert await held.texts("thing", Scope("bob")) == ["a thing of his own"]


async def test_a_fact_goes_with_the_last_episode_that_it_cites(held: Held, scope: Scope) -> None:
    one, two = (await held.remember(scope, "I moved to Porto", "Porto is great")).ids
    await held.learn("Ada lives there", scope, cites=[one, two])
    await held.forget(None, scope, ids=[one])
    assert "Ada lives there" in await held.texts("where does Ada live", scope)
    assert (await held.forget(None, scope, ids=[two])).copies["fact"] == 1
    assert await held.texts("where does Ada live", scope) == []


async def test_the_long_layer_alone_forgets_facts_alone(held: Held, scope: Scope) -> None:
    await held.remember(scope, "I drink tea")
    await held.learn("Ada drinks tea", scope)
    await held.admitted(
        "delete", scope, lambda admission: held.memory.forget("tea", scope, admission=admission), "long"
    )
    assert await held.texts("tea", scope) == ["I drink tea"]


async def test_what_expired_is_forgotten_for_good(folder: Path, scope: Scope) -> None:
    now = 1_000_000.0
    async with Memory(folder, clock=lambda: now) as memory:
        held = Held(memory)
        await held.remember(scope, f"the code is {PIN}", expires=now + 60)
        await held.remember(scope, "the code is secret")
        assert (await held.forget(None, scope, expired=True)).ids == ()
        now += 61
        assert (await held.forget(None, scope, expired=True)).copies["episode"] == 1
        assert files_with(PIN.encode(), folder) == []
        assert await held.texts("code", scope) == ["the code is secret"]


async def test_the_receipt_says_when_a_reader_elsewhere_keeps_the_bytes(
    folder: Path, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corral.memory.database.BUSY", 0.2)
    async with Memory(folder) as memory:
        held = Held(memory)
        await held.remember(scope, f"my pin is {PIN}")
        reader = sqlite3.connect(folder / "memory.db", isolation_level=None)
        reader.execute("begin")
        reader.execute("select * from item").fetchone()
        assert not (await held.forget(PIN, scope)).complete
        assert await held.recall(PIN, scope) == []
        reader.close()
        # The next rewriting takes it along.
        await held.remember(scope, "another")
        assert (await held.forget("another", scope)).complete
        assert files_with(PIN.encode(), folder) == []


async def test_nothing_to_forget_is_a_receipt_of_nothing(held: Held, scope: Scope) -> None:
    receipt = await held.forget("unheard of", scope)
    assert (receipt.ids, receipt.complete) == ((), True)


async def test_what_to_forget_must_be_said(held: Held, scope: Scope) -> None:
    with pytest.raises(ValueError, match="say what to forget"):
        await held.forget(None, scope)
