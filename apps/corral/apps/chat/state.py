"""What a chat is made of: what its commands look at and change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from corral.agents import Model, ModelSpec
from corral.apps.bench import Bench
from corral.apps.chat.approvals import TerminalApprover
from corral.apps.chat.conversation import Conversation
from corral.apps.chat.ledger import Ledger
from corral.apps.chat.modes import ChatMode
from corral.apps.chat.screen import Screen
from corral.apps.chat.status import status_line
from corral.memory import Memory
from corral.policy import Gate, Mode, Policy
from corral.tools import MCPServer, Toolbox

__all__ = ["Chat"]


@dataclass
class Chat:
    """One chat, from start to end.

    Attributes:
        mentions: The gate for `@path`.
        shell: The gate for `!command`.
        base: How the gate takes the policy where the mode is not plan.
        model_named: The definition of a model by its name, with the flags of this chat.
    """

    conversation: Conversation
    approver: TerminalApprover
    screen: Screen
    bench: Bench
    policy: Policy
    toolbox: Toolbox
    servers: Sequence[MCPServer]
    memory: Memory | None
    ledger: Ledger
    mentions: Gate
    shell: Gate
    model_named: Callable[[str], ModelSpec | None]
    policy_named: str
    base: Mode = Mode.ENFORCE
    used_models: list[str] = field(default_factory=list[str])

    @property
    def mode(self) -> ChatMode:
        """What happens to what asks."""
        return self.approver.mode

    @property
    def has_model(self) -> bool:
        return self.conversation.agent.model is not None

    async def begin(self, task: str | list[Any]) -> None:
        """Make a turn of a text as it is, or of a text with pictures; mentions in it are left alone."""
        await self.conversation.session.run(task)

    def take_mode(self, mode: ChatMode) -> None:
        """Change the mode. For what already runs it changes what is agreed to, and the rest with the next turn."""
        self.approver.mode = mode
        gate = Mode.PLAN if mode is ChatMode.PLAN else self.base
        self.conversation.agent.mode = gate
        self.bench.gate.mode = gate
        self.mentions.mode = gate
        self.shell.mode = Mode.PLAN if mode is ChatMode.PLAN else Mode.UNATTENDED
        self.screen.refresh()

    async def use_model(self, definition: ModelSpec) -> None:
        """Let the turns from now on be answered by another model.

        Raises:
            DefinitionError: It can't be used.
        """
        agent = self.conversation.agent
        model, agent.model = agent.model, Model(definition)
        if model is not None:
            await model.close()

    def status(self) -> str:
        """The status line."""
        agent, usage = self.conversation.agent, self.ledger.usage
        model = agent.model.name if agent.model is not None else "no model"
        money = "" if usage.cost_usd is None else f"${usage.cost_usd:.4f}"
        limit = agent.limits.steps
        going_on = self.screen.is_busy
        steps = "" if limit is None else f"{limit - (self.ledger.step if going_on else 0)} steps left"
        mode = f"{self.mode.value}, {self.base.value}" if self.base is not Mode.ENFORCE else self.mode.value
        if not self.base.is_secure:
            mode = f"INSECURE {mode}"
        parts = (
            (1, model),
            (4, f"{usage.tokens} tokens"),
            (3, money),
            (5, steps),
            (2, self.bench.sandbox),
            (0, f"mode {mode}"),
            (6, "Shift-Tab changes it, /help lists all"),
        )
        return status_line(parts, self.screen.paper.width - 1)
