"""How the demo looks: a transcript that a person likes to read."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

from corral.apps.terminal import printable
from corral.policy import (
    Approval,
    ApprovalRequest,
    CellOutput,
    CellStarted,
    Event,
    Recalled,
    Remembered,
    RunFinished,
    TextDelta,
    ToolCalled,
    ToolReturned,
)

__all__ = ["Narrator"]


class Narrator:
    """A sink that tells what happens, and the demo's person, who says yes to what asks."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._syntax = Syntax("", "python", theme="ansi_dark", background_color="default")
        self._text = ""

    def act(self, title: str) -> None:
        self._console.print()
        self._console.print(Rule(Text(title, style="bold"), align="left", style="bright_black"))

    def say(self, text: str, style: str = "") -> None:
        self._flush()
        self._console.print(Text(printable(text), style=style))

    def progress(self, line: str) -> None:
        self.say(f"  {line}", "bright_black")

    async def decide(self, request: ApprovalRequest) -> Approval:
        action = request.action
        self.say(f"  ? may it {action.verb} {action.resource} with {_json(action.arguments)}", "yellow")
        self.say(f"    {request.judgement.reason}", "bright_black")
        self.say("    yes  (the demo answers for you; in your own runs a person does)", "yellow")
        return Approval(request.digest, True, "user:demo", "")

    def emit(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._text += event.text
            case ToolCalled():
                inside = "    " if event.cell else "  "
                self.say(f"{inside}> {event.tool}({_json(event.arguments)})", "cyan")
            case ToolReturned():
                self._returned(event)
            case CellStarted():
                self.say(f"  > python in the sandbox {event.sandbox}", "cyan")
                for line in self._syntax.highlight(printable(event.code)).split():
                    self._console.print(Text("    ").append_text(line))
            case CellOutput():
                self.say("\n".join(f"  < {line}" for line in event.text.splitlines()), "green")
            case Recalled():
                self.say(f"  recalled from memory: {event.count}", "magenta")
            case Remembered():
                self.say(f"  remembered: {event.count}", "magenta")
            case RunFinished():
                self._flush()
                self.say(
                    f"  = {event.outputs}  ({event.steps} steps, {event.tool_calls} calls)".replace(
                        "(1 steps", "(1 step"
                    ),
                    "bold",
                )
            case _:
                pass

    def _returned(self, event: ToolReturned) -> None:
        inside = "    " if event.cell else "  "
        if event.outcome == "ok":
            self.say(f"{inside}< {_short(event.content)}", "green")
        else:
            self.say(f"{inside}x {_short(event.content)}", "bold red")

    def _flush(self) -> None:
        if self._text.strip():
            text, self._text = self._text, ""
            self._console.print(Text(f"  {printable(text.strip())}", style="italic"))
        self._text = ""


def _json(value: Any) -> str:
    return json.dumps(dict(value), ensure_ascii=False, default=str)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:197] + "..."
