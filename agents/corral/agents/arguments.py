"""What an agent is given, checked and made ready: what can't be used is said at once, not in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

import corral.memory
import corral.tools
from corral.agents.delegation import delegate
from corral.agents.errors import DefinitionError
from corral.agents.fallback import FallbackModel
from corral.agents.guards import Guard
from corral.agents.hooks import Hook
from corral.agents.member import Member
from corral.agents.model import Model
from corral.agents.skills import Skills
from corral.policy import Layers, Limits, Policy, Redactor
from corral.tools import Artifacts, Tool, Toolbox, ToolSource

if TYPE_CHECKING:
    from corral.tools import MCPServer

__all__ = ["MAX_OFFERED", "check_arguments", "redactor_of", "toolbox_of", "with_an_end"]

MAX_OFFERED = 30
"""With more tools than these, a model is offered a few, and one to search the others."""

_DEFAULTS = {"steps": 30, "depth": 4}
"""For agents whose limits name none: enough for most tasks, and an end for those that go round in circles."""

_GUARDS = "a list of guards of corral.agents.guards, such as Length(500)"


def _all_are(given: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str) and all(map(fits, cast("Iterable[Any]", given)))


def _is_tool(given: Any) -> bool:
    return isinstance(given, Tool | ToolSource | Member) or callable(given)


def _is_server(given: Any) -> bool:
    return isinstance(given, corral.tools.MCPServer)


def _has_skills(given: Any) -> bool:
    return isinstance(given, str | Path) or _is_server(given)


def _is_guard(given: Any) -> bool:
    return isinstance(given, Guard)


_NEEDED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "policy": (
        lambda given: isinstance(given, Policy | Layers),
        "a Policy, such as Policy.load('policy.yaml')",
    ),
    "limits": (lambda given: isinstance(given, Limits), "Limits, such as Limits(steps=5)"),
    "memory": (lambda given: isinstance(given, corral.memory.Memory), "a Memory, such as Memory(Path('memory'))"),
    "approver": (
        lambda given: callable(getattr(given, "decide", None)),
        "an object with `async def decide(self, request: ApprovalRequest) -> Approval`",
    ),
    "tools": (
        lambda given: isinstance(given, Toolbox) or _all_are(given, _is_tool),
        "a list of functions, tools, agents and sources such as MCPServer(...), or a Toolbox",
    ),
    "skills": (
        lambda given: isinstance(given, Skills) or _all_are(given, _has_skills),
        "a list of folders and MCP servers, or Skills(...)",
    ),
    "input_guards": (lambda given: _all_are(given, _is_guard), _GUARDS),
    "output_guards": (lambda given: _all_are(given, _is_guard), _GUARDS),
    "plugins": (
        lambda given: _all_are(given, lambda one: isinstance(one, str | Hook)),
        "a list of Hooks and of names that installed packages offer",
    ),
    "sinks": (
        lambda given: _all_are(given, lambda one: callable(getattr(one, "emit", None))),
        "a list of objects with `def emit(self, event: Event) -> None`",
    ),
    "untrusted_inputs": (
        lambda given: _all_are(given, lambda one: isinstance(one, str)),
        "a list of names of inputs",
    ),
}


def check_arguments(**given: Any) -> None:
    """Refuse what can't be what it is given as.

    Raises:
        DefinitionError: The message names the argument and what it takes.
    """
    for name, value in given.items():
        fits, wanted = _NEEDED[name]
        if value is not None and not fits(value):
            raise DefinitionError(f"{name}={value!r}: it takes {wanted}")


def toolbox_of(
    tools: Toolbox | Sequence[ToolSource | Tool | Callable[..., Any]],
    artifacts: Artifacts | None,
    skills: Skills | Sequence[str | Path | MCPServer] = (),
) -> Toolbox:
    """One toolbox of what was given as tools, and the skills.

    Raises:
        DefinitionError: It is ready, and `artifacts` or skills would have to be put in.
    """
    if isinstance(tools, Toolbox):
        if artifacts is not None:
            raise DefinitionError("a ready toolbox takes its own artifacts: Toolbox(..., artifacts=...)")
        if skills:
            raise DefinitionError("a ready toolbox takes the skills as one of its sources: Toolbox(..., Skills(...))")
        return tools
    sources: list[Any] = [delegate(tool) if isinstance(tool, Member) else tool for tool in tools]
    if skills:
        sources.append(skills if isinstance(skills, Skills) else Skills(*skills))
    with_artifacts = sources if artifacts is None else [*sources, artifacts]
    return Toolbox(*with_artifacts, max_offered=MAX_OFFERED)


def with_an_end(limits: Limits) -> Limits:
    """The limits, with a number of steps and of levels of agents where they name none."""
    missing = {name: most for name, most in _DEFAULTS.items() if name not in limits.model_fields_set}
    return limits.model_copy(update=missing)


_SHORTEST_KEY = 8
"""Characters of a model's key that is one: local servers take "none" and the like."""


def redactor_of(policy: Policy | Layers, model: Model | None, secrets: Sequence[str | SecretStr]) -> Redactor:
    """What takes out what the policy says, the secrets, and the keys of the model.

    Raises:
        DefinitionError: A secret is too short to be looked for.
    """
    given = [secret.get_secret_value() if isinstance(secret, SecretStr) else secret for secret in secrets]
    models = model.models if isinstance(model, FallbackModel) else (model,)
    specs = [one.spec for one in models if one is not None and one.spec is not None]
    keys = [spec.api_key.get_secret_value() for spec in specs if spec.api_key is not None]
    try:
        return Redactor(
            [*given, *(key for key in keys if len(key) >= _SHORTEST_KEY)],
            looks=policy.redact != "off",
            personal=policy.redact == "personal",
        )
    except ValueError as error:
        raise DefinitionError(f"secrets=: {error}") from None
