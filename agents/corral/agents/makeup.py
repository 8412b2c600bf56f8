"""Makeup: what the agent of a run was made of when the run began, so that a resume can tell what has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

from corral.agents.errors import AgentChanged, DefinitionError

if TYPE_CHECKING:  # records tell what a run used; DSPy is not needed to look at them
    from corral.agents.kit import Kit
    from corral.agents.records import RunRecord
    from corral.agents.signature import TaskSignature

__all__ = ["Makeup", "Used", "bind_again"]


@dataclass(frozen=True)
class Used:
    """What a run has recorded so far that its agent must still be made for.

    Attributes:
        answered: Whether the model has answered at all.
        tools: By name, the step in which a tool was called first that was there.
        named: By name, the step in which one was called first that may not have been there.
        code: The step in which code ran first, if it did.
    """

    answered: bool = False
    tools: Mapping[str, int] = field(default_factory=dict[str, int])
    named: Mapping[str, int] = field(default_factory=dict[str, int])
    code: int | None = None


@dataclass(frozen=True)
class Makeup:
    """What a recorded run depends on: policy and limits are no part of it, they may be others each time.

    Attributes:
        signature: Fields and types, as people write them.
        outputs: A hash of the outputs' types without what is said of them.
        instructions: A hash.
        sandbox: Where code runs; None where none does.
        tools: Hashes of their definitions, by name.
    """

    signature: str
    outputs: str
    instructions: str
    sandbox: str | None
    tools: Mapping[str, str]

    @classmethod
    def of(cls, signature: TaskSignature, instructions: str, kit: Kit) -> Makeup:
        """The makeup of an agent whose kit is open."""
        return cls(
            signature=signature.written,
            outputs=_digest(json.dumps(_bare(signature.schema), sort_keys=True)),
            instructions=_digest(instructions),
            sandbox=kit.sandbox.name if kit.runs_code else None,
            tools={tool.name: tool.schema_hash[:12] for tool in kit.toolbox.tools},
        )

    @classmethod
    def from_json(cls, data: Any) -> Makeup | None:
        """What `to_json` made; None where nothing is known."""
        return cls(**cast("dict[str, Any]", data)) if isinstance(data, dict) else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def changes(self, before: Makeup) -> tuple[str, ...]:
        """What is no more as it was before."""
        return tuple(self._changes(before))

    def missing(self, before: Makeup | None, used: Used) -> tuple[list[str], int]:
        """What is not there, or not as it was, of what recorded steps needed; and the first of these steps.

        Args:
            before: What the run began with; None where nobody wrote it down.
        """
        known = used.tools if before is None else {**used.tools, **_only(used.named, before.tools)}
        missing = {name: step for name, step in known.items() if name not in self.tools}
        wrong = [f"it has no tool {name!r}, which was called in step {step}" for name, step in missing.items()]
        steps = list(missing.values())
        if used.code is not None and self.sandbox is None:
            wrong.append(f"it runs no code, which it did in step {used.code}")
            steps.append(used.code)
        if before is not None and used.answered and (change := self._other_signature(before)):
            wrong.insert(0, change)
            steps.append(1)
        return wrong, min(steps, default=1)

    def _other_signature(self, before: Makeup) -> str:
        if self.signature != before.signature:
            return f"its signature was {before.signature!r} and is {self.signature!r}"
        if self.outputs != before.outputs:
            return f"the types of its outputs in {self.signature!r} are not what they were"
        return ""

    def _changes(self, before: Makeup) -> list[str]:
        changes = [change] if (change := self._other_signature(before)) else []
        if self.instructions != before.instructions:
            changes.append("its instructions are others")
        if self.sandbox != before.sandbox:
            changes.append(f"code runs {_where(self.sandbox)}, and ran {_where(before.sandbox)}")
        for what, names in (
            ("new tools", [name for name in self.tools if name not in before.tools]),
            ("tools that are gone, and were never called", [name for name in before.tools if name not in self.tools]),
            (
                "tools that are defined otherwise",
                [name for name, said in self.tools.items() if before.tools.get(name, said) != said],
            ),
        ):
            if names:
                changes.append(f"{what}: {', '.join(names)}")
        return changes


def bind_again(signature: TaskSignature, record: RunRecord) -> dict[str, Any]:
    """The recorded inputs of a run, as `signature` takes them.

    Raises:
        AgentChanged: It doesn't.
    """
    try:
        return signature.bind(record.inputs)
    except DefinitionError as error:
        why = f"its signature {signature.written!r} does not fit the inputs: {error}"
        raise AgentChanged(record.run_id, record.agent, (why,)) from None


def _only(named: Mapping[str, int], known: Mapping[str, str]) -> dict[str, int]:
    return {name: step for name, step in named.items() if name in known}


def _where(sandbox: str | None) -> str:
    return "nowhere" if sandbox is None else f"in {sandbox}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _bare(schema: Any, *, names: bool = False) -> Any:
    """A JSON Schema without what is only said for a reader; in an object of `names`, every key is one."""
    if isinstance(schema, list):
        return [_bare(one) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _bare(value, names=key in ("properties", "$defs") and not names)
        for key, value in cast("dict[str, Any]", schema).items()
        if names or key not in ("description", "title", "examples")
    }
