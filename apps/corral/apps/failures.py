"""Exit statuses, and which known failure ends with which."""

from __future__ import annotations

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
    from corral.agents import AgentError, DefinitionError
    from corral.memory import MemoryFault
    from corral.policy import PolicyError, PolicyFileError
    from corral.sandbox import SandboxError
    from corral.tools import ToolError

    try:
        yield
    except (DefinitionError, PolicyFileError, ToolError) as error:
        raise fail(str(error), Exit.BAD_INPUT) from error
    except BrokenPipeError:
        raise
    except (AgentError, MemoryFault, PolicyError, SandboxError, OSError) as error:
        raise fail(str(error), Exit.ERROR) from error
