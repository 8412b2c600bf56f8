"""A hook: methods that are asked before and after what a run does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from corral.policy import Label

__all__ = ["CellView", "Decision", "Hook", "ModelView", "Replace", "RunView", "ToolView", "Veto"]


@dataclass(frozen=True, slots=True)
class Veto:
    """It must not happen, or must not be seen; the model and the person are told why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replace:
    """Let it be this instead; of the type that the method names. What is to happen is judged as it was replaced."""

    value: Any
    reason: str = ""


Decision = Veto | Replace | None


@dataclass(frozen=True, slots=True)
class RunView:
    """The run that a hook is asked about.

    Attributes:
        agents: The agents that had it delegated, first to last; the last one is the run's own.
    """

    run_id: str
    agents: tuple[str, ...]
    user: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """A request to a model.

    Attributes:
        texts: The conversation as text, a role and what was said.
    """

    model: str
    step: int
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ToolView:
    """A call of a tool.

    Attributes:
        arguments: A copy; changing it changes nothing.
        label: Of all that the model had read when it made the call.
    """

    tool: str
    resource: str
    arguments: Mapping[str, Any]
    label: Label


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell of code, "cell/3"."""

    cell: str
    code: str


class Hook:
    """Override what you want to be asked. Each method may be async or not, has 10 s, and returns a `Veto`, a `Replace`
    or None.

    A hook that fails, is late or returns anything else is taken for a veto, and said; one with `fail_open` is then left
    out instead. Several are asked in order, each about what those before it have left. When a run is resumed, they are
    not asked about what it has recorded.
    """

    name: str = ""
    """How events and denials name it; by default the class."""
    fail_open: ClassVar[bool] = False
    """Whether the run goes on when this hook fails: only for such as look on."""

    def before_run(self, run: RunView, inputs: Mapping[str, Any]) -> Any:
        """Replace: the inputs by name, all of them. A veto ends the run."""
        return None

    def after_run(self, run: RunView, outputs: Mapping[str, Any]) -> Any:
        """Replace: the outputs by name, all of them. A veto withholds them."""
        return None

    def before_model(self, run: RunView, system: str, request: ModelView) -> Any:
        """Replace: the system prompt. A veto ends the run."""
        return None

    def after_model(self, run: RunView, text: str, request: ModelView) -> Any:
        """Replace: what the model said beside its calls. A veto ends the run."""
        return None

    def before_tool(self, run: RunView, arguments: Mapping[str, Any], call: ToolView) -> Any:
        """Replace: the arguments. A veto denies the call; the model is told."""
        return None

    def after_tool(self, run: RunView, text: str, call: ToolView) -> Any:
        """Replace: the result's text, which then is all of it. A veto withholds it."""
        return None

    def before_cell(self, run: RunView, code: str, cell: CellView) -> Any:
        """Replace: the code. A veto denies it; the model is told."""
        return None

    def after_cell(self, run: RunView, text: str, cell: CellView) -> Any:
        """Replace: what the model sees of it. A veto withholds that."""
        return None
