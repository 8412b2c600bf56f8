"""Tool calls and cells, each folded to a line, and opened when somebody wants to see all of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from corral.apps.chat import diffs
from corral.apps.chat.paper import Paper
from corral.apps.terminal import printable
from corral.policy import CellFinished, CellOutput, CellStarted, Event, Integrity, Label, ToolCalled, ToolReturned

__all__ = ["Fold", "Folds", "arguments_of"]

_STYLES = {"ok": "ok", "error": "bad", "denied": "ask", "limit": "ask", "unknown": "ask", "cancelled": "dim"}


@dataclass
class Fold:
    """One call or cell.

    Attributes:
        outcome: None while it runs; then as in `ToolReturned`.
        calls: What a cell's code called.
    """

    number: int
    name: str
    arguments: Mapping[str, Any]
    code: str | None = None
    sandbox: str = ""
    outcome: str | None = None
    content: str = ""
    label: Label | None = None
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    calls: list[Fold] = field(default_factory=list["Fold"])

    def line(self, width: int) -> Text:
        """What it is and what came of it, on one line."""
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("● " if self.outcome else "◌ ", _STYLES.get(self.outcome or "", "call"))
        text.append(f"{self.number} " if self.number else "", "dim")
        head = _one_line(f"{self.name} {self.code}" if self.code is not None else f"{self.name}({_brief(self)})")
        came = _one_line(self.content) if self.outcome else f"{time.monotonic() - self.started:.0f} s"
        if self.outcome not in (None, "ok"):
            came = f"{self.outcome}: {came}"
        elif self.calls:
            came = f"{len(self.calls)} {'call' if len(self.calls) == 1 else 'calls'}, {came}"
        room = max(width - len(text) - 3, 10)
        text.append(_cut(head, max(room - len(came), room * 6 // 10)), "call")
        text.append(" → " if self.outcome else "   ", "dim")
        text.append(_cut(came, max(width - len(text) - 1, 4)), "dim" if self.outcome in (None, "ok") else "bad")
        return text

    def opened(self, paper: Paper) -> RenderableType:
        """All of it."""
        parts: list[RenderableType] = [paper.text(f"{self.number}  {self.name}  {self._about()}", "call")]
        if self.code is not None:
            parts.append(paper.code(self.code))
        else:
            parts.append(arguments_of(self.arguments, paper))
        parts += [Text("  ") + call.line(paper.width - 2) for call in self.calls]
        if self.content:
            parts.append(Text("→", "dim"))
            parts.append(_content(self.content, paper))
        return Group(*parts)

    def _about(self) -> str:
        label = ""
        if self.label is not None and self.label.integrity is not Integrity.USER:
            label = f", {self.label.integrity.name.lower()}"
        where = f"in {self.sandbox}, " if self.sandbox else ""
        return f"({where}{self.outcome or 'running'}, {self.seconds:.2f} s{label})"


class Folds:
    """All calls and cells of a chat, numbered from 1."""

    def __init__(self) -> None:
        self.all: list[Fold] = []
        self._open: dict[str, Fold] = {}

    @property
    def running(self) -> list[Fold]:
        """Those that have not ended, calls of cells left out."""
        return [fold for fold in self._open.values() if fold.number]

    def end_all(self) -> list[Fold]:
        """The run is over: what still runs was cancelled."""
        ended = self.running
        for fold in ended:
            fold.outcome = "cancelled"
        self._open.clear()
        return ended

    def get(self, number: int | None) -> Fold | None:
        """One by its number, or the newest."""
        if number is None:
            return self.all[-1] if self.all else None
        return self.all[number - 1] if 0 < number <= len(self.all) else None

    def hear(self, event: Event) -> Fold | None:
        """Take in an event; the fold that ended with it, if it is to be shown."""
        match event:
            case ToolCalled():
                fold = Fold(0, event.tool, event.arguments)
                inside = self._open.get(f"{event.run_id}/{event.cell}") if event.cell else None
                self._begin(f"{event.run_id}/{event.call_id}", fold, inside)
            case ToolReturned():
                return self._end(f"{event.run_id}/{event.call_id}", event.outcome, event.seconds, event)
            case CellStarted():
                fold = Fold(0, "python", {}, code=event.code, sandbox=event.sandbox.partition(" ")[0])
                self._begin(f"{event.run_id}/{event.cell}", fold, None)
            case CellOutput():
                if (cell := self._open.get(f"{event.run_id}/{event.cell}")) is not None:
                    cell.content = event.text
            case CellFinished():
                return self._end(f"{event.run_id}/{event.cell}", "error" if event.error else "ok", event.seconds, None)
            case _:
                pass
        return None

    def recall(self, event: Mapping[str, Any]) -> None:
        """Take in an event of the journal, of a run that goes on now."""
        own = {name: value for name, value in event.items() if name != "type"}
        match event["type"]:
            case "ToolCalled":
                self.hear(ToolCalled(**own))
            case "CellStarted":
                self.hear(CellStarted(**own))
            case "ToolReturned":
                self._end(f"{event['run_id']}/{event['call_id']}", event["outcome"], event["seconds"], None)
            case "CellFinished":
                self._end(f"{event['run_id']}/{event['cell']}", "ok", event["seconds"], None)
            case _:
                pass

    def _begin(self, key: str, fold: Fold, inside: Fold | None) -> None:
        if key in self._open:
            return
        if inside is None:
            self.all.append(fold)
            fold.number = len(self.all)
        else:
            inside.calls.append(fold)
        self._open[key] = fold

    def _end(self, key: str, outcome: str, seconds: float, returned: ToolReturned | None) -> Fold | None:
        fold = self._open.pop(key, None)
        if fold is None:
            return None
        fold.outcome, fold.seconds = outcome, seconds
        if returned is not None:
            fold.content, fold.label = returned.content, returned.label
        return fold if fold.number else None


def arguments_of(arguments: Mapping[str, Any], paper: Paper) -> RenderableType:
    """Arguments as a person reads them: code as code, edits as differences, all else as JSON."""
    if set(arguments) == {"code"} and isinstance(arguments["code"], str):
        return paper.code(arguments["code"])
    edit = diffs.Edit.of(arguments)
    if edit is None:
        return _as_json(arguments, paper)
    return Group(*([_as_json(edit.others, paper)] if edit.others else []), diffs.shown(edit.difference))


def _as_json(values: Mapping[str, Any], paper: Paper) -> RenderableType:
    return paper.code(json.dumps(dict(values), ensure_ascii=False, default=str, indent=2), "json")


def _content(text: str, paper: Paper) -> RenderableType:
    if diffs.is_difference(text):
        return diffs.shown(text)
    if text.lstrip()[:1] in ("{", "["):
        try:
            return paper.code(json.dumps(json.loads(text), ensure_ascii=False, indent=2), "json")
        except (ValueError, RecursionError):
            pass
    return paper.text(text)


def _brief(fold: Fold) -> str:
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}" for name, value in fold.arguments.items()
    )


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 1)] + "…"
