"""Manifests: what tools are said to do with their arguments, and what they return."""

from __future__ import annotations

from typing import Any

import pytest

from corral.policy import (
    EffectClass,
    Manifest,
    Manifests,
    PolicyFileError,
    Role,
)


@pytest.mark.parametrize("name", Manifest.builtin_names())
def test_each_built_in_manifest_reads_and_says_what_it_is_about(name: str) -> None:
    manifest = Manifest.builtin(name)
    assert manifest.about
    assert manifest.tools
    assert all(role in Role for tool in manifest.tools.values() for role in tool.arguments.values())


def test_the_servers_that_people_use_have_a_manifest() -> None:
    names = {"filesystem", "git", "fetch", "memory", "sqlite", "mail", "calendar", "chat", "browser"}
    assert names <= set(Manifest.builtin_names())
    assert Manifests({"web": Manifest.builtin("fetch")}).of("tool:web/fetch").effect is EffectClass.EGRESS_READ  # type: ignore[union-attr]
    with pytest.raises(PolicyFileError, match="no built-in manifest"):
        Manifest.builtin("../secrets")


def test_a_manifest_for_tools_that_are_not_there_says_which() -> None:
    assert Manifest.builtin("fetch").missing({"fetch2"}) == ["fetch"]


@pytest.mark.parametrize(
    "tool",
    [
        {"effect": "destroyy"},
        {"effect": "read", "arguments": {"a": "destination"}},
        {"effect": "read", "output": {"default": "trusted"}},
        {"effect": "read", "floors": {"a": "user"}},
        {"effect": "read", "colour": "red"},
        {},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tool: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tools"):
        Manifest.model_validate({"tools": {"t": tool}})
