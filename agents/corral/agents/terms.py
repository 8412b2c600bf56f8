"""Terms: on what a run starts, for itself or for the run that had it delegated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

from corral.agents.caller import POOL, Caller
from corral.agents.collaborators import Collaborators, throttles_of
from corral.agents.errors import DefinitionError
from corral.agents.nested import NestedSteps
from corral.agents.rights import Layer, Rights
from corral.agents.start import Start
from corral.policy import Layers, Mode, Policy, Sink

__all__ = ["Terms"]


@dataclass(frozen=True)
class Terms:
    """What a run is made of, and for whom it works.

    Attributes:
        caller: The run that had it delegated; None is nobody.
    """

    given: Collaborators
    start: Start
    mode: Mode
    caller: Caller | None = None

    @classmethod
    def own(cls, given: Collaborators, start: Start, mode: Mode) -> Self:
        """Of a run that works for no other: with the budget of this context, if there is one.

        Raises:
            DefinitionError: The agent has a budget that this one does not spend from.
        """
        pool = POOL.get()
        if pool is None or (given.budget is not None and given.budget.is_within(pool)):
            return cls(given, start, mode)
        if given.budget is not None and not pool.is_within(given.budget):
            raise DefinitionError(f"the agent {given.name!r} has a budget of its own; give the budget to its team")
        return cls(replace(given, budget=pool), start, mode)

    @classmethod
    def below(cls, caller: Caller, given: Collaborators, start: Start, mode: Mode, inputs: Mapping[str, Any]) -> Self:
        """Of a run below another: its own tools, model and limits, and else what its caller has.

        Raises:
            DefinitionError: The agent has a budget that the caller does not spend from.
        """
        above, budget = caller.given, POOL.get() or caller.gate.budget
        if given.budget is not None and not budget.is_within(given.budget):
            raise DefinitionError(
                f"the agent {given.name!r} has a budget of its own, and what it does here {caller.name!r} pays; "
                "give the budget to that agent, and limits= to this one"
            )
        unattended = Mode.UNATTENDED in (mode, caller.mode)
        journal, ledger = above.journal or given.journal, above.ledger or given.ledger
        joined = replace(
            given,
            user=above.user,
            policy=_rights(caller, given),
            budget=budget,
            approver=None if unattended else above.approver,
            audit=above.audit,
            grants=above.grants,
            sinks=_once((*above.sinks, *caller.start.sinks, *given.sinks)),
            journal=journal,
            hooks=(*above.hooks, *(hook for hook in given.hooks if hook not in above.hooks)),
            throttles=above.throttles + throttles_of(given.own_policy, ledger),
            ledger=ledger,
            redactor=above.redactor.joined(given.redactor),
        )
        run_id = start.run_id or caller.next_run_id(given.name, inputs)
        resumed = journal.find(run_id) if journal is not None and caller.start.resumed is not None else None
        if resumed is not None:
            start.messages.clear()
        steps = start.steps
        if caller.start.steps is not None and steps is None:
            steps = NestedSteps(caller.steps, run_id)
        start = replace(start, run_id=run_id, resumed=resumed, steps=steps)
        return cls(joined, start, mode.narrowed(caller.mode), caller)


def _rights(caller: Caller, given: Collaborators) -> Rights:
    """What may be done below: as much as above, and no more than the agent's own policy allows, if it has one."""
    policy, name = caller.given.policy, caller.principals[-1]
    layers = policy.layers if isinstance(policy, Rights) else (Layer(cast("Policy | Layers", policy), ()),)
    own = () if given.own_policy is None else (Layer(given.own_policy, ()),)
    return Rights(*(layer.above(name) for layer in layers), *own)


def _once(sinks: tuple[Sink, ...]) -> tuple[Sink, ...]:
    return tuple(sink for place, sink in enumerate(sinks) if not any(sink is before for before in sinks[:place]))
