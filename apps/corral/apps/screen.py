"""The terminal of a chat: what is shown, and what is asked."""

from __future__ import annotations

import json
from typing import Any

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.patch_stdout import patch_stdout

from corral.apps.terminal import printable
from corral.policy import (
    Approval,
    ApprovalRequest,
    Approver,
    BudgetWarned,
    CellFinished,
    CellOutput,
    CellStarted,
    Event,
    Recalled,
    RunFinished,
    TextDelta,
    ToolCalled,
    ToolReturned,
)

__all__ = ["Screen", "TerminalApprover"]


class Screen:
    """A sink that shows a run, and a reader of lines; everything foreign is made printable first."""

    def __init__(self) -> None:
        self._lines: PromptSession[str] = PromptSession()
        self._in_text = False

    async def read(self, prompt: str) -> str:
        """A line that the person types.

        Raises:
            EOFError: Ctrl-D.
            KeyboardInterrupt: Ctrl-C.
        """
        self._end_text()
        with patch_stdout(raw=True):
            return await self._lines.prompt_async(ANSI(click.style(prompt, bold=True)))

    def say(self, text: str, **style: Any) -> None:
        self._end_text()
        click.secho(printable(text), **style)

    def warn(self, text: str) -> None:
        self.say(text, fg="yellow")

    def emit(self, event: Event) -> None:
        """Show one event of a run as a person reads it."""
        match event:
            case TextDelta():
                click.echo(printable(event.text), nl=False)
                self._in_text = not event.text.endswith("\n")
            case ToolCalled():
                self.say(f"{'  ' if event.cell else ''}> {event.tool}({_short(_json(event.arguments))})", fg="cyan")
            case ToolReturned():
                color = "bright_black" if event.outcome == "ok" else "red"
                self.say(f"{'  ' if event.cell else ''}< {_short(event.content)}", fg=color)
            case CellStarted():
                self.say(f"> python in {event.sandbox}", fg="cyan")
                self.say("\n".join(f"  {line}" for line in event.code.splitlines()), fg="bright_black")
            case CellOutput():
                if event.text:
                    self.say("\n".join(f"  {line}" for line in event.text.splitlines()[-20:]))
            case CellFinished():
                self.say(f"< {event.error or 'ok'} after {event.seconds:.2f} s", fg="bright_black")
            case Recalled():
                if event.count:
                    self.say(f"recalled {event.count} from memory", fg="bright_black")
            case BudgetWarned():
                self.warn(f"the limit on {event.limit} is reached")
            case RunFinished():
                self._finish(event)
            case _:
                pass

    def _finish(self, event: RunFinished) -> None:
        if event.reason != "done":
            self.warn(event.detail or event.reason)
        cost = f", ${event.usage.cost_usd:.4f}" if event.usage.cost_usd is not None else ""
        counts = f"{event.steps} steps, {event.tool_calls} calls, {event.usage.tokens} tokens{cost}"
        self.say(f"[{counts}, {event.seconds:.1f} s]", fg="bright_black")

    def _end_text(self) -> None:
        if self._in_text:
            click.echo()
            self._in_text = False


class TerminalApprover:
    """Asks the person at the terminal, where `beforehand` has not agreed already; anything but a yes is a no."""

    def __init__(self, screen: Screen, beforehand: Approver | None = None) -> None:
        self._screen = screen
        self._beforehand = beforehand

    async def decide(self, request: ApprovalRequest) -> Approval:
        if self._beforehand is not None and (agreed := await self._beforehand.decide(request)).granted:
            return agreed
        action = request.action
        self._screen.warn(f"May this happen? {action.verb} {action.resource}")
        self._screen.say(_json(action.arguments, indent=2))
        self._screen.say(request.judgement.reason, fg="bright_black")
        try:
            answer = (await self._screen.read("[y]es, or [n]o and why: ")).strip()
        except (EOFError, KeyboardInterrupt):
            answer = "n"
        granted = answer.lower() in ("y", "yes")
        word, _, rest = answer.partition(" ")
        reason = "" if granted else rest if word.lower() in ("n", "no") else answer
        return Approval(request.digest, granted, "user:local", reason)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(dict(value), ensure_ascii=False, default=str, indent=indent)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:157] + "..."
