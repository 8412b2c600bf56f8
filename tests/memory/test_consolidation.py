"""What was said becomes what is known."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from corral.memory import ConsolidationBusy, ConsolidationFailed, Memory, Pending, Receipt, Scope, Turn
from corral.policy import BudgetExceeded, Integrity, Label

from .conftest import Held


class Scripted:
    """A model that answers in order, with JSON of what it is given, and keeps the prompts."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.prompts: list[str] = []

    async def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else json.dumps(answer)


async def consolidate(held: Held, model: Any, scope: Scope, most: int | None = None) -> Receipt:
    return await held.admitted(
        "write", scope, lambda admission: held.memory.consolidate(model, scope, most=most, admission=admission), "long"
    )


async def facts(held: Held, scope: Scope) -> list[dict[str, Any]]:
    return [line for line in await held.export(scope) if line["kind"] == "fact"]


async def test_a_fact_cites_the_turns_that_it_was_drawn_from(held: Held, scope: Scope) -> None:
    ids = (await held.remember(scope, "hello", "I moved to Porto", "and I love it")).ids
    receipt = await consolidate(held, Scripted([{"fact": "Ada lives in Porto", "cites": [2, 3]}]), scope)
    (fact,) = await facts(held, scope)
    assert (fact["text"], fact["cites"], (fact["id"],)) == ("Ada lives in Porto", list(ids[1:]), receipt.ids)


@pytest.mark.parametrize("cites", [[], [0], [9], [1, 9], [-1]])
async def test_a_fact_without_a_real_citation_is_refused(held: Held, scope: Scope, cites: list[int]) -> None:
    await held.remember(scope, "hello")
    receipt = await consolidate(held, Scripted([{"fact": "Ada is a spy", "cites": cites}]), scope)
    assert (receipt.ids, receipt.skipped) == ((), 1)
    assert await facts(held, scope) == []


async def test_what_was_consolidated_is_not_asked_again(held: Held, scope: Scope) -> None:
    await held.remember(scope, "I moved to Porto")
    await consolidate(held, Scripted([]), scope)
    assert await consolidate(held, Scripted(), scope) == Receipt()
    await held.remember(scope, "I bought a boat")
    model = Scripted([])
    await consolidate(held, model, scope)
    assert "I bought a boat" in model.prompts[0]
    assert "Porto" not in model.prompts[0]


async def test_many_turns_are_several_questions(held: Held, scope: Scope) -> None:
    await held.remember(scope, *(f"turn {number}" for number in range(90)))
    model = Scripted([], [], [])
    await consolidate(held, model, scope)
    assert len(model.prompts) == 3


@pytest.mark.parametrize("answer", ["I can't", '{"fact": 1}', '[{"cites": [1]}]', "[1, 2", RuntimeError("down")])
async def test_a_failing_model_loses_nothing_and_is_asked_again(held: Held, scope: Scope, answer: Any) -> None:
    await held.remember(scope, "I moved to Porto")
    with pytest.raises(ConsolidationFailed):
        await consolidate(held, Scripted(answer), scope)
    await consolidate(held, Scripted([{"fact": "Ada lives in Porto", "cites": [1]}]), scope)
    assert len(await facts(held, scope)) == 1


async def test_words_around_the_answer_do_no_harm(held: Held, scope: Scope) -> None:
    await held.remember(scope, "I moved to Porto")
    await consolidate(held, Scripted('Sure!\n```json\n[{"fact": "Ada lives in Porto", "cites": [1]}]\n```'), scope)
    assert len(await facts(held, scope)) == 1


async def test_a_fact_known_already_is_not_stored_again(held: Held, scope: Scope) -> None:
    await held.learn("Ada lives in the old town of Porto with her two cats", scope)
    await held.remember(scope, "I live in the old town of Porto with my two cats")
    same = {"fact": "Ada lives in the old town of Porto, with her two cats.", "cites": [1]}
    assert (await consolidate(held, Scripted([same]), scope)).ids == ()
    assert len(await facts(held, scope)) == 1


@pytest.mark.parametrize(
    "other",
    [
        "Ada lives in the old town of Porto with her 3 cats",
        "Ada no longer lives in the old town of Porto with her 2 cats",
        "Ada doesn't live in the old town of Porto with her 2 cats",
    ],
)
async def test_another_number_or_a_negation_is_another_fact(held: Held, scope: Scope, other: str) -> None:
    await held.learn("Ada lives in the old town of Porto with her 2 cats", scope)
    await held.remember(scope, "news")
    assert len((await consolidate(held, Scripted([{"fact": other, "cites": [1]}]), scope)).ids) == 1


async def test_a_known_fact_that_is_no_longer_true_is_superseded(held: Held, scope: Scope) -> None:
    (old,) = (await held.learn("Ada lives in Faro", scope)).ids
    await held.remember(scope, "I left Faro and live in Porto now")
    model = Scripted([{"fact": "Ada lives in Porto", "cites": [1], "replaces": 1}])
    (new,) = (await consolidate(held, model, scope)).ids
    assert "1. Ada lives in Faro" in model.prompts[0]
    assert {fact["id"]: fact["replaced_by"] for fact in await facts(held, scope)} == {old: new, new: None}


async def test_quarantined_turns_and_echoes_of_memory_are_not_shown_to_the_model(held: Held, scope: Scope) -> None:
    await held.remember(scope, "honest words")
    echo = (await held.recall("honest words", scope))[0].label
    await held.remember(
        scope,
        Turn("tool:web/fetch", "Ada lives in Eviltown", Label.untrusted("tool:web/fetch")),
        Turn("agent", "As you said, these were honest words: echo", echo),
    )
    model = Scripted([{"fact": "Ada lives in Eviltown", "cites": [2]}])
    assert (await consolidate(held, model, scope)).ids == ()
    assert "Eviltown" not in model.prompts[0]
    assert "echo" not in model.prompts[0]


async def test_quarantined_turns_alone_are_not_worth_a_question(held: Held, scope: Scope) -> None:
    await held.remember(scope, Turn("tool:web/fetch", "a page", Label.untrusted("tool:web/fetch")))
    assert await consolidate(held, Scripted(), scope) == Receipt()


async def test_a_fact_is_as_trusted_and_as_secret_as_what_it_cites(held: Held, scope: Scope) -> None:
    label = Label(Integrity.DIRECTORY, sources=frozenset({"tool:people/find"}))
    await held.remember(scope, "who is Bob?", Turn("tool:people/find", "Bob is head of sales", label))
    await consolidate(held, Scripted([{"fact": "Bob is head of sales", "cites": [1, 2]}]), scope)
    (fact,) = await facts(held, scope)
    assert fact["label"]["integrity"] == "directory"
    assert fact["label"]["sources"] == ["tool:people/find"]


async def test_a_question_of_several_parts_is_searched_in_parts(held: Held, scope: Scope) -> None:
    await held.remember(Scope("ada", "main", "a"), "the violin was a gift from grandmother Rosa")
    await held.remember(Scope("ada", "main", "b"), "grandmother was born in Trieste")
    await held.remember(Scope("ada", "main", "c"), *(f"violin lesson number {number}" for number in range(30)))
    query = "where was she born who gave the violin?"
    model = Scripted(["gift violin", "grandmother born"])
    found = await held.texts(query, scope, k=3, model=model)
    assert query in model.prompts[0]
    assert {"the violin was a gift from grandmother Rosa", "grandmother was born in Trieste"} <= set(found[:3])


@pytest.mark.parametrize("answer", ["no", "[]", "[1]", RuntimeError("down")])
async def test_recall_goes_on_without_the_models_help(held: Held, scope: Scope, answer: Any) -> None:
    await held.remember(scope, "we adopted two puppies")
    assert await held.texts("puppies", scope, model=Scripted(answer)) == ["we adopted two puppies"]


async def test_what_is_pending_is_counted_without_what_teaches_nothing(held: Held, scope: Scope) -> None:
    assert await held.memory.pending(scope) == Pending()
    await held.remember(scope, "I moved to Porto", "and I love it")
    echo = (await held.recall("Porto", scope))[0].label
    await held.remember(
        scope, Turn("agent", "You live there, I know", echo), Turn("tool:web/fetch", "a page", Label.untrusted("web"))
    )
    assert await held.memory.pending(scope) == Pending(2)
    assert await held.memory.pending(Scope("bob")) == Pending()
    await consolidate(held, Scripted([]), scope)
    assert await held.memory.pending(scope) == Pending()


async def test_a_model_is_asked_so_often_at_the_most(held: Held, scope: Scope) -> None:
    await held.remember(scope, *(f"turn {number}" for number in range(90)))
    model = Scripted([{"fact": "there are turns", "cites": [1]}], [])
    receipt = await consolidate(held, model, scope, most=2)
    assert (len(receipt.ids), receipt.turns) == (1, 80)
    assert (await held.memory.pending(scope)).turns == 10
    model = Scripted([])
    await consolidate(held, model, scope, most=2)
    assert "turn 80" in model.prompts[0]
    assert "turn 79" not in model.prompts[0]


async def test_what_was_stored_before_a_failure_is_told_and_the_failure_is_noted(held: Held, scope: Scope) -> None:
    await held.remember(scope, *(f"turn {number}" for number in range(50)))
    with pytest.raises(ConsolidationFailed) as failure:
        await consolidate(held, Scripted([{"fact": "there are turns", "cites": [1]}], "no"), scope)
    assert len(failure.value.receipt.ids) == 1
    left = await held.memory.pending(scope)
    assert left.turns == 10
    assert left.failed_at is not None
    await consolidate(held, Scripted([]), scope)
    assert await held.memory.pending(scope) == Pending()


async def test_a_lack_of_money_is_no_failure_of_the_model(held: Held, scope: Scope) -> None:
    await held.remember(scope, "I moved to Porto")
    with pytest.raises(ConsolidationFailed):
        await consolidate(held, Scripted(BudgetExceeded("tokens", 10, 10, 1)), scope)
    assert await held.memory.pending(scope) == Pending(1)


async def test_one_at_a_time_consolidates(held: Held, scope: Scope, folder: Path) -> None:
    await held.remember(scope, "I moved to Porto")
    await held.remember(Scope("bob"), "I stay in Faro")

    async def asked(prompt: str) -> str:
        async with Memory(folder) as other:
            with pytest.raises(ConsolidationBusy):
                await consolidate(Held(other), Scripted(), scope)
            await consolidate(Held(other), Scripted([{"fact": "Bob is in Faro", "cites": [1]}]), Scope("bob"))
        return '[{"fact": "Ada lives in Porto", "cites": [1]}]'

    await consolidate(held, asked, scope)
    assert [fact["text"] for fact in await facts(held, scope)] == ["Ada lives in Porto"]
    assert [fact["text"] for fact in await facts(held, Scope("bob"))] == ["Bob is in Faro"]


async def test_where_there_are_no_locks_what_another_has_done_is_not_done_twice(
    held: Held, scope: Scope, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held.remember(scope, "I moved to Porto")
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows

    async def asked(prompt: str) -> str:
        async with Memory(folder) as other:
            await consolidate(Held(other), Scripted([{"fact": "Ada lives in Porto", "cites": [1]}]), scope)
        return '[{"fact": "She is in Portugal now", "cites": [1]}]'

    assert await consolidate(held, asked, scope) == Receipt(skipped=1)
    assert [fact["text"] for fact in await facts(held, scope)] == ["Ada lives in Porto"]


async def test_who_is_cancelled_leaves_it_to_the_next(held: Held, scope: Scope) -> None:
    await held.remember(scope, "I moved to Porto")
    asked = anyio.Event()

    async def never(prompt: str) -> str:
        asked.set()
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(consolidate, held, never, scope)
            await asked.wait()
            group.cancel_scope.cancel()
    await consolidate(held, Scripted([{"fact": "Ada lives in Porto", "cites": [1]}]), scope)
    assert len(await facts(held, scope)) == 1


async def test_what_is_forgotten_while_the_model_thinks_does_not_come_back(held: Held, scope: Scope) -> None:
    await held.remember(scope, "my PIN is 4711", "and I live in Porto")

    async def forgetful(prompt: str) -> str:
        if "4711" not in prompt:
            return '[{"fact": "Ada lives in Porto", "cites": [1]}]'
        await held.forget("4711", scope)
        return '[{"fact": "Ada lives in Porto, with the PIN 4711", "cites": [2]}]'

    await consolidate(held, forgetful, scope)
    assert [fact["text"] for fact in await facts(held, scope)] == ["Ada lives in Porto"]


async def test_what_is_said_after_all_was_forgotten_is_consolidated_too(held: Held, scope: Scope) -> None:
    await held.remember(scope, "I moved to Porto", "and I love it")
    await consolidate(held, Scripted([]), scope)
    await held.forget(None, scope, everything=True)
    await held.remember(scope, "I live in Faro")
    assert await held.memory.pending(scope) == Pending(1)
    await consolidate(held, Scripted([{"fact": "Ada lives in Faro", "cites": [1]}]), scope)
    assert len(await facts(held, scope)) == 1


KILLED = """
import asyncio, sys
from pathlib import Path
from corral.memory import Memory, Scope
from corral.policy import Gate, Policy, SecurityPolicy

SCOPE = Scope("ada", "main", "monday")

async def main():
    memory = Memory(Path(sys.argv[1]))

    async def model(prompt):
        return '[{"fact": "Her home is Portuguese", "cites": [1]}, {"fact": "Ada has a boat", "cites": [2]}]'

    from corral.memory import opened
    learn = opened.Opened.learn

    def slow(self, fact, *args, **options):
        receipt = learn(self, fact, *args, **options)
        print(fact.text, flush=True)
        sys.stdin.readline()
        return receipt

    opened.Opened.learn = slow
    gate = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))
    action = Memory.action("write", SCOPE, layer="long")
    await gate.perform(action, lambda admission: memory.consolidate(model, SCOPE, admission=admission))

asyncio.run(main())
"""


async def test_a_process_that_is_killed_in_the_middle_does_no_harm(held: Held, scope: Scope, folder: Path) -> None:
    await held.remember(scope, "I moved to Porto", "I bought a boat")

    def kill_after_the_first_fact() -> str:
        killed = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert killed.stdout is not None
        try:
            return killed.stdout.readline()
        finally:
            killed.send_signal(signal.SIGKILL)
            killed.communicate(timeout=10)

    with anyio.fail_after(30):
        assert await to_thread.run_sync(kill_after_the_first_fact) == "Her home is Portuguese\n"
    assert [fact["text"] for fact in await facts(held, scope)] == ["Her home is Portuguese"]
    model = Scripted([{"fact": "Ada has a boat", "cites": [2]}])
    await consolidate(held, model, scope)
    assert "Known facts:\n1. Her home is Portuguese" in model.prompts[0]
    assert sorted(fact["text"] for fact in await facts(held, scope)) == ["Ada has a boat", "Her home is Portuguese"]
    assert await held.memory.pending(scope) == Pending()
