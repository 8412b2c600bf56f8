"""The `provenance` section of a policy: what a file may say, and what becomes of several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from corral.policy import Layers, Manifest, Policy, PolicyFileError, Tracing

Write = Callable[[str, str], Path]


def test_a_policy_that_says_nothing_leaves_arguments_to_its_rules() -> None:
    assert Policy().provenance.underived == "off"
    assert {name: Policy.preset(name).provenance.underived for name in ("unattended", "paranoid")} == {
        "unattended": "deny",
        "paranoid": "deny",
    }


def test_a_file_names_manifests_that_come_with_corral_or_stand_beside_it(write: Write) -> None:
    write("own.toml", '[tools.send]\neffect = "send"\narguments = { to = "target" }\n')
    path = write(
        "p.yaml",
        "provenance:\n  underived: deny\n  directory: ['@corp.example']\n  manifests: {mail: mail, own: own.toml}\n",
    )
    policy = Policy.load(path)
    assert policy.provenance.manifests["mail"] == Manifest.builtin("mail")
    assert policy.provenance.start().manifests.of("tool:own/send") is not None
    before = policy.fingerprint
    write("own.toml", '[tools.send]\neffect = "read"\n')
    assert Policy.load(path).fingerprint != before  # what was agreed to under another manifest is asked again


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("provenance: {underived: perhaps}", "underived"),
        ("provenance: {undrived: deny}", "unknown key provenance.undrived"),
        ("provenance: {manifests: {mail: nail}}", "there is no built-in manifest 'nail'"),
        ("provenance: {manifests: {mail: missing.toml}}", "the file can't be read"),
        ("repeats: 0", "repeats"),
    ],
)
def test_a_wrong_section_is_refused(write: Write, text: str, problem: str) -> None:
    with pytest.raises(PolicyFileError, match=problem):
        Policy.load(write("p.yaml", text))


def test_a_manifest_file_is_named_in_a_policy_file_only() -> None:
    with pytest.raises(ValidationError, match="a manifest file is named in a policy file only"):
        Tracing.model_validate({"manifests": {"own": "own.toml"}})


def test_includes_add_up_and_the_stricter_holds(write: Write) -> None:
    write(
        "base.yaml", "repeats: 3\nprovenance: {underived: ask, untraced: deny, directory: [ann], manifests: {m: mail}}"
    )
    both = Policy.load(write("p.yaml", "include: [base.yaml]\nrepeats: 9\nprovenance: {directory: [bob]}"))
    assert both.repeats == 3
    assert both.provenance.model_dump(exclude={"manifests", "lexical_plan"}) == {
        "underived": "ask",
        "untraced": "deny",
        "plan": None,
        "own_plan": False,
        "directory": ["bob", "ann"],
    }
    write("other.yaml", "provenance: {manifests: {m: git}}")
    with pytest.raises(PolicyFileError, match="two files have a manifest for 'm'"):
        Policy.load(write("q.yaml", "include: [base.yaml, other.yaml]"))


def test_a_layer_adds_strictness_and_no_trust() -> None:
    first = Policy(provenance=Tracing(underived="ask", directory=["ann"]), repeats=5)
    second = Policy(provenance=Tracing(underived="deny", directory=["eve"], lexical_plan=True), default="inherit")
    layers = Layers(first, second)
    assert layers.provenance == Tracing(underived="deny", directory=["ann"], lexical_plan=True)
    assert layers.repeats == 5
