"""Whether what an agent is given is what it needs: wrong things are said at once, and not in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from corral.agents.errors import DefinitionError
from corral.memory import Memory
from corral.policy import Limits, Policy

__all__ = ["check_collaborators"]

_NEEDED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "policy": (lambda given: isinstance(given, Policy), "a Policy, such as Policy.load('policy.yaml')"),
    "limits": (lambda given: isinstance(given, Limits), "Limits, such as Limits(steps=5)"),
    "memory": (lambda given: isinstance(given, Memory), "a Memory, such as Memory(Path('memory'))"),
    "approver": (
        lambda given: callable(getattr(given, "decide", None)),
        "an object with `async def decide(self, request: ApprovalRequest) -> Approval`",
    ),
    "tools": (
        lambda given: isinstance(given, Iterable) and not isinstance(given, str),
        "a list of tools, or a Toolbox",
    ),
}


def check_collaborators(**given: Any) -> None:
    """Refuse what can't be what it is given as.

    Raises:
        DefinitionError: The message names the argument and what it takes.
    """
    for name, value in given.items():
        fits, wanted = _NEEDED[name]
        if value is not None and not fits(value):
            raise DefinitionError(f"{name}={value!r}: it takes {wanted}")
