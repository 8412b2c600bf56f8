"""Assembly: one run of an agent put together, from the gate that judges it to the loop that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corral.agents.acting import Acting
from corral.agents.border import Border
from corral.agents.cells import Cells
from corral.agents.collaborators import Collaborators
from corral.agents.effects import Effects
from corral.agents.ending import Progress
from corral.agents.errors import DefinitionError
from corral.agents.files import file_outputs, files_in
from corral.agents.guards import Refused
from corral.agents.hooks import Hooks, RunView
from corral.agents.life import Life
from corral.agents.loop import Loop, Task
from corral.agents.media import as_json, media_in, without_files
from corral.agents.model import Model
from corral.agents.planning import Planning
from corral.agents.prompt import SUBMIT, Actions, Offer, make_offer
from corral.agents.quoting import unquote
from corral.agents.remembering import Remembering
from corral.agents.signature import TaskSignature, as_text
from corral.agents.toolcalls import ToolCalls
from corral.agents.variables import shown_beside, variables_of
from corral.memory import Scope
from corral.policy import Budget, Gate, Label, Mode, Provenance, Repeats, Usage

__all__ = ["Assembly", "Role"]


@dataclass(frozen=True)
class Role:
    """What an agent is to its model at the start of a run; an optimiser may have changed it since the last.

    Attributes:
        demos: Examples, values by field name.
        actions: What the model is offered to act with.
    """

    signature: TaskSignature
    instructions: str
    demos: Sequence[Mapping[str, Any]]
    actions: Actions


class Assembly:
    """The parts of one run, made once and joined.

    Attributes:
        effects: The run's only way to cause anything.
        calls: Its tool calls, whoever makes them.
        border: What may enter it, and what may leave it.
    """

    def __init__(self, life: Life) -> None:
        given = self._given = life.terms.given
        self._life = life
        provenance = given.policy.provenance.start(life.traces)
        gate = _gate(given, life, provenance)
        caller = life.caller(gate)
        principal, user = f"agent:{given.name}", f"user:{given.user}"
        hooks = Hooks(given.hooks, RunView(life.run_id, caller.principals, given.user), life.emitter)
        self.effects = Effects(
            gate, life.steps, principal, user, provenance, caller=caller, hooks=hooks, redactor=given.redactor
        )
        self.border = Border(given.input_guards, given.output_guards, hooks, self.effects, life.emitter)
        self.calls = ToolCalls(given.kit.toolbox, self.effects, life.emitter, given.observation_chars, given.artifacts)

    def tell_caller(self, usage: Usage, unknown: Sequence[str]) -> None:
        """What the run has cost and left open, told to the run that it works for."""
        caller = self._life.terms.caller
        if caller is not None:
            named = tuple(f"{self._given.name}/{step}" for step in unknown)
            caller.below.add(usage, self.effects.gate.budget.spent, named)

    async def enter(self, inputs: Mapping[str, Any], signature: TaskSignature) -> tuple[dict[str, Any], Refused | None]:
        """The inputs that the run may have, and why it may not have them."""
        try:
            given = await self.border.enter(inputs)
            given = given if given == inputs else signature.bind(given)
        except Refused as error:
            return dict(inputs), error
        except DefinitionError as error:
            return dict(inputs), Refused("input", f"what guards and hooks have left of it does not fit: {error}")
        if given != inputs:
            self._life.inputs.clear()
            self._life.inputs.update(as_json(given))
        return given, None

    def introduce(self, role: Role, inputs: Mapping[str, Any]) -> Label:
        """Note whose text the run starts from: its instructions are the program's, its inputs the user's, except what
        is said or marked to be somebody else's, or what another agent wrote.

        Returns:
            The label of the task as a whole.
        """
        provenance = self.effects.provenance
        provenance.system(role.instructions)
        if (guidance := self._given.guidance) is not None:
            provenance.observe(guidance.source, guidance.text, guidance.label)
        if self._life.terms.caller is not None:
            return provenance.seen
        label = Label.user()
        for name, value in inputs.items():
            own, others = unquote(as_text(value))
            if name in self._given.untrusted_inputs:
                own, others = "", [as_text(value)]
            provenance.user(own)
            source = f"input:{name}"
            for text in others:
                label = label.join(provenance.observe(source, text, Label.untrusted(source)))
        return label

    def loop(self, model: Model, role: Role, inputs: Mapping[str, Any], refused: Refused | None = None) -> Loop:
        """The loop over all of them; await its `run` once.

        Args:
            refused: Why the run may not have its inputs: then it ends at once.
        """
        given, effects, life = self._given, self.effects, self._life
        label = self.introduce(role, inputs)
        progress = Progress(role.signature)
        variables = self._variables(role, inputs)
        acting = Acting(given.kit.toolbox, self.calls, self._cells(role, inputs, variables), effects, progress)
        start = life.start
        scope = Scope(given.user, given.name, start.session_id, life.run_id)
        media, code = media_in(inputs), bool(role.actions & Actions.CODE)
        shown, note = shown_beside(inputs, variables, files_in(inputs) if code else ())
        text = "\n\n".join(filter(None, (role.signature.render(shown), note)))
        remembering = Remembering(given.memory, text, label, scope, effects, life.emitter)
        media = without_files(media) if code else media
        planning = self._planning(model, role, inputs)
        task = Task(remembering, start.messages, life.heard, start.stream_text, refused, media, planning)
        return Loop(
            lambda native: self._offer(role, native), model, effects, life.emitter, acting, progress, task, self.border
        )

    def _planning(self, model: Model, role: Role, inputs: Mapping[str, Any]) -> Planning | None:
        given, terms = self._given, self._life.terms
        if not given.policy.provenance.own_plan or terms.mode is Mode.PLAN:
            return None  # in plan mode nothing with effects happens anyway
        own = [unquote(as_text(value))[0] for name, value in inputs.items() if name not in given.untrusted_inputs]
        # What another agent hands over is no user's text: below a run, the plan is made of what the user said above.
        task = "\n\n".join(own) if terms.caller is None else None
        tools = given.kit.toolbox.tools
        return Planning(model, self.effects, self._life.emitter, role.instructions, task, tools)

    def _variables(self, role: Role, inputs: Mapping[str, Any]) -> dict[str, Any]:
        if not role.actions & Actions.CODE:
            return {}
        return variables_of(inputs, {SUBMIT.upper(), *(tool.name for tool in self._given.kit.toolbox.tools)})

    def _cells(self, role: Role, inputs: Mapping[str, Any], variables: Mapping[str, Any]) -> Cells | None:
        given = self._given
        if not role.actions & Actions.CODE:
            return None
        return Cells(
            given.kit.sandbox,
            given.kit.toolbox,
            self.calls,
            self.effects,
            self._life.emitter,
            outputs=tuple(role.signature.outputs),
            variables=variables,
            files=files_in(inputs),
            file_outputs=file_outputs(role.signature),
            timeout=given.cell_timeout,
            most_chars=given.observation_chars,
        )

    def _offer(self, role: Role, native: bool) -> Offer:
        kit = self._given.kit
        sandbox = kit.sandbox if role.actions & Actions.CODE else None
        network = self.effects.cells.network(sandbox)
        tools = kit.toolbox.offered_to(self.calls.found)
        instructions = self.border.instructions(role.instructions)
        if (guidance := self._given.guidance) is not None:
            instructions = f"{instructions}\n\n{guidance.prompt}"
        return make_offer(instructions, role.signature, native, tools, sandbox, role.actions, network)


def _gate(given: Collaborators, life: Life, provenance: Provenance) -> Gate:
    limits, before, repeats = given.limits, life.seconds, given.policy.repeats
    if given.budget is None:
        budget = Budget(limits, seconds_spent=before)
    else:
        budget = given.budget.child(limits, seconds_spent=before)
    return Gate(
        given.policy,
        budget,
        approver=life.approver(given.approver),
        audit=given.audit,
        emitter=life.emitter,
        guards=[provenance],
        mode=life.terms.mode,
        grants=given.grants,
        session_id=life.session_id,
        throttles=(*given.throttles, *([] if repeats is None else [Repeats(repeats, max(50, 10 * repeats))])),
    )
