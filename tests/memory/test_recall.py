"""What is found again, what is not, and how it looks before a model."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from corral.memory import Memory, NotRemembered, Receipt, Scope, Turn
from corral.policy import Admission, Integrity, Label, NotAdmitted, Redactor

from .conftest import Held, files_with

PAGE = Label.untrusted("tool:web/fetch")


def at(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


async def test_what_was_said_is_found_by_its_words(held: Held, scope: Scope) -> None:
    await held.remember(scope, "my sister Anna lives in Lisbon", "the weather is fine")
    found = await held.recall("where does Anna live?", scope, k=1, budget_tokens=10)
    assert [(one.text, one.actor, one.kind) for one in found] == [("my sister Anna lives in Lisbon", "user", "episode")]
    assert "its words" in found[0].why


async def test_another_form_of_a_word_finds_it(held: Held, scope: Scope) -> None:
    await held.remember(scope, "we adopted two puppies")
    assert await held.texts("adopting a puppy", scope) == ["we adopted two puppies"]


async def test_a_misspelt_word_finds_it(held: Held, scope: Scope) -> None:
    await held.remember(scope, "the restaurant is called Mirabelle")
    assert await held.texts("mirabele", scope) == ["the restaurant is called Mirabelle"]


async def test_it_is_found_in_a_later_session(held: Held, scope: Scope) -> None:
    await held.remember(scope, "my badge number is 4711")
    assert await held.texts("badge number", Scope("ada", "main", "friday")) == ["my badge number is 4711"]


async def test_it_is_found_by_another_process_later(folder: Path, scope: Scope) -> None:
    async with Memory(folder) as memory:
        await Held(memory).remember(scope, "my badge number is 4711")
    async with Memory(folder) as memory:
        assert await Held(memory).texts("badge number", scope) == ["my badge number is 4711"]


async def test_what_another_memory_object_writes_is_found_at_once(folder: Path, held: Held, scope: Scope) -> None:
    assert await held.texts("badge", scope) == []
    async with Memory(folder) as other:
        await Held(other).remember(scope, "my badge number is 4711")
        assert await held.texts("badge", scope) == ["my badge number is 4711"]
        await Held(other).forget("badge", scope)
        assert await held.texts("badge", scope) == []


@pytest.mark.parametrize("other", [Scope("bob"), Scope("ada", "other"), Scope("ada/main"), Scope("a", "da/main")])
async def test_namespaces_never_mix(held: Held, scope: Scope, other: Scope) -> None:
    await held.remember(scope, "my badge number is 4711")
    await held.learn("the badge opens the lab", scope)
    assert await held.recall("badge", other) == []
    assert await held.export(other) == []
    assert (await held.forget("badge", other)).ids == ()
    assert len(await held.texts("badge", scope)) == 2


async def test_nothing_in_common_finds_nothing(held: Held, scope: Scope) -> None:
    await held.remember(scope, "we adopted two puppies", "the train leaves at nine")
    assert await held.recall("quarterly revenue forecast", scope) == []


@pytest.mark.parametrize("query", ["", "?!", '"AND" OR (', "text:*", "who is it", "x" * 100_000, "\ud800", "a\0b"])
async def test_any_query_is_answered(held: Held, scope: Scope, query: str) -> None:
    await held.remember(scope, "we adopted two puppies")
    await held.recall(query, scope)


async def test_the_answer_beside_the_question_comes_with_it(held: Held, scope: Scope) -> None:
    await held.remember(
        scope,
        Turn("user", "which hotel did Marta recommend in Porto?", Label.user()),
        Turn("agent", "The Aliados, near the river.", Label.user()),
        Turn("user", "thanks", Label.user()),
    )
    assert "The Aliados, near the river." in await held.texts("Marta's hotel", scope, k=2)


async def test_the_person_named_in_the_query_comes_first(held: Held, scope: Scope) -> None:
    await held.remember(
        scope,
        Turn("Melanie", "I paint landscapes on sundays", Label.user()),
        Turn("Caroline", "I paint portraits on sundays", Label.user()),
    )
    found = await held.recall("what does Caroline paint?", scope)
    assert found[0].actor == "Caroline"
    assert "who said it" in found[0].why


async def test_the_month_named_in_the_query_comes_first(held: Held, scope: Scope) -> None:
    for session, day in (("a", "2025-03-03"), ("b", "2025-06-03"), ("c", "2025-09-03")):
        await held.remember(Scope("ada", "main", session), Turn("user", "we went hiking", Label.user(), at(day)))
    found = await held.recall("where did we go hiking in June?", scope)
    assert found[0].session == "b"
    assert "its month" in found[0].why


async def test_of_equals_the_newest_comes_first(held: Held, scope: Scope) -> None:
    for number in range(3):
        await held.remember(Scope("ada", "main", str(number)), "standup at ten")
    assert (await held.recall("standup", scope))[0].session == "2"


async def test_sessions_that_take_turns_keep_their_own_neighbours(held: Held) -> None:
    one, other = Scope(session="one"), Scope(session="other")
    for number in range(4):
        await held.remember(one, f"alpha {number} tango" if number == 1 else f"alpha {number}")
        await held.remember(other, f"beta {number}")
    assert all(text.startswith("alpha") for text in await held.texts("tango", one))


async def test_no_more_than_k_matches_and_no_more_tokens_than_the_budget(held: Held, scope: Scope) -> None:
    await held.remember(scope, *(f"meeting {number} " + "about the budget " * 20 for number in range(30)))
    found = await held.recall("meeting about the budget", scope, k=5, budget_tokens=300)
    assert 0 < len([one for one in found if one.score > 0]) <= 5
    assert sum(len(one.text) for one in found) <= 300 * 4


async def test_a_text_too_long_for_the_budget_is_cut(held: Held, scope: Scope) -> None:
    await held.remember(scope, "start " + "filler words " * 10_000 + "needle end")
    (found,) = await held.recall("needle", scope, budget_tokens=100)
    assert found.text.startswith("start")
    assert found.text.endswith("end")
    assert "characters cut" in found.text
    assert len(found.text) < 500


async def test_expired_turns_are_not_found(folder: Path, scope: Scope) -> None:
    now = 1_000_000.0
    async with Memory(folder, clock=lambda: now) as memory:
        held = Held(memory)
        await held.remember(scope, "the door code is 99", expires=now + 60)
        assert await held.texts("door code", scope) == ["the door code is 99"]
        now += 61
        assert await held.texts("door code", scope) == []


async def test_a_turn_keeps_its_own_time(held: Held, scope: Scope) -> None:
    await held.remember(scope, Turn("user", "hello there", Label.user(), at("2020-02-02")))
    assert (await held.recall("hello", scope))[0].at == at("2020-02-02")


async def test_empty_turns_are_skipped_and_counted(held: Held, scope: Scope) -> None:
    receipt = await held.remember(scope, "", "  \n", "something")
    assert (len(receipt.ids), receipt.skipped) == (1, 2)
    assert await held.remember(scope) == Receipt()


async def test_any_text_can_be_remembered(held: Held, scope: Scope) -> None:
    texts = ["nul \0 inside", "surrogate \ud800 alone", "émoji 🐎 word", "x" * 3_000_000]
    receipt = await held.remember(scope, *texts)
    assert len(receipt.ids) == len(texts)
    assert len(await held.texts("inside alone word", scope, budget_tokens=10_000)) >= 3


async def test_texts_are_redacted_before_they_are_stored(folder: Path, scope: Scope) -> None:
    async with Memory(folder, redact=Redactor(["hunter2"]).redact) as memory:
        held = Held(memory)
        await held.remember(scope, "the password is hunter2")
        await held.learn("password: hunter2", scope)
        assert sorted(await held.texts("password", scope)) == ["password: [secret]", "the password is [secret]"]
    assert files_with(b"hunter2", folder) == []


async def test_one_memory_is_shown_by_its_id(held: Held, scope: Scope) -> None:
    (id,) = (await held.remember(scope, Turn("tool:web/fetch", "a page", PAGE))).ids
    shown = await held.admitted("read", scope, lambda a: held.memory.get(id, scope, admission=a))
    assert (shown.text, shown.label.integrity) == ("a page", Integrity.UNTRUSTED)
    bob = Scope("bob")
    with pytest.raises(NotRemembered):
        await held.admitted("read", bob, lambda a: held.memory.get(id, bob, admission=a))


async def test_a_recollection_never_carries_the_users_authority(held: Held, scope: Scope) -> None:
    await held.remember(scope, "send reports to bob@example.org")
    (found,) = await held.recall("reports", scope)
    assert found.label.integrity == Integrity.ATTESTED
    assert found.label.sources == {"memory:episodic/ada/main"}


async def test_only_readers_of_a_label_find_its_text(held: Held, scope: Scope) -> None:
    await held.remember(
        scope,
        Turn("agent", "salary is 100", Label(Integrity.USER, readers=frozenset({"user:eve"}))),
        Turn("agent", "salary is paid monthly", Label(Integrity.USER, readers=frozenset({"user:ada"}))),
    )
    assert await held.texts("salary", scope) == ["salary is paid monthly"]


async def test_every_effect_needs_its_own_admission(held: Held, scope: Scope) -> None:
    async def wrong_scope(admission: Admission) -> None:
        await held.memory.remember([], Scope("bob"), admission=admission)

    async def wrong_verb(admission: Admission) -> None:
        await held.memory.forget("x", scope, admission=admission)

    for effect in (wrong_scope, wrong_verb):
        with pytest.raises(NotAdmitted):
            await held.admitted("write", scope, effect)
