"""A task as a DSPy module: what agents and teams of them have in common for those who run them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from corral.agents.door import run_in_background
from corral.agents.errors import DefinitionError
from corral.agents.result import Result
from corral.agents.signature import TaskSignature
from corral.agents.start import Start

__all__ = ["TaskModule"]


class TaskModule(dspy.Module):
    """Runs a task from typed inputs to a result. How, `start` says, and how DSPy sees it, `aforward`."""

    @property
    def signature(self) -> TaskSignature:
        """The task's inputs and outputs."""
        raise NotImplementedError

    async def start(self, task: Any, inputs: Mapping[str, Any], start: Start) -> Result:
        """`run`, with what a session, a stream or a caller adds to it."""
        raise NotImplementedError

    async def run(self, task: Any = None, /, **inputs: Any) -> Result:
        """Run the task to its end.

        Args:
            task: The input, where there is only one; otherwise give inputs by name.

        Returns:
            Whatever it came to: limits, denials and a silent model end a run with a reason, not with an exception.

        Raises:
            DefinitionError: The inputs don't fit, or there is no model.
        """
        return await self.start(task, inputs, Start())

    def run_sync(self, task: Any = None, /, **inputs: Any) -> Result:
        """`run`, for code that is not async."""
        return run_in_background(lambda: self.run(task, **inputs))

    def forward(self, **inputs: Any) -> dspy.Prediction:
        return run_in_background(lambda: self.aforward(**inputs))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The outputs as DSPy sees them; None for each when there was no answer."""
        raise NotImplementedError

    def bind(self, task: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs by name, checked.

        Raises:
            DefinitionError: They don't fit.
        """
        signature = self.signature
        if task is None:
            return signature.bind(inputs)
        if len(signature.inputs) != 1 or inputs:
            raise DefinitionError(f"it takes its inputs by name: {', '.join(signature.inputs)}")
        (name,) = signature.inputs
        return signature.bind({name: task})
