"""Exit statuses, and which known failure ends with which."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum

import click

__all__ = ["Exit", "explained", "fail"]


class Exit(IntEnum):
    """How a command ended; documented in `corral --help`."""

    DONE = 0
    ERROR = 1
    BAD_INPUT = 2
    DENIED = 3
    LIMIT = 4
    INTERRUPTED = 130


def fail(problem: str, status: Exit) -> click.exceptions.Exit:
    """Say `problem` on stderr; raise what is returned."""
    click.echo(f"corral: {problem}", err=True)
    return click.exceptions.Exit(status)


@contextmanager
def explained() -> Generator[None]:
    """Turn the rooms' errors into one sentence and an exit status.

    What the user has to mend is bad input; what the world did is an error. Bugs of ours pass, with their traceback.
    """
    try:
        yield
    except (BrokenPipeError, click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:  # looked at below: what is not one of the rooms' passes on
        status = _status_of(error)
        if status is None:
            raise
        raise fail(str(error), status) from error


def _status_of(error: Exception) -> Exit | None:
    # Imported only now, and not at all where no agent was made: DSPy alone takes half a second.
    from corral.memory import MemoryFault
    from corral.policy import PolicyError, PolicyFileError
    from corral.sandbox import SandboxError
    from corral.tools import ToolError

    bad_input: tuple[type[Exception], ...] = (PolicyFileError, ToolError)
    failures: tuple[type[Exception], ...] = (MemoryFault, PolicyError, SandboxError, OSError)
    if "corral.agents" in sys.modules:
        from corral.agents import AgentError, DefinitionError

        bad_input, failures = (*bad_input, DefinitionError), (*failures, AgentError)
    if isinstance(error, bad_input):
        return Exit.BAD_INPUT
    return Exit.ERROR if isinstance(error, failures) else None
