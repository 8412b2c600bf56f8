import json
import subprocess
import sys
from pathlib import Path

import anyio
import dspy
import pytest
from dspy.lm15 import Message, Request, ServerError
from pydantic import SecretStr

from corral.agents import DefinitionError, Journal, Model, ModelError, ModelSpec, Price, ReAct, StopReason
from corral.agents.engine import engine_for
from corral.agents.testing import Fault, Reply, ScriptedServer, scripted_lm


def ask(model: Model) -> Request:
    return Request(model=model.name, messages=(Message.user("?"),), config=model.config())


async def test_sampling_settings_reach_the_wire() -> None:
    with ScriptedServer(["hi"]) as server:
        model = Model(
            ModelSpec(model="openai/m", api_base=server.url, temperature=0.3, top_p=0.9, max_tokens=77, seed=5)
        )
        await model.generate(ask(model))
        await model.close()
    (body,) = server.bodies
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.3, 0.9, 5)
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 77


async def test_how_long_to_think_and_where_to_stop_reach_the_wire() -> None:
    with ScriptedServer(["hi"]) as server:
        own = dspy.LM(
            "openai/m", api_base=server.url, api_key="x", cache=False, stop="END", reasoning_effort="low",
            presence_penalty=0.5,
        )  # fmt: skip
        for model in (
            Model(ModelSpec(model="openai/m", api_base=server.url, stop=("END",), reasoning="low")),
            Model(own),
        ):
            await model.generate(ask(model))
            await model.close()
    for body in server.bodies:
        assert (body["stop"], body["reasoning_effort"]) == (["END"], "low")
    assert server.bodies[1]["presence_penalty"] == 0.5


def test_what_an_lm_is_told_and_would_not_reach_the_wire_is_an_error() -> None:
    told = {"api_base": "http://127.0.0.1:9/v1", "api_key": "x"}
    with pytest.raises(DefinitionError, match="parallel_tool_calls"):
        Model(dspy.LM("openai/m", parallel_tool_calls=False, **told))
    with pytest.raises(DefinitionError, match="reasoning effort"):
        Model(dspy.LM("openai/m", reasoning_effort="hard", **told))


async def test_a_key_for_one_place_is_not_sent_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    with ScriptedServer(["hi"]) as server:
        model = Model(ModelSpec(model="openai/m", api_base=server.url))
        await model.generate(ask(model))
        await model.close()
    assert "sk-mine" not in str(dict(server.headers[0]))


def test_unknown_and_wrong_settings_are_errors() -> None:
    with pytest.raises(DefinitionError, match="max_token"):
        ModelSpec.of(model="openai/m", max_token=5)
    with pytest.raises(DefinitionError, match="temperature"):
        ModelSpec.of(model="openai/m", temperature=9)
    with pytest.raises(DefinitionError, match="api_base"):
        ModelSpec.of(model="openai/m", api_base="localhost:8000")
    with pytest.raises(DefinitionError, match="nobody/m"):
        Model("nobody/m")


async def test_a_missing_key_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(DefinitionError, match="OPENAI_API_KEY"):
        await ReAct("question -> answer", lm="openai/gpt-4o-mini").run("?")


async def test_a_missing_key_is_told_in_words_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(DefinitionError) as caught:
        await ReAct("question -> answer", lm="openai/gpt-4o-mini").run("?")
    assert str(caught.value) == (
        "the model openai/gpt-4o-mini can't be used: no key is set; set OPENAI_API_KEY "
        "(or ModelSpec(api_key=...) in code)"
    )


PAGE = (
    "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>" + "<p>nginx</p>" * 100 + "</body></html>"
)


async def test_a_page_of_html_from_a_proxy_is_told_by_its_status_address_and_title() -> None:
    with ScriptedServer([Reply(fault=Fault(404, PAGE))]) as server:
        result = await ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url)).run("?")
    assert result.reason is StopReason.MODEL_ERROR
    assert result.detail == (
        f"the model openai/m gave no answer: {server.url} said HTTP 404: a page of HTML ('502 Bad Gateway')"
    )


async def test_a_refused_key_is_the_users_to_mend_and_says_who_refused_it() -> None:
    refused = pytest.raises(DefinitionError, match="/v1 said HTTP 401: no such key; see that its key")
    with ScriptedServer([Reply(fault=Fault(401, {"error": {"message": "no such key"}}))]) as server, refused:
        await ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url)).run("?")


async def test_transient_failures_are_tried_again() -> None:
    failing = Reply(error=ServerError("overloaded"))
    lm, engine = scripted_lm([failing, failing, Reply("hi")])
    with anyio.fail_after(20):
        result = await ReAct("question -> answer", lm=lm).run("?")
    assert result.outputs == {"answer": "hi"}
    assert len(engine.requests) == 3
    assert result.steps == 1


async def test_a_server_that_keeps_failing_ends_the_run_with_what_it_said() -> None:
    with ScriptedServer([Reply(error=RuntimeError("out of order"))]) as server:
        with anyio.fail_after(20):
            result = await ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url)).run("?")
    assert result.reason is StopReason.MODEL_ERROR
    assert "out of order" in result.detail
    assert len(server.bodies) == 3


async def test_cost_counts_cached_tokens_at_their_own_price() -> None:
    with ScriptedServer([Reply("hi", input_tokens=1000, output_tokens=100, cached_tokens=600)]) as server:
        spec = ModelSpec(model="openai/m", api_base=server.url, price=Price(input=10, output=20, cached=1))
        result = await ReAct("question -> answer", lm=spec).run("?")
    assert result.usage.cached_tokens == 600
    assert result.usage.cost_usd == pytest.approx((400 * 10 + 600 * 1 + 100 * 20) / 1e6)


async def test_a_server_that_reports_no_usage_is_estimated() -> None:
    with ScriptedServer([Reply("hi there", input_tokens=None, output_tokens=None)]) as server:
        result = await ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url)).run("?" * 300)
    assert result.usage.input_tokens >= 100
    assert result.usage.output_tokens >= 2


def test_list_prices_are_known_without_a_network() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from corral.agents.price import known_price\n"
        "assert known_price('openai-chat', 'gpt-4o-mini').input > 0\n"
        "assert known_price('openai-chat', 'no-such-model') is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_dspys_own_path_is_taken_only_where_something_needs_it() -> None:
    bare = dspy.LM("openai/m", api_base="http://127.0.0.1:9/v1", api_key="x", cache=False)
    assert type(engine_for(bare)).__name__ == "_Bare"
    cached = dspy.LM("openai/m", api_base="http://127.0.0.1:9/v1", api_key="x", cache=True)
    assert type(engine_for(cached)).__name__ == "_ThroughDSPy"
    with dspy.track_usage():
        assert type(engine_for(bare)).__name__ == "_ThroughDSPy"


async def test_usage_trackers_and_callbacks_of_dspy_still_see_the_calls() -> None:
    seen: list[object] = []

    class Watch(dspy.utils.callback.BaseCallback):
        def on_lm_end(self, call_id: str, outputs: object, exception: Exception | None = None) -> None:
            seen.append(outputs)

    with ScriptedServer(["hi"]) as server:
        lm = dspy.LM("openai/m", api_base=server.url, api_key="x", cache=False, callbacks=[Watch()])
        with dspy.track_usage() as tracker:
            result = await ReAct("question -> answer", lm=lm).run("?")
    assert result.outputs == {"answer": "hi"}
    assert seen
    assert tracker.get_total_tokens()["openai/m"]["prompt_tokens"] == 10


async def test_model_errors_say_which_model() -> None:
    model = Model(ModelSpec(model="openai/m", api_base="http://127.0.0.1:9/v1"))
    with pytest.raises(ModelError, match="openai/m gave no answer"):
        await model.generate(ask(model))
    await model.close()


def test_litellm_and_openai_are_not_imported_by_a_run() -> None:
    code = (
        "import sys\n"
        "from corral.agents import ModelSpec, ReAct\n"
        "from corral.agents.testing import ScriptedServer\n"
        "with ScriptedServer(['hi']) as server:\n"
        "    agent = ReAct('question -> answer', lm=ModelSpec(model='openai/m', api_base=server.url))\n"
        "    assert agent.run_sync('?').ok\n"
        "assert not {'litellm', 'openai'} & set(sys.modules), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_a_key_that_a_server_quotes_when_it_refuses_it_is_told_to_nobody(tmp_path: Path) -> None:
    key = "key-of-mine-1234567"
    refusal = Reply(fault=Fault(401, {"error": {"message": f"Incorrect API key provided: {key}"}}))
    with ScriptedServer([refusal]) as server, Journal(tmp_path / "runs.sqlite3") as journal:
        spec = ModelSpec(model="openai/m", api_base=server.url, api_key=SecretStr(key))
        with pytest.raises(DefinitionError, match="Incorrect API key provided") as refused:
            await ReAct("question -> answer", lm=spec, journal=journal).run("?")
        (run,) = journal.runs()
        kept = json.dumps(list(journal.events(run["run_id"])))
    assert key not in str(refused.value)
    assert "Incorrect API key provided" in kept
    assert key not in kept
