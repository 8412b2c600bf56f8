"""A bench for tools and sandbox: what a person calls by hand, through the same gate as an agent's calls."""

from __future__ import annotations

import uuid
from types import TracebackType
from typing import Any, Self

from corral.agents.cells import Cells
from corral.agents.effects import Effects
from corral.agents.steps import InlineSteps
from corral.agents.toolcalls import Outcome, ToolCalls
from corral.apps.assembly import tell_progress
from corral.memory import Memory, Scope
from corral.policy import Approver, Audit, Budget, Denied, Emitter, Gate, Grants, Label, Policy
from corral.sandbox import AutoProvider, SandboxProvider
from corral.tools import BadArguments, Tool, Toolbox

__all__ = ["Bench"]

MOST_CHARS = 20_000


class Bench:
    """Calls a tool, or runs code in a session that keeps its names, until it is left.

    Args:
        audit: Where it is written down; nowhere by default.
        provider: Where code runs, closed by whoever made it; by default the strongest there is.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        policy: Policy,
        approver: Approver | None,
        memory: Memory | None = None,
        *,
        audit: Audit | None = None,
        grants: Grants | None = None,
        provider: SandboxProvider | None = None,
    ) -> None:
        run_id = uuid.uuid4().hex
        emitter = Emitter(run_id, ())
        self.gate = Gate(policy, Budget(), approver=approver, audit=audit, emitter=emitter, grants=grants)
        effects = Effects(self.gate, InlineSteps(run_id), "agent:bench", "user:local")
        self.toolbox = toolbox
        self._memory = memory
        self._effects = effects
        self._auto = AutoProvider(build=tell_progress)
        self._provider: SandboxProvider = provider or self._auto
        self._calls = ToolCalls(toolbox, effects, emitter, MOST_CHARS)
        self._cells = Cells(
            self._provider,
            toolbox,
            self._calls,
            effects,
            emitter,
            outputs=(),
            variables={},
            timeout=60.0,
            most_chars=MOST_CHARS,
        )
        self._made = 0

    async def call(self, name: str, arguments: Any) -> Outcome:
        """Call a tool; what came of it."""
        self._made += 1
        return await self._calls.make(name, arguments, f"bench/{self._made}", f"bench/{self._made}")

    async def use(self, tool: Tool, arguments: Any) -> Outcome:
        """Call a tool that models are not offered, such as a prompt; what came of it."""
        self._made += 1
        try:
            observation = await self._effects.tools.call(tool, tool.check(arguments), f"bench/{self._made}")
        except (BadArguments, Denied) as error:
            return Outcome("denied" if isinstance(error, Denied) else "error", str(error), Label.user())
        return Outcome("error" if observation.is_error else "ok", observation.text, observation.label)

    async def code(self, source: str) -> tuple[str, bool]:
        """Run code in the sandbox, where the tools are functions."""
        outcome = await self._cells.run({"code": source})
        return outcome.text, outcome.is_error

    async def recall(self, query: str) -> list[str]:
        """What the agent's memory finds, a line each; nothing without a memory.

        Raises:
            Denied: The policy refuses to read it.
            MemoryFault: The store can't be used.
        """
        if self._memory is None:
            return []
        found = await self._effects.memory.recall(self._memory, query, Scope())
        return [f"{one.actor}: {one.text}  ({one.why})" for one in found]

    @property
    def sandbox(self) -> str:
        """The sandbox's name, "auto" as long as it was not needed."""
        return self._provider.name

    @property
    def sandbox_reason(self) -> str:
        """Why that one, where it was chosen for what works here."""
        return getattr(self._provider, "reason", "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._cells.close()
        await self._auto.close()
