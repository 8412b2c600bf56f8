"""The `corral` command: commands are imported when they are called, so that `corral --help` is quick."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import click

__all__ = ["main"]

COMMANDS = {
    "auth": ("corral.apps.auth", "Log in to servers, see the logins, and end them."),
    "audit": ("corral.apps.audit", "Verify, show and export the audit of every effect."),
    "batch": ("corral.apps.batch", "Run many tasks from a file; goes on where it was interrupted."),
    "completion": ("corral.apps.completion", "Complete commands and flags in bash, zsh or fish."),
    "config": ("corral.apps.config", "See what is configured, and where it comes from."),
    "demo": ("corral.apps.demo", "Show the main job in half a minute, with a scripted model."),
    "chat": ("corral.apps.chat", "Talk with an agent, or try tools and sandbox by hand."),
    "doctor": ("corral.apps.doctor", "Say what works on this machine, and what to do about what does not."),
    "init": ("corral.apps.init", "Make a small working project."),
    "mcp": ("corral.apps.mcp", "Serve tools to MCP clients, held by a policy."),
    "memory": ("corral.apps.memory", "See, search, add and forget what agents remember."),
    "policy": ("corral.apps.policy", "Check, explain, test, compare and export policies."),
    "run": ("corral.apps.run", "Run one task and print its answer."),
    "runs": ("corral.apps.runs", "List, show, export, resume, fork, rewind and prune runs."),
    "sandbox": ("corral.apps.sandbox", "Build and look at the sandbox that code runs in."),
    "tools": ("corral.apps.tools", "List and call the tools of MCP servers."),
}
"""Name to module and one line of help; the module has the click command under the same name."""


class _Lazy(click.Group):
    """A group whose commands are known by name before their modules are imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="corral", message="corral %(version)s")
def cli() -> None:
    """Agents that can be let loose because they are held.

    \b
    corral run "What time is it in Zurich?" --model openai/gpt-4o-mini --mcp-config mcp.json
    corral run "Sum the sizes" --kind codeact --model openai/m --api-base http://127.0.0.1:8000/v1
    corral sandbox build
    corral doctor

    Exit status: 0 done, 1 error, 2 bad input, 3 denied, 4 a limit reached, 130 interrupted, 143 terminated.
    """


def _end(number: int, frame: object) -> None:
    """A service manager's way of saying Ctrl-C: what was started is put away."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line; every failure that we know is one sentence on stderr and an exit status."""
    color = False if os.environ.get("NO_COLOR") else None
    signal.signal(signal.SIGTERM, _end)
    try:
        status = cli.main(standalone_mode=False, color=color)
    except click.ClickException as error:
        error.show()
        status = 2
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        # The reader has left. What is still buffered must not raise again when the interpreter flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)
