"""Agents as files: read with the line of what is wrong, written, and made into code and back."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from corral.agents import (
    AgentFile,
    CodeAct,
    Consolidation,
    DefinitionError,
    FallbackModel,
    ModelSpec,
    ReAct,
    memory_tools,
)
from corral.agents.testing import Call, Reply, ScriptedServer, scripted_lm
from corral.memory import Memory, Scope, SharedStore
from corral.policy import Limits, Policy, SecurityPolicy
from corral.sandbox import MontyProvider
from corral.tools import tool

EVERYTHING = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])

WHOLE = """\
version: 1
name: counter
kind: codeact
signature: "question -> total: int"
instructions: Count with care.
model:
  model: openai/m
  api_base: http://127.0.0.1:9/v1
  temperature: 0.2
tools:
  functions: ["MODULE:add"]
sandbox: monty
policy:
  rules:
    - resource: "*"
      actions: ["*"]
limits:
  steps: 7
cell_timeout: 5
"""


@tool(effect="read")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def written(tmp_path: Path, text: str, name: str = "agent.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


async def test_an_agent_is_made_from_a_file_and_runs(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE.replace("MODULE", __name__))
    lm, engine = scripted_lm([Reply(calls=[Call("python", {"code": "SUBMIT(add(1, 2))"})])])
    result = await AgentFile.load(path).make(tmp_path, lm=lm).run("1 + 2?")
    assert result.outputs == {"total": 3}
    assert str(engine.requests[0].system).startswith("Count with care.")


def test_a_file_goes_through_code_and_back_unchanged(tmp_path: Path) -> None:
    first = AgentFile.load(written(tmp_path, WHOLE.replace("MODULE", __name__)))
    again = AgentFile.of(first.make(tmp_path))
    assert again == first
    again.save(tmp_path / "again.yaml")
    assert AgentFile.load(tmp_path / "again.yaml") == first
    again.save(tmp_path / "again.md")
    assert (tmp_path / "again.md").read_text().endswith("---\nCount with care.\n")
    assert AgentFile.load(tmp_path / "again.md") == first


def test_an_agent_of_code_goes_through_a_file_and_back(tmp_path: Path) -> None:
    models = FallbackModel(["anthropic/claude-sonnet-4-5", ModelSpec(model="openai/gpt-4o-mini", max_tokens=99)])
    agent = ReAct("question -> answer", [add], lm=models, limits=Limits(tokens=1000), name="finder")
    AgentFile.of(agent).save(tmp_path / "agent.yaml")
    made = AgentFile.load(tmp_path / "agent.yaml").make(tmp_path)
    assert AgentFile.of(made) == AgentFile.of(agent)
    assert type(made) is ReAct


def test_markdown_is_front_matter_and_instructions(tmp_path: Path) -> None:
    path = written(tmp_path, "---\nname: poet\nsignature: theme -> poem\n---\n\n# You\n\nWrite verses.\n", "agent.md")
    read = AgentFile.load(path)
    assert (read.name, read.signature, read.instructions) == ("poet", "theme -> poem", "# You\n\nWrite verses.")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("agent.yaml", "name: a\nmodle: x\n", "agent.yaml:2: unknown key modle"),
        ("agent.yaml", "limits:\n  steps: 3\n  stepz: 4\n", "agent.yaml:3: unknown key limits.stepz"),
        ("agent.yaml", "kind: magic\n", "agent.yaml:1: kind"),
        ("agent.yaml", "version: 2\n", "agent.yaml:1: version"),
        ("agent.toml", "name = 'a'\nmodle = 'x'\n", "agent.toml:2: unknown key modle"),
        ("agent.md", "---\nname: a\nmodle: x\n---\nhello\n", "agent.md:3: unknown key modle"),
        ("agent.md", "hello\n", "agent.md:1: an agent in Markdown begins with front matter"),
        ("agent.md", "---\ninstructions: a\n---\nb\n", "instructions stand in the front matter and below it"),
        ("agent.json", "{}", "agent.json: the name must end in"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        AgentFile.load(written(tmp_path, text, name))
    assert said in str(caught.value)


def test_what_no_file_can_name_is_said(tmp_path: Path) -> None:
    def inner(a: int) -> int:
        """Inside."""
        return a

    with pytest.raises(DefinitionError, match="define it in a module"):
        AgentFile.of(ReAct("question -> answer", [inner]))
    lm, _ = scripted_lm(["x"])
    with pytest.raises(DefinitionError, match="ModelSpec"):
        AgentFile.of(ReAct("question -> answer", lm=lm))
    missing = AgentFile.model_validate({"tools": {"functions": ["no.such:thing"]}})
    with pytest.raises(DefinitionError, match=r"no\.such:thing"):
        missing.make(tmp_path)


def test_keys_of_models_are_never_written(tmp_path: Path) -> None:
    spec = ModelSpec.of(model="openai/m", api_key="sk-secret")
    AgentFile.of(ReAct("question -> answer", lm=spec)).save(tmp_path / "agent.yaml")
    AgentFile(model=spec).save(tmp_path / "other.yaml")
    for path in tmp_path.iterdir():
        assert "sk-secret" not in path.read_text()
        assert "api_key" not in path.read_text()


def test_policy_files_are_named_from_the_agents_folder(tmp_path: Path) -> None:
    written(tmp_path, "rules: []\n", "policy.yaml")
    agent = AgentFile.load(written(tmp_path, "policy: policy.yaml\n")).make(tmp_path)
    assert AgentFile.of(agent).policy == Policy()


def test_the_schema_for_editors_accepts_what_is_read_and_nothing_else() -> None:
    import yaml

    schema = AgentFile.json_schema()
    jsonschema.validate(yaml.safe_load(WHOLE), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"modle": "x"}, schema)
    json.dumps(schema)


async def test_a_file_says_where_code_runs_and_which_model_answers(tmp_path: Path) -> None:
    agent = CodeAct("question -> answer", sandbox=MontyProvider(), policy=EVERYTHING)
    assert AgentFile.of(agent).sandbox == "monty"
    with ScriptedServer(["hi"]) as server:
        file = AgentFile(model=ModelSpec(model="openai/m", api_base=server.url))
        assert (await file.make(tmp_path).run("?")).text == "hi"


REMEMBERS = """\
name: keeper
signature: question -> answer
tools:
  memory: [remember, recall]
memory:
  shared:
    provider: qdrant
    config: {path: "${FACTS}"}
  consolidate:
    after: 10
    model: {model: openai/cheap, temperature: 0.1}
    limits: {steps: 1}
"""


async def test_a_file_names_memory_tools_a_shared_store_and_consolidation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    jsonschema.validate(yaml.safe_load(REMEMBERS), AgentFile.json_schema())
    monkeypatch.setenv("FACTS", str(tmp_path / "facts"))
    file = AgentFile.load(written(tmp_path, REMEMBERS))
    lm, engine = scripted_lm([Reply(calls=[Call("remember", {"note": "Bruno is a horse"})]), "noted"])
    async with Memory(tmp_path / "memory", shared=file.shared) as memory:
        agent = file.make(tmp_path, lm=lm, memory=memory, policy=EVERYTHING, user="ada")
        result = await agent.run("?")
        assert (await memory.stats(Scope("ada", "keeper")))["episodes"] == 3
        assert (tmp_path / "facts").is_dir()
        again = AgentFile.of(file.make(tmp_path, memory=memory))
    assert result.ok
    assert [tool.name for tool in engine.requests[0].tools] == ["remember", "recall"]
    assert again == file
    again.save(tmp_path / "again.yaml")
    assert AgentFile.load(tmp_path / "again.yaml") == file
    assert agent.definition().consolidation == Consolidation(
        after=10, model=ModelSpec(model="openai/cheap", temperature=0.1), limits=Limits(steps=1)
    )


async def test_a_memory_that_a_file_does_not_describe_is_refused(tmp_path: Path) -> None:
    file = AgentFile.load(written(tmp_path, REMEMBERS))
    async with Memory(tmp_path / "memory") as memory:
        with pytest.raises(DefinitionError, match="shares facts through qdrant"):
            file.make(tmp_path, memory=memory)
    with pytest.raises(DefinitionError, match=r"names tools of a memory \(remember, recall\)"):
        file.make(tmp_path)


@pytest.mark.parametrize(
    ("config", "named"),
    [({"connection_string": "postgresql://ann:s3cret@db/facts"}, "connection_string"), ({"api_key": "s3cret"}, "api_")],
)
async def test_secrets_of_a_shared_store_are_never_written(tmp_path: Path, config: dict[str, str], named: str) -> None:
    async with Memory(tmp_path / "memory", shared=SharedStore("pgvector", config)) as memory:
        with pytest.raises(DefinitionError, match=named) as refused:
            AgentFile.of(ReAct("question -> answer", memory=memory))
    assert "s3cret" not in str(refused.value)


async def test_tools_over_another_memory_can_not_be_named(tmp_path: Path) -> None:
    async with Memory(tmp_path / "memory") as memory:
        for tools in (memory_tools(memory, Scope("local", "another")), memory_tools(memory, untrusted=True)):
            with pytest.raises(DefinitionError, match="only tools over the agent's own memory"):
                AgentFile.of(ReAct("question -> answer", tools, memory=memory))
        made = AgentFile.of(ReAct("question -> answer", memory_tools(memory), memory=memory))
        assert made.tools.memory == ["remember", "recall", "forget"]
        assert made.memory is True


async def test_members_of_a_team_remember_in_the_memory_of_who_leads_it(tmp_path: Path) -> None:
    written(tmp_path, "name: helper\nmemory: true\ntools: {memory: [recall]}\n", "helper.yaml")
    file = AgentFile.load(written(tmp_path, "memory: true\nteam: {delegate: [helper.yaml]}\n", "lead.yaml"))
    async with Memory(tmp_path / "memory") as memory:
        agent = file.make(tmp_path, memory=memory)
        async with agent:
            assert [tool.name for tool in agent.toolbox.tools] == ["helper"]


def test_a_file_that_would_be_read_as_toml_is_not_written_as_something_else(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"name it \.yaml or \.md"):
        AgentFile.of(ReAct("question -> answer", lm="openai/m")).save(tmp_path / "agent.toml")
    assert not (tmp_path / "agent.toml").exists()
