"""Task files: a task in YAML or TOML with its inputs, what is expected of its outputs, and what it may spend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from corral.agents import AgentFile, DefinitionError
from corral.apps.check import Check
from corral.policy import Limits, PolicyFileError
from corral.policy.files import read

__all__ = ["Step", "TaskFile"]

RUN_FACTS = ("run.reason", "run.steps", "run.tool_calls", "run.tokens", "run.cost_usd", "run.seconds")
"""What may be expected of a run beside its outputs."""


class Step(BaseModel):
    """One turn of a scripted task.

    Attributes:
        task: What the agent is asked; `${name}` stands for an input or for what an earlier step saved.
        save: A name for this turn's output, or for all of them where there are several.
        expect: Of its outputs, by name; or of `run.steps` and its like.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str = Field(min_length=1)
    save: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")
    expect: dict[str, Check] = {}


class TaskFile(BaseModel):
    """What a task file says; an unknown key is an error with its line.

    There is one `task`, or `steps`, which are turns of one conversation; with neither, the inputs are the agent's own.

    Attributes:
        agent: An agent file, named from this file's folder, or the agent itself; by default the flags say it.
        inputs: Values by name, which the command line or a line of a batch may replace.
        expect: Of the last outputs and what steps saved, by name; or of `run.steps` and its like, over all steps.
        limits: What all of it may spend together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    agent: str | AgentFile | None = None
    inputs: dict[str, Any] = {}
    task: str | None = None
    steps: list[Step] = []
    expect: dict[str, Check] = {}
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _is_consistent(self) -> TaskFile:
        if self.task is not None and self.steps:
            raise ValueError("give a task or steps, not both")
        known = set(self.inputs)
        for step in self.turns:
            names = Template(step.task)
            if not names.is_valid():
                raise ValueError(f"{step.task!r}: a $ stands for itself as $$, and for an input as ${{name}}")
            if unknown := [name for name in names.get_identifiers() if name not in known]:
                raise ValueError(f"${{{unknown[0]}}} is no input, and no earlier step saves it")
            known |= {step.save} if step.save else set()
        for name in (name for expect in (self.expect, *(step.expect for step in self.steps)) for name in expect):
            if name.startswith("run.") and name not in RUN_FACTS:
                raise ValueError(f"{name}: of a run there are {', '.join(RUN_FACTS)}")
        return self

    @property
    def turns(self) -> tuple[Step, ...]:
        """What the agent is asked, one after the other; nothing where it takes the inputs as they are."""
        return (Step(task=self.task),) if self.task is not None else tuple(self.steps)

    @classmethod
    def load(cls, path: Path) -> TaskFile:
        """Read a task from a .yaml, .yml or .toml file.

        Raises:
            DefinitionError: It can't be read, or something in it is unknown or wrong; the message has file and line.
        """
        try:
            return read(path, cls)
        except PolicyFileError as error:
            where = f"{path}:{error.line}" if error.line else str(path)
            raise DefinitionError(f"{where}: {error.problem}") from None

    def with_inputs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs, some of them replaced.

        Raises:
            DefinitionError: The task has no such input.
        """
        if unknown := [name for name in given if name not in self.inputs]:
            known = ", ".join(self.inputs) or "none"
            raise DefinitionError(f"the task has no input {unknown[0]!r}; it has {known}")
        return {**self.inputs, **given}

    def agent_file(self, folder: Path) -> AgentFile | None:
        """The agent that it names; None if flags say what the agent is."""
        return AgentFile.load(folder / self.agent) if isinstance(self.agent, str) else self.agent
