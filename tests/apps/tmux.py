"""A terminal to drive: keys in, screen out."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


class Terminal:
    """A tmux server of its own with one window; `see` waits until a text is on the screen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = 0
        self._tmux: list[str] = []

    def start(self, command: str, environment: dict[str, str], width: int = 100, height: int = 50) -> None:
        """Run a command in a new window; the one before is closed."""
        self.close()
        self._started += 1
        self._tmux = ["tmux", "-S", str(self._folder / f"tmux-{self._started}"), "-f", "/dev/null"]
        given = shlex.join(f"{name}={value}" for name, value in environment.items())
        size = ["-x", str(width), "-y", str(height)]
        self.run("new-session", "-d", *size, f"exec env {given} {command}")
        self.run("set-option", "remain-on-exit", "on")
        self.run("set-option", "-s", "set-clipboard", "on")

    def type(self, text: str) -> None:
        self.run("send-keys", "-l", "--", text)
        self.run("send-keys", "Enter")

    def press(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def leave(self, *keys: str) -> None:
        """Press `keys`, again until they are heard: what comes before the prompt stands there is not."""

        def left() -> bool:
            if self.is_dead:
                return True
            for key in keys:
                self.press(key)
            return False

        self.wait(left, every=0.2)

    @property
    def is_dead(self) -> bool:
        return self.run("display-message", "-p", "#{pane_dead}").strip() == "1"

    @property
    def pid(self) -> int:
        return int(self.run("display-message", "-p", "#{pane_pid}"))

    @property
    def screen(self) -> str:
        return self.run("capture-pane", "-p", "-J", "-S", "-500")

    def see(self, text: str, *, times: int = 1, within: float = 20) -> str:
        self.wait(lambda: self.screen.count(text) >= times, within=within, what=text)
        return self.screen

    def see_at_the_prompt(self, text: str) -> None:
        """Wait until the line that is typed begins with a text, and has nothing else."""

        def stands() -> bool:
            shown = [line.rstrip() for line in self.run("capture-pane", "-p").splitlines() if line.strip()]
            return text in shown[-2:]

        self.wait(stands, what=text)

    def wait(self, until: Callable[[], bool], *, within: float = 20, every: float = 0.05, what: str = "") -> None:
        deadline = time.monotonic() + within
        while not until():
            shown = "\n".join(line for line in self.screen.splitlines() if line.strip())
            assert time.monotonic() < deadline, f"not on the screen: {what!r}\n{shown}"
            time.sleep(every)

    def close(self) -> None:
        if self._tmux:
            subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)

    def run(self, *arguments: str) -> str:
        return subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, check=True, timeout=10).stdout
