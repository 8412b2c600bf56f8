"""Errors of the agents room.

    AgentError
    ├── DefinitionError   an agent, a model or a limit is defined wrongly; the user must mend it
    ├── ModelError        the model could not be asked; has what its server said
    └── JournalError      the journal can't be opened or written, or was written by a newer version

What a tool or a cell did wrong is told to the model and is no error here. A run that a limit or a denial ended is a
`Result` with its reason.
"""

__all__ = ["AgentError", "DefinitionError", "JournalError", "ModelError"]


class AgentError(Exception):
    """Base of what this room raises."""


class DefinitionError(AgentError):
    """Something about the agent is defined wrongly; the message says what, and what would be right."""


class ModelError(AgentError):
    """The model gave no answer, and trying again would not help or did not."""

    def __init__(self, model: str, problem: str) -> None:
        super().__init__(model, problem)
        self.model = model
        self.problem = problem

    def __str__(self) -> str:
        return f"the model {self.model} gave no answer: {self.problem}"


class JournalError(AgentError):
    """The journal can't be read or written; the message names the file."""
