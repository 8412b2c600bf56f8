from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from corral.policy import Action, Policy, PolicyFileError, Verdict

WriteFile = Callable[[str, str], Path]

GOOD = """\
version: 1
default: ask
limits: {steps: 5}
rules:
  - id: reads
    resource: tool:files/read
    actions: [call]
    principals: ["agent:*"]
    conditions: {args.path: {under: /data}}
"""

GOOD_TOML = """\
version = 1
default = "ask"

[limits]
steps = 5

[[rules]]
id = "reads"
resource = "tool:files/read"
actions = ["call"]
principals = ["agent:*"]
conditions = { "args.path" = { under = "/data" } }
"""


@pytest.mark.parametrize(("name", "text"), [("p.yaml", GOOD), ("p.yml", GOOD), ("p.toml", GOOD_TOML)])
def test_yaml_and_toml_say_the_same(write: WriteFile, name: str, text: str) -> None:
    policy = Policy.load(write(name, text))
    read = Action("tool:files/read", "call", arguments={"path": "/data/a"})
    assert policy.judge(read).verdict is Verdict.ALLOW
    assert policy.limits.steps == 5
    assert policy.judge(Action("tool:x/y", "call")).verdict is Verdict.ASK


@pytest.mark.parametrize(
    ("name", "text", "line", "problem"),
    [
        ("p.yaml", GOOD.replace("id:", "idd:"), 5, "unknown key rules.0.idd"),
        ("p.yaml", GOOD.replace("steps", "stepps"), 3, "unknown key limits.stepps"),
        ("p.yaml", GOOD + "colour: red\n", 10, "unknown key colour"),
        ("p.yaml", GOOD.replace("call", "calls"), 5, "can't be done to"),
        ("p.yaml", GOOD.replace("under", "below"), 5, "unknown operator"),
        ("p.yaml", GOOD + "default: deny\n", 10, "'default' stands here twice"),
        ("p.yaml", GOOD.replace("version: 1", "version: 2"), 1, "version"),
        ("p.yaml", GOOD.replace("ask", "allow"), 2, "default"),
        ("p.yaml", "rules: [\n", 2, "this is not YAML"),
        ("p.yaml", "- a\n- b\n", None, "the file"),
        ("p.yaml", "rules: !!python/object/apply:os.getcwd []\n", 1, "this is not YAML"),
        ("p.yaml", "rules: &a [*a]\n", 1, "aliases"),
        ("p.yaml", "rules: " + "[" * 1500 + "]" * 1500, None, "nested too deep"),
        ("p.toml", "a = " + "[" * 1500 + "]" * 1500, None, "nested too deep"),
        ("p.toml", GOOD_TOML.replace("id =", "idd ="), 8, "unknown key rules.0.idd"),
        ("p.toml", GOOD_TOML.replace("steps", "stepps"), 5, "unknown key limits.stepps"),
        ("p.toml", "default = 'ask'\ndefault = 'deny'\n", 2, "this is not TOML"),
        ("p.toml", GOOD_TOML.replace("version = 1", "version = 2"), 1, "version"),
        ("p.toml", "a = \n", 1, "this is not TOML"),
        ("p.json", "{}", None, "must end in"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    write: WriteFile, name: str, text: str, line: int | None, problem: str
) -> None:
    with pytest.raises(PolicyFileError) as caught:
        Policy.load(write(name, text))
    assert problem in str(caught.value)
    assert caught.value.line == line
    assert caught.value.path.name == name


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match="can't be read"):
        Policy.load(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyFileError, match="not UTF-8"):
        Policy.load(tmp_path / "b.yaml")


def test_an_empty_file_denies(write: WriteFile) -> None:
    assert Policy.load(write("p.yaml", "")).judge(Action("tool:x/y", "call")).verdict is Verdict.DENY


def test_included_rules_hold_with_the_strictest_default_and_the_narrowest_limits(write: WriteFile) -> None:
    write("team/base.toml", 'default = "deny"\n[limits]\nsteps = 3\ntokens = 9\n[[rules]]\n'
          'resource = "tool:x/*"\nactions = ["call"]\neffect = "deny"\n')  # fmt: skip
    top = "include: [team/base.toml]\ndefault: ask\nlimits: {steps: 5}\nrules:\n- {resource: '*', actions: ['*']}\n"
    policy = Policy.load(write("p.yaml", top))
    denied = policy.judge(Action("tool:x/y", "call"))
    assert denied.verdict is Verdict.DENY
    assert denied.rule == "base.toml:rules[0]"
    assert (policy.default, policy.limits.steps, policy.limits.tokens) == ("deny", 3, 9)


def test_a_file_included_twice_counts_once(write: WriteFile) -> None:
    write("c.yaml", "rules:\n- {resource: '*', actions: ['*'], id: c}\n")
    write("b.yaml", "include: [c.yaml]\n")
    assert len(Policy.load(write("a.yaml", "include: [b.yaml, c.yaml, ./b.yaml]\n")).rules) == 1


def test_files_that_include_each_other_are_refused(write: WriteFile) -> None:
    write("b.yaml", "include: [a.yaml]\n")
    with pytest.raises(PolicyFileError, match=r"circle: a\.yaml -> b\.yaml -> a\.yaml"):
        Policy.load(write("a.yaml", "include: [b.yaml]\n"))


def test_a_missing_include_and_an_include_in_code_are_refused(write: WriteFile) -> None:
    with pytest.raises(PolicyFileError, match="can't be read"):
        Policy.load(write("a.yaml", "include: [none.yaml]\n"))
    with pytest.raises(ValueError, match=r"only Policy\.load follows include"):
        Policy(include=["a.yaml"])


def test_every_mistake_of_a_file_is_named_unknown_keys_first(write: WriteFile) -> None:
    text = GOOD.replace("ask", "allow").replace("steps", "stepps").replace("resource:", "resorce:")
    with pytest.raises(PolicyFileError) as caught:
        Policy.load(write("p.yaml", text))
    error = caught.value
    assert str(error).endswith("(and 3 more; `corral policy check` names them)")
    assert [line.partition("p.yaml:")[2] for line in error.all] == [
        "3: unknown key limits.stepps; did you mean steps?",
        "6: unknown key rules.0.resorce; did you mean resource?",
        "2: default: Input should be 'ask', 'deny' or 'inherit'",
        "5: rules.0.resource: Field required",
    ]
