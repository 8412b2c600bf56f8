"""Teams, skills, guards and plugins as agent files name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.agents import AgentFile, DefinitionError, Hook, Length, ReAct, StopReason, lock_skills
from corral.agents.testing import Call, Reply, scripted_lm

BOSS = """
name: boss
signature: question -> answer
model: scripted/model
team:
  delegate: [team/helper.yaml]
  hand_off: [team/desk.md]
skills: [skills]
skills_lock: skills.lock
agents_md: .
guards:
  input:
    - {kind: length, most: 40}
  output:
    - {kind: redact}
    - {kind: pattern, pattern: secret, means: a secret, then: redact}
"""


@pytest.fixture
def boss(tmp_path: Path) -> Path:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "helper.yaml").write_text("name: helper\nsignature: question -> answer\n")
    (tmp_path / "team" / "desk.md").write_text("---\nname: desk\nsignature: question -> answer\n---\nBe kind.\n")
    (tmp_path / "skills" / "hay").mkdir(parents=True)
    (tmp_path / "skills" / "hay" / "SKILL.md").write_text("---\nname: hay\ndescription: Hay.\n---\nDry it.\n")
    lock_skills(tmp_path / "skills", tmp_path / "skills.lock")
    (tmp_path / "AGENTS.md").write_text("Four spaces.")
    path = tmp_path / "boss.yaml"
    path.write_text(BOSS)
    return path


async def test_a_file_names_a_team_with_skills_and_guards(boss: Path) -> None:
    replies = [
        Reply(calls=[Call("helper", {"question": "help"}), Call("read_skill", {"skill": "hay"})]),
        "I help.",
        "Ask ann@farm.example, it is a secret.",
    ]
    lm, engine = scripted_lm(replies)  # the helper's file names no model, so it has this one
    agent = AgentFile.load(boss).make(boss.parent, lm=lm)
    async with agent:
        assert [tool.resource for tool in agent.toolbox.tools] == [
            "agent:helper",
            "agent:desk",
            "tool:skills/read_skill",
        ]
    result = await agent.run("Help?")
    assert result.outputs == {"answer": "Ask [mail], it is a [removed]."}
    assert "Four spaces." in str(engine.requests[0].system)
    assert "Dry it." in str(result.messages)
    assert (await agent.run("x" * 41)).reason is StopReason.DENIED


def test_files_that_name_each_other_in_a_circle_are_said(boss: Path) -> None:
    helper = boss.parent / "team" / "helper.yaml"
    helper.write_text("name: helper\nteam: {delegate: [../boss.yaml]}\n")
    boss.write_text(boss.read_text().replace("model: scripted/model\n", ""))
    with pytest.raises(DefinitionError, match=r"in a circle: helper\.yaml > boss\.yaml > helper\.yaml"):
        AgentFile.load(boss).make(boss.parent, lm=scripted_lm(["x"])[0])


@pytest.mark.parametrize(
    ("guard", "why"),
    [
        ("{kind: length}", "missing 1 required"),
        ("{kind: length, most: 5, pattern: x}", "takes no pattern"),
        ("{kind: redact, most: 5}", "takes no most"),
        ("{kind: schema, schema: {type: 3}}", "no JSON Schema"),
    ],
)
def test_a_guard_that_takes_something_else_is_said(guard: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(f"guards:\n  output:\n    - {guard}\n")
    with pytest.raises(DefinitionError, match=why):
        AgentFile.load(path).make(tmp_path)


def test_an_unknown_kind_of_guard_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("guards:\n  output:\n    - {kind: magic}\n")
    with pytest.raises(DefinitionError, match=r"agent\.yaml:3"):
        AgentFile.load(path)
    path.write_text("plugins: [nope]\n")
    with pytest.raises(DefinitionError, match="no plugin 'nope'"):
        AgentFile.load(path).make(tmp_path)


def test_what_was_made_in_code_is_not_left_out_of_a_file_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "SKILL.md").write_text("---\nname: hay\n---\n")
    written = AgentFile.of(ReAct("q -> a", skills=[tmp_path]))
    assert written.skills == [str(tmp_path)]
    for agent in (ReAct("q -> a", output_guards=[Length(5)]), ReAct("q -> a", plugins=[Hook()])):
        with pytest.raises(DefinitionError, match="can't be named in a file"):
            AgentFile.of(agent)
