"""The effects of a run: the only module here that asks a model, calls a tool, runs a cell or touches memory.

Each passes the gate and is a step. A test reads the source to see that nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dspy.lm15 import Request

from corral.agents.model import GENERATION, Generation, Model
from corral.agents.steps import Codec, Steps, json_codec
from corral.memory import Memory, Receipt, Recollection, Scope, Turn
from corral.policy import Action, Admission, Gate, Integrity, Label, Spend
from corral.sandbox import Execution, Host, Sandbox
from corral.tools import Observation, Tool

__all__ = ["Effects"]

_ONE_CALL = Spend(tool_calls=1)


class Effects:
    """What one run may cause, all of it through one gate.

    Args:
        principal: The agent, as rules name it: "agent:NAME".
        user: On whose behalf, "user:NAME".
    """

    def __init__(self, gate: Gate, steps: Steps, principal: str, user: str) -> None:
        self.gate = gate
        self.steps = steps
        self._principal = principal
        self._user = user
        self.seen = Label.user()
        """The join of everything that the model has read: what it proposes derives from this."""

    def read(self, label: Label) -> None:
        """Note that the model is about to read something with this label."""
        self.seen = self.seen.join(label)

    async def generate(
        self, model: Model, request: Request, step: int, reserve: Spend, on_text: Callable[[str], None] | None
    ) -> Generation:
        """Ask the model.

        Raises:
            Denied: The policy refuses the model.
            BudgetExceeded: There is not so much left.
            ModelError: The model gave no answer.
        """
        resource = model.resource

        async def effect(admission: Admission) -> Generation:
            admission.claim(resource, "generate")
            admission.spent = Spend(steps=reserve.steps)  # an attempt without an answer costs a step and no tokens
            generation = await self.steps.call(
                f"model/{step}", lambda: model.generate(request, on_text=on_text), codec=GENERATION, effect="read"
            )
            usage = generation.usage
            admission.spent = Spend(reserve.steps, 0, usage.tokens, usage.cost_usd or 0.0)
            return generation

        return await self.gate.perform(self._action(resource, "generate"), effect, reserve=reserve)

    async def call(self, tool: Tool, arguments: Mapping[str, Any], step: str) -> Observation:
        """Call a tool with checked arguments.

        Raises:
            Denied: The policy or a person refused.
            BudgetExceeded: No call is left.
        """
        given = dict(arguments)
        action = self._action(tool.resource, "call", given, read_only=tool.read_only)

        async def effect(admission: Admission) -> Observation:
            return await self.steps.call(
                step, lambda: tool.call(given, admission), codec=_OBSERVATION, effect=tool.effect.value
            )

        return await self.gate.perform(action, effect, reserve=_ONE_CALL)

    async def execute(self, sandbox: Sandbox, code: str, timeout: float, host: Host) -> Execution:
        """Run a cell. It is a scope and no step: what it calls are steps of their own.

        Raises:
            Denied: The policy or a person refused.
            BudgetExceeded: No call is left.
            SandboxError: The sandbox failed.
        """

        async def effect(admission: Admission) -> Execution:
            admission.claim("code:python", "execute", {"code": code})
            return await sandbox.execute(code, timeout=timeout, host=host)

        return await self.gate.perform(
            self._action("code:python", "execute", {"code": code}), effect, reserve=_ONE_CALL
        )

    async def recall(self, memory: Memory, query: str, scope: Scope) -> list[Recollection]:
        """What memory knows about `query`.

        Raises:
            Denied: The policy or a person refused.
            MemoryFault: The store can't be used.
        """

        async def effect(admission: Admission) -> list[Recollection]:
            return await self.steps.call(
                "memory/recall",
                lambda: memory.recall(query, scope, admission=admission),
                codec=_RECOLLECTIONS,
                effect="read",
            )

        return await self.gate.perform(memory.action("read", scope, arguments={"query": query}), effect)

    async def remember(self, memory: Memory, turns: Sequence[Turn], scope: Scope) -> Receipt:
        """Keep `turns`.

        Raises:
            Denied: The policy or a person refused.
            MemoryFault: The store can't be used.
        """
        arguments = {"turns": [turn.text for turn in turns]}
        labels = {"turns": Label.join_all(turn.label for turn in turns)}

        async def effect(admission: Admission) -> Receipt:
            return await self.steps.call(
                "memory/remember",
                lambda: memory.remember(turns, scope, admission=admission),
                codec=_RECEIPT,
                effect="once",
            )

        return await self.gate.perform(memory.action("write", scope, arguments=arguments, labels=labels), effect)

    def _action(
        self, resource: str, verb: str, arguments: dict[str, Any] | None = None, *, read_only: bool = False
    ) -> Action:
        given = arguments or {}
        labels = dict.fromkeys(given, self.seen)
        return Action(resource, verb, self._principal, self._user, given, labels, read_only)


def _dump_observation(observation: Observation) -> Any:
    return {
        "text": observation.text,
        "structured": observation.structured,
        "is_error": observation.is_error,
        "source": sorted(observation.label.sources),
        "integrity": observation.label.integrity.name,
    }


def _load_observation(data: Any) -> Observation:
    label = Label(Integrity[data["integrity"]], sources=frozenset(data["source"]))
    return Observation(data["text"], structured=data["structured"], is_error=data["is_error"], label=label)


_OBSERVATION = Codec(_dump_observation, _load_observation)
_RECOLLECTIONS: Codec[list[Recollection]] = json_codec(list[Recollection])
_RECEIPT: Codec[Receipt] = json_codec(Receipt)
