"""The terminal of a chat: what is printed for good, what is drawn while it goes on, and what is asked."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Mapping

from rich.text import Text

from corral.apps.chat.blocks import Blocks
from corral.apps.chat.folds import Fold, Folds
from corral.apps.chat.keyboard import Keyboard
from corral.apps.chat.paper import Paper
from corral.apps.chat.pictures import Picture, inline
from corral.apps.terminal import consolidated_line, planned_lines, printable
from corral.policy import (
    BudgetWarned,
    CellStarted,
    Compacted,
    Consolidated,
    Event,
    Intervened,
    ModelCalled,
    Planned,
    Recalled,
    ResumeWarned,
    RunFinished,
    RunStarted,
    ServerLogged,
    StepStarted,
    TextDelta,
    ToolCalled,
    ToolProgressed,
)

__all__ = ["Screen"]

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_DRAWN = 60
"""Lines of a growing block that are laid out again with every piece that comes."""
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Screen:
    """A sink that shows runs: text as it arrives, calls and cells as a line each.

    Args:
        pictures: Takes the pictures that came with results since the last time.
    """

    def __init__(
        self,
        paper: Paper,
        pictures: Callable[[], list[Picture]] = list,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.paper = paper
        self.folds = Folds()
        self.keyboard: Keyboard | None = None
        self.queued: list[str] = []
        self.answer = ""
        """What was said last, whole, as it came."""
        self.asking = asyncio.Lock()
        """Held by whoever asks the person, so that there is one question at a time."""
        self.progress = ""
        """What a server told last of a call that goes on."""
        self._pictures = pictures
        self._environ = environ
        self._blocks = Blocks()
        self._said = ""
        self._run = ""
        """The turn that goes on; runs that it hands tasks to are shown by their calls alone."""
        self._busy_since: float | None = None

    def use(self, keyboard: Keyboard) -> None:
        """Print and ask there from now on."""
        self.keyboard = keyboard
        self.paper.out = keyboard.print

    @property
    def is_busy(self) -> bool:
        return self._busy_since is not None

    def busy(self, is_busy: bool) -> None:
        """Something began that takes time, or it ended."""
        self._busy_since = time.monotonic() if is_busy else None
        self.progress = ""
        self.refresh()

    def refresh(self) -> None:
        if self.keyboard is not None:
            self.keyboard.refresh()

    async def ask(self, prompt: str) -> str:
        """What the person answers; never a line that was meant for something else."""
        assert self.keyboard is not None
        self._end_text()
        prompt = printable(prompt.replace("\n", " "))
        answer = _clean(await self.keyboard.answer(prompt))
        if not self.paper.is_plain:
            self.paper.say(f"{prompt}{answer}", "you")
        return answer

    def echo(self, line: str) -> None:
        """A line that the person typed, now that it is taken up."""
        if not self.paper.is_plain:
            self.paper.say(
                "\n".join(("> " if i == 0 else ". ") + part for i, part in enumerate(line.split("\n"))), "you"
            )

    def say(self, text: str, style: str = "") -> None:
        self._end_text()
        self.paper.say(text, style)

    def warn(self, text: str) -> None:
        self.say(text, "ask")

    def emit(self, event: Event) -> None:
        """Show one event of a run as a person reads it."""
        if isinstance(event, RunStarted) and event.parent_run_id is None:
            self._run = event.run_id
        if isinstance(event, Consolidated):
            self.say(consolidated_line(event), "dim")
        elif event.run_id == self._run or isinstance(event, ToolCalled | CellStarted):
            self._show_event(event)
        fold = self.folds.hear(event)
        if fold is not None:
            self.show(fold)
        self.refresh()

    def _show_event(self, event: Event) -> None:
        match event:
            case StepStarted():
                self._said = ""
            case TextDelta():
                self._stream(event.text)
            case ToolCalled() | CellStarted() | ModelCalled():
                self._end_text()
            case Planned():
                line, problem = planned_lines(event)
                self.say(line, "dim")
                if problem:
                    self.warn(problem)
            case Recalled():
                if event.count:
                    self.say(f"recalled {event.count} from memory", "dim")
            case Compacted():
                self.say(f"old steps became a summary: {event.tokens_before} tokens, now {event.tokens_after}", "dim")
            case ToolProgressed():
                share = f"{event.done:g} of {event.total:g}" if event.total else f"{event.done:g}"
                self.progress = f"{event.tool}: {share} {event.message}"
            case ServerLogged():
                if event.level in ("error", "critical", "alert", "emergency"):
                    self.say(f"{event.server} logs: {event.text}", "dim")
            case Intervened():
                self.warn(f"{event.by}, {event.point}: {event.outcome} {event.reason}".rstrip())
            case ResumeWarned():
                self.warn(f"the agent is not as it was: {'; '.join(event.changes)}")
            case BudgetWarned():
                self.warn(f"the limit on {event.limit} is reached")
            case RunFinished():
                self._finish(event)
            case _:
                pass

    def show(self, fold: Fold) -> None:
        """A call or cell that ended, on a line."""
        self._end_text()
        self.paper.put(fold.line(self.paper.width))
        self.show_pictures()

    def show_pictures(self) -> None:
        """The pictures that came since the last time; where the terminal shows none, where they are."""
        for picture in self._pictures():
            self.paper.write(inline(picture, self._environ) or self.paper.render(self.paper.text(str(picture), "dim")))

    def open(self, number: int | None) -> None:
        """Show one call or cell whole, by its number; None is the newest."""
        fold = self.folds.get(number)
        if fold is None:
            self.warn(f"there is no {number}; calls and cells are numbered as they come" if number else "nothing yet")
        else:
            self._end_text()
            self.paper.put(fold.opened(self.paper))

    def above(self) -> str:
        """What is drawn above the line: the end of an answer that is still growing, and what runs."""
        width = self.paper.width - 1
        lines: list[str] = []
        if self._blocks.growing.strip():
            grown = (
                self.paper.render(self.paper.markdown(self._blocks.end(_DRAWN)), width=width).strip("\n").split("\n")
            )
            lines += grown[-max(self.paper.height // 2, 3) :]
        lines += [self.paper.render(fold.line(width), width=width).rstrip("\n") for fold in self.folds.running[-8:]]
        if self._busy_since is not None:
            lines.append(self.paper.render(self._spinner(self._busy_since), width=width).rstrip("\n"))
        lines += [self.paper.render(self._waiting(line, width), width=width).rstrip("\n") for line in self.queued[-3:]]
        return "".join(f"{line}\n" for line in lines)

    def _spinner(self, since: float) -> Text:
        seconds = time.monotonic() - since
        told = f"  {' '.join(printable(self.progress).split())}" if self.progress else ""
        frame = _SPINNER[int(seconds * 8) % len(_SPINNER)]
        return Text(f"{frame} {seconds:.0f} s, Ctrl-C stops it{told}", "dim", no_wrap=True, overflow="ellipsis")

    def _waiting(self, line: str, width: int) -> Text:
        return Text(printable(f"next: {' '.join(line.split())}")[:width], "dim")

    def _stream(self, text: str) -> None:
        self._said += text
        self.answer = self._said
        if self.paper.is_plain:
            self.paper.write(printable(text))
            self._blocks.growing = "" if text.endswith("\n") else "…"
            return
        for block in self._blocks.feed(text):
            self.paper.write(self._rendered(block) + "\n")

    def _end_text(self) -> None:
        rest = self._blocks.flush()
        if self.paper.is_plain:
            self.paper.write("\n" if rest else "")
        elif rest.strip():
            self.paper.write(self._rendered(rest))

    def _rendered(self, block: str) -> str:
        """A block of Markdown without the empty lines that some kinds of block bring with them."""
        lines = self.paper.render(self.paper.markdown(block)).split("\n")
        seen = [number for number, line in enumerate(lines) if _STYLE.sub("", line).strip()]
        return "".join(f"{line}\n" for line in lines[seen[0] : seen[-1] + 1]) if seen else ""

    def _finish(self, event: RunFinished) -> None:
        self._end_text()
        for fold in self.folds.end_all():
            self.show(fold)
        self._show_outputs(event)
        if event.reason not in ("done", "cancelled"):
            self.warn(event.detail or f"the turn ended: {event.reason}")
        cost = f", ${event.usage.cost_usd:.4f}" if event.usage.cost_usd is not None else ""
        steps, calls = _counted(event.steps, "step"), _counted(event.tool_calls, "call")
        counts = f"{steps}, {calls}, {event.usage.tokens} tokens{cost}"
        self.say(f"[{counts}, {event.seconds:.1f} s]", "dim")

    def _show_outputs(self, event: RunFinished) -> None:
        """The answer, where it was not said but handed over."""
        if not event.outputs:
            return
        values = list(event.outputs.values())
        if len(values) == 1 and isinstance(values[0], str):
            if values[0].strip() not in self._said:
                self.answer = values[0]
                self.paper.put(self.paper.markdown(values[0]))
        elif (written := json.dumps(dict(event.outputs), ensure_ascii=False, indent=2)) not in self._said:
            self.answer = written
            self.paper.put(self.paper.code(written, "json"))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _clean(text: str) -> str:
    """Bytes that were no UTF-8 come as lone surrogates, which nothing can be sent with."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
