"""Errors of the tools room.

ToolError
├── BadArguments       a call's arguments do not fit the tool's schema; written for the model, which may correct them
├── ToolConfigError    what a user or author wrote about tools is wrong; has the place and the problem
├── TokenError         no access token can be had; has the server's name and the problem
└── ToolSourceError    a source (an MCP server) did not start or can't go on; has its name and its last words
"""

from __future__ import annotations

__all__ = ["BadArguments", "TokenError", "ToolConfigError", "ToolError", "ToolSourceError"]


class ToolError(Exception):
    """Base of what this room raises."""


class BadArguments(ToolError):
    """A call's arguments do not fit; each problem names one argument and what was expected of it."""

    def __init__(self, tool: str, problems: tuple[str, ...]) -> None:
        super().__init__(tool, problems)
        self.tool = tool
        self.problems = problems

    def __str__(self) -> str:
        return f"bad arguments for {self.tool}: {'; '.join(self.problems)}"


class ToolConfigError(ToolError):
    """A tool, a toolbox or a file of servers was described in a way that can't be used.

    Args:
        place: What was being read, such as "servers.json: server 'time': args".
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(place, problem)
        self.place = place
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


class TokenError(ToolError):
    """No access token can be had; neither part has a secret in it.

    Args:
        server: Who should have given it, such as "auth.example.org".
        problem: One sentence, without the server's name.
    """

    def __init__(self, server: str, problem: str) -> None:
        super().__init__(server, problem)
        self.server = server
        self.problem = problem

    def __str__(self) -> str:
        return f"no access token from {self.server}: {self.problem}"


class ToolSourceError(ToolError):
    """A source of tools could not be opened; nothing of it is left running.

    Args:
        problem: One sentence, without the source's name.
        stderr: The last lines that a server wrote to its standard error, oldest first.
    """

    def __init__(self, source: str, problem: str, stderr: tuple[str, ...] = ()) -> None:
        super().__init__(source, problem, stderr)
        self.source = source
        self.problem = problem
        self.stderr = stderr

    def __str__(self) -> str:
        words = f"; it last wrote: {' | '.join(self.stderr)}" if self.stderr else ""
        return f"{self.source}: {self.problem}{words}"
