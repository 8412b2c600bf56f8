"""Errors of the agents room.

    AgentError
    ├── DefinitionError       an agent, a model or a limit is defined wrongly; the user must mend it
    │   └── AgentChanged      a run can't be resumed by an agent that is made otherwise; has what changed
    ├── ModelError            the model could not be asked; has what its server said
    │   ├── ContextOverflow   the prompt is longer than the model's context window; has the window, if it was said
    │   ├── ToolsUnsupported  the model or its server takes no function calls
    │   └── CallsUnreadable   the model's function calls can't be read, again and again
    ├── JournalError          the journal can't be opened or written, or was written by a newer version
    ├── UnknownOutcome        a call that must not be repeated was cut off, and nobody knows what it did
    └── ReplayDiverged        a resumed run can't go on, because it does something else than it did before

What a tool or a cell did wrong is told to the model and is no error here. A run that a limit or a denial ended is a
`Result` with its reason.
"""

__all__ = [
    "AgentChanged",
    "AgentError",
    "CallsUnreadable",
    "ContextOverflow",
    "DefinitionError",
    "JournalError",
    "ModelError",
    "ReplayDiverged",
    "ToolsUnsupported",
    "UnknownOutcome",
]


class AgentError(Exception):
    """Base of what this room raises."""


class DefinitionError(AgentError):
    """Something about the agent is defined wrongly; the message says what, and what would be right."""


class AgentChanged(DefinitionError):
    """A run can't be resumed by this agent: recorded steps need what it was made of when they were taken.

    Attributes:
        changes: What is no more as it was, a sentence each.
        step: The last step that does not need any of it, 0 for none: a fork there can be resumed. None where none can.
    """

    def __init__(self, run_id: str, agent: str, changes: tuple[str, ...], step: int | None = None) -> None:
        super().__init__(run_id, agent, changes, step)
        self.run_id = run_id
        self.agent = agent
        self.changes = changes
        self.step = step

    def __str__(self) -> str:
        fork = "" if self.step is None else f", or resume a fork of the run at step {self.step}"
        return (
            f"the run {self.run_id} can't go on with the agent {self.agent!r} as it is now: "
            f"{'; '.join(self.changes)}. Make it as it was{fork}"
        )


class ModelError(AgentError):
    """The model gave no answer, and trying again would not help or did not.

    Attributes:
        transient: Whether another model, or this one much later, may well answer the same request.
    """

    def __init__(self, model: str, problem: str, transient: bool = False) -> None:
        super().__init__(model, problem, transient)
        self.model = model
        self.problem = problem
        self.transient = transient

    def __str__(self) -> str:
        return f"the model {self.model} gave no answer: {self.problem}"


class ContextOverflow(ModelError):
    """The prompt, or the prompt and the longest answer, is more than the model takes.

    Attributes:
        window: Tokens that the model takes, where its server said so.
    """

    def __init__(self, model: str, problem: str, window: int | None = None) -> None:
        super().__init__(model, problem)
        self.args = (model, problem, window)
        self.window = window


class ToolsUnsupported(ModelError):
    """The model, or its server as it was started, takes no function calls."""


class CallsUnreadable(ModelError):
    """Each attempt came back with a function call that nobody can read, such as one without a name."""


class JournalError(AgentError):
    """The journal can't be read or written; the message names the file."""


class UnknownOutcome(AgentError):
    """A step that must not run twice was begun by an earlier process, which left no result."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step

    def __str__(self) -> str:
        return (
            "the run was interrupted during this call, and whether it happened is not known; it was not made again. "
            "Find out before you try again"
        )


class ReplayDiverged(AgentError):
    """A cell went another way when a resumed run ran it again, so what it defined can't be had back."""

    def __init__(self, cell: str, how: str) -> None:
        super().__init__(cell, how)
        self.cell = cell
        self.how = how

    def __str__(self) -> str:
        return f"the run can't be resumed here: {self.cell} went another way when it was run again: {self.how}"
