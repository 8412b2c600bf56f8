"""Running a cell, and what its code may reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from corral.agents.effects.passage import ONE_CALL, Passage
from corral.agents.hooks.around import Around
from corral.agents.steps import AT_STEP
from corral.policy import Admission, Label, Spend
from corral.sandbox import Network

if TYPE_CHECKING:
    from corral.sandbox import Execution, Host, Sandbox, SandboxProvider

__all__ = ["CellEffects"]

_FROM_CODE = replace(Label.user(), sources=frozenset(("code:python",)))


class CellEffects:
    """Runs cells for one run."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage

    async def execute(
        self,
        sandbox: Sandbox,
        code: str,
        timeout: float,
        host: Host,
        step: str = "",
        *,
        variables: Mapping[str, Any] | None = None,
        again: bool = False,
    ) -> Execution:
        """Run a cell. It is a scope and no step: what it calls are steps of their own.

        Args:
            step: The cell's name, under which a person's answer is kept.
            variables: Names that are bound before it runs, JSON.
            again: It ended in an earlier process, and was paid for.

        Raises:
            Denied: The policy or a person refused.
            BudgetExceeded: No call is left.
            SandboxError: The sandbox failed.
        """
        passage = self._passage
        if passage.around is not None and passage.around.hooks.wants("before_cell"):
            code = await self._hooked(passage.around, code, step, again)

        async def effect(admission: Admission) -> Execution:
            admission.claim("code:python", "execute", {"code": code})
            return await sandbox.execute(code, variables, timeout=timeout, host=host)

        AT_STEP.set(step)
        return await passage.gate.perform(
            passage.action("code:python", "execute", {"code": code}), effect, reserve=Spend() if again else ONE_CALL
        )

    @property
    def from_code(self) -> Label:
        """The label of what a cell gives: it may come from anything that went in, and from any host that it reaches."""
        return self._passage.seen.join(_FROM_CODE if self.network() is None else Label.untrusted("code:python"))

    def printed(self, text: str) -> None:
        """Note that the model is about to read what a cell printed."""
        self._passage.provenance.observe("code:python", text, self.from_code)

    def network(self, provider: SandboxProvider | None = None) -> Network | None:
        """What code may reach: each connection passes the gate; None where the policy, or `provider`, opens no host."""
        if provider is not None and not provider.opens_network:
            return None
        return Network.of(self._passage.gate, self._passage.principal, self._passage.user)

    def charge_calls(self, number: int) -> None:
        """Pay for a cell that an earlier process ran, and for what it called."""
        self._passage.charge(Spend(tool_calls=number))

    async def _hooked(self, around: Around, code: str, step: str, again: bool) -> str:
        """The code that hooks leave; what they changed is recorded, as the cell may be run again for its names."""
        passage = self._passage
        name = f"hook/{step}"
        if (kept := passage.steps.recorded(name)) is not None:
            return str(kept["code"])
        if again:
            return code
        action = passage.action("code:python", "execute", {"code": code})
        with passage.calling(name, ""):
            changed = await around.before_cell(action, step, code)
        if changed != code and step:
            await passage.steps.record(name, {"code": changed})
        return changed
