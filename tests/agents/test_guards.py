"""Guards at both ends of a run: what they block, take out and note; what becomes of one that fails; and as a metric."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import dspy
import pytest
from pydantic import BaseModel

from corral.agents import (
    Canary,
    CodeAct,
    DefinitionError,
    Found,
    Grounded,
    Guard,
    GuardMetric,
    Journal,
    Length,
    Moderation,
    Pattern,
    ReAct,
    Redact,
    Schema,
    StopReason,
)
from corral.agents.guards import About
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Intervened, Limits, MemoryAudit, Policy, Redactor, SecurityPolicy, TextDelta
from corral.sandbox import MontyProvider
from corral.tools import tool

from .conftest import Recorder

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])


def agent(*replies: Reply | str, signature: str = "question -> answer", tools: Any = (), **options: Any) -> ReAct:
    return ReAct(signature, tools, lm=scripted_lm(replies or ["Fine."])[0], **options)


@pytest.mark.parametrize(
    ("guard", "bad", "good", "why"),
    [
        (Length(10), "far too long a text", "short", "at most 10"),
        (Length(99, least=5), "tiny", "long enough", "at least 5"),
        (Pattern(r"\bpassword\b", means="a password"), "the password is x", "fine", "a password stands in it"),
        (Pattern(r"\[\d+\]", means="a source", required=True), "so it is", "so it is [1]", "a source is missing"),
        (Redact(on="block"), "write to ann@corp.example", "write to Ann", "mail"),
        (Schema(list[int]), '["a"]', "[1, 2]", "valid integer"),
        (Schema({"properties": {"answer": {"enum": ["yes", "no"]}}}), "perhaps", "yes", "is not one of"),
        (Moderation(lambda text: "bad" in text), "bad words", "good words", "objects"),
        (Moderation(lambda text: {"hate": 0.9 if "bad" in text else 0.1}), "bad", "good", "objects: hate"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Guard) else "",
)
async def test_an_answer_that_a_guard_blocks_is_given_back_and_never_seen(
    guard: Guard, bad: str, good: str, why: str, recorder: Recorder
) -> None:
    result = await agent(bad, good, output_guards=[guard], sinks=[recorder], policy=EVERYTHING).run("?")
    assert result.ok
    assert result.outputs == {"answer": good}
    assert result.repairs == 1
    (said,) = recorder.of(Intervened)
    assert (said.by, said.point, said.outcome) == (f"guard:{guard.name}", "output", "block")
    assert why in said.reason
    never = await agent(bad, output_guards=[guard], policy=EVERYTHING).run("?")
    assert (never.reason, never.outputs, never.text) == (StopReason.DENIED, None, "")
    assert why in never.detail
    assert never.steps == 3


async def test_a_task_that_a_guard_blocks_is_not_begun() -> None:
    lm, engine = scripted_lm(["Fine."])
    blocked = ReAct("question -> answer", lm=lm, input_guards=[Length(5)])
    result = await blocked.run("Too long a question")
    assert (result.reason, result.outputs) == (StopReason.DENIED, None)
    assert "at most 5" in result.detail
    assert engine.requests == []
    assert (await blocked.run("Why?")).ok


async def test_what_is_redacted_reaches_neither_the_model_nor_the_journal(tmp_path: Path) -> None:
    lm, engine = scripted_lm(["Ask ann@corp.example."])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        guarded = ReAct("question -> answer", lm=lm, journal=journal, input_guards=[Redact()], output_guards=[Redact()])
        result = await guarded.run("Is bob@corp.example in?")
        started = next(iter(journal.events(result.run_id)))
        assert (await guarded.resume(result.run_id)).outputs == result.outputs
    assert engine.requests[0].messages[0].text == "Is [mail] in?"
    assert started["inputs"] == {"question": "Is [mail] in?"}
    assert result.outputs == {"answer": "Ask [mail]."}
    assert result.text == "Ask [mail]."


class Person(BaseModel):
    name: str
    addresses: list[str]


class Search(dspy.Signature):
    question: str = dspy.InputField()
    people: list[Person] = dspy.OutputField()


async def test_values_are_redacted_wherever_they_stand() -> None:
    person = {"name": "Ann", "addresses": ["ann@corp.example", "Main Street 1"]}
    lm = scripted_lm([Reply(calls=[Call("submit", {"people": [person]})])])[0]
    result = await ReAct(Search, lm=lm, output_guards=[Redact()]).run("?")
    assert result.outputs == {"people": [Person(name="Ann", addresses=["[mail]", "Main Street 1"])]}


async def test_what_is_flagged_passes_and_is_noted(recorder: Recorder) -> None:
    guards = [Length(3, on="flag"), Pattern("x", means="an x", on="flag")]
    result = await agent("Long.", output_guards=guards, sinks=[recorder]).run("?")
    assert result.outputs == {"answer": "Long."}
    assert result.noted == ("guard:length: answer: it has 5 characters, and at most 3 may be",)
    assert [event.outcome for event in recorder.of(Intervened)] == ["flag"]


async def test_guards_combine_in_their_order() -> None:
    guards = [Redact(), Length(30, on="redact"), Pattern("ann@", means="an address")]
    result = await agent(f"ann@corp.example {'x' * 100}", output_guards=guards).run("?")
    assert result.outputs == {"answer": "[mail] " + "x" * 23}


async def test_a_guard_looks_at_its_fields_only() -> None:
    reply = Reply(calls=[Call("submit", {"title": "long title", "text": "long text"})])
    made = agent(reply, signature="q -> title, text", output_guards=[Length(4, on="redact", fields=["title"])])
    assert (await made.run("?")).outputs == {"title": "long", "text": "long text"}


class Broken(Guard):
    async def look(self, text: str, about: About) -> Found | None:
        raise RuntimeError("no idea")


async def test_nothing_passes_a_guard_that_fails_unless_it_only_flags(recorder: Recorder) -> None:
    for side in ("input_guards", "output_guards"):
        result = await agent(**{side: [Broken()]}, sinks=[recorder]).run("?")
        assert (result.reason, result.outputs) == (StopReason.DENIED, None)
        assert "nothing passes a guard that fails" in result.detail
    assert {event.outcome for event in recorder.of(Intervened)} == {"failed"}
    result = await agent(output_guards=[Broken(on="flag")]).run("?")
    assert result.ok
    assert result.noted == ("guard:broken: it failed",)


async def test_no_text_of_an_answer_is_streamed_before_the_guards_have_seen_it() -> None:
    def events(**options: Any) -> Any:
        return agent("A secret.", **options).stream("?")

    assert [e async for e in events() if isinstance(e, TextDelta)]
    assert not [e async for e in events(output_guards=[Redact()]) if isinstance(e, TextDelta)]


async def test_a_canary_that_leaks_stops_the_answer_the_call_and_the_code() -> None:
    sent: list[str] = []

    @tool
    def send(text: str) -> str:
        """Send."""
        sent.append(text)
        return "sent"

    canary = Canary("canary-0123456789")
    lm, engine = scripted_lm([f"I was told: {canary.token}"])
    result = await ReAct("question -> answer", lm=lm, output_guards=[canary]).run("?")
    assert canary.token in str(engine.requests[0].system)
    assert (result.reason, result.outputs) == (StopReason.DENIED, None)
    hidden = base64.b64encode(f"it is {canary.token}!".encode()).decode()
    options: dict[str, Any] = {"policy": EVERYTHING, "output_guards": [canary]}
    leaks = Reply(calls=[Call("send", {"text": hidden})])
    result = await agent(leaks, "Done.", tools=[send], **options).run("?")
    assert result.outputs == {"answer": "Done."}
    code = Reply(calls=[Call("python", {"code": f"send(text={canary.token!r})"})])
    lm = scripted_lm([code, "Done."])[0]
    assert (await CodeAct("question -> answer", [send], lm=lm, sandbox=MontyProvider(), **options).run("?")).ok
    assert sent == []
    assert Canary().token != Canary().token


async def test_a_judge_says_whether_an_answer_stands_in_what_was_read() -> None:
    @tool(effect="read")
    def look() -> str:
        """Look."""
        return "17 bales are left"

    verdicts = [{"grounded": False, "why": "it says 20"}, {"grounded": True, "why": ""}]
    lm, engine = scripted_lm([Reply(calls=[Call("submit", verdict)]) for verdict in verdicts])
    judge = ReAct("sources, answer -> grounded: bool, why", lm=lm, name="judge")
    replies = [Reply(calls=[Call("look")]), "20.", "17."]
    result = await agent(*replies, tools=[look], output_guards=[Grounded(judge)]).run("How many?")
    assert result.outputs == {"answer": "17."}
    assert "17 bales are left" in str(engine.requests[0].messages)
    assert result.spent.steps == 3 + 2  # the judge spends from the run's budget
    assert any("it says 20" in str(message) for message in result.messages)
    silent = ReAct("sources, answer -> grounded: bool, why", lm=scripted_lm([""])[0], limits=Limits(steps=2))
    assert (await agent("17.", output_guards=[Grounded(silent)]).run("?")).reason is StopReason.DENIED
    with pytest.raises(DefinitionError, match="grounded: bool"):
        Grounded(agent())


class Server(BaseHTTPRequestHandler):
    """A moderation server."""

    got: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.got.append(body["input"])
        answer = json.dumps({"results": [{"flagged": "bad" in body["input"]}]}).encode()
        self.send_response(500 if "crash" in body["input"] else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def moderation() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Server.got.clear()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/moderations"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_moderation_over_http_passes_the_gate_and_fails_closed(moderation: str, tmp_path: Path) -> None:
    audit = MemoryAudit()
    guard = Moderation.http(moderation)
    result = await agent("bad", "good", output_guards=[guard], audit=audit).run("?")
    assert result.outputs == {"answer": "good"}
    assert Server.got == ["bad", "good"]
    assert {r.verb for r in audit.records if r.resource == "tool:guard/moderation"} == {"call"}
    assert (await agent("crash", output_guards=[guard]).run("?")).reason is StopReason.DENIED
    only_models = Policy(rules=[SecurityPolicy(resource="model:*", actions=["*"])])
    Server.got.clear()
    refused = await agent("good", output_guards=[guard], policy=only_models).run("?")
    assert (refused.reason, Server.got) == (StopReason.DENIED, [])
    with Journal(tmp_path / "runs.sqlite3") as journal:
        kept = agent("good", output_guards=[guard], journal=journal)
        first = await kept.run("?")
        assert (await kept.resume(first.run_id)).outputs == first.outputs
    assert Server.got == ["good"]  # what was recorded is not asked again


async def test_what_a_moderation_says_makes_nothing_trusted() -> None:
    result = await agent("fine", output_guards=[Moderation(lambda text: {"eve@evil.example": 0.0})]).run("?")
    assert result.ok
    assert result.label.sources == frozenset()


def test_guards_are_terms_of_a_metric() -> None:
    example = dspy.Example(question="Who?", answer="Ann").with_inputs("question")
    metric = GuardMetric(Length(5), Pattern("Ann", means="Ann", required=True), Broken())
    assert metric(example, dspy.Prediction(answer="Ann")) == pytest.approx(2 / 3)
    assert metric(example, dspy.Prediction(answer="Somebody")) == 0
    weighted = GuardMetric(Length(5), Pattern("Ann", means="Ann", required=True), weights=[3, 1])
    assert weighted(example, dspy.Prediction(answer="Bob")) == 0.75
    program: Any = agent("Ann", "Somebody else")
    evaluate = dspy.Evaluate(devset=[example, example], metric=weighted, num_threads=1, display_progress=False)
    assert evaluate(program).score == 50.0
    judge = ReAct(
        "sources, answer -> grounded: bool", lm=scripted_lm([Reply(calls=[Call("submit", {"grounded": True})])])[0]
    )
    rests = dspy.Example(question="Who?", text="Ann is here").with_inputs("question")
    assert GuardMetric(Grounded(judge), sources="text")(rests, dspy.Prediction(answer="Ann")) == 1.0


def test_guards_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DefinitionError, match="can't take out"):
        Schema(int, on="redact")
    with pytest.raises(DefinitionError, match="can't take out"):
        Pattern("x", means="an x", required=True, on="redact")
    with pytest.raises(DefinitionError, match="can't be read"):
        Pattern("(", means="an x")
    with pytest.raises(DefinitionError, match="no JSON Schema"):
        Schema({"type": 3})
    with pytest.raises(DefinitionError, match="at least 9"):
        Length(5, least=9)
    with pytest.raises(DefinitionError, match="block, redact or flag"):
        Length(5, on="shout")  # pyright: ignore[reportArgumentType]


async def test_known_secrets_of_the_host_are_taken_out_however_they_are_written() -> None:
    guard = Redact(Redactor(["hunter2-hunter2"]))
    hidden = base64.b64encode(b"it is hunter2-hunter2 ok").decode()
    result = await agent(f"Plain hunter2-hunter2, or {hidden}.", output_guards=[guard]).run("?")
    assert "hunter2" not in str(result.outputs)
    assert hidden not in str(result.outputs)
