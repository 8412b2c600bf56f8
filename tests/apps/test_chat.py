"""The chat in a real terminal: keys in, screen out."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.agents.testing import Call, Reply, ScriptedServer


class Terminal:
    """A tmux server of its own with one window; `see` waits until a text is on the screen."""

    def __init__(self, socket: Path, width: int = 100) -> None:
        self._tmux = ["tmux", "-S", str(socket)]
        self._width = width

    def start(self, command: str, environment: dict[str, str]) -> None:
        given = [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
        size = ["-x", str(self._width), "-y", "50"]
        self._run("new-session", "-d", *size, *given, command)
        self._run("set-option", "remain-on-exit", "on")

    def type(self, text: str) -> None:
        self._run("send-keys", "-l", text)
        self._run("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._run("send-keys", key)

    def leave(self, *keys: str) -> None:
        """Press `keys`, again until they are heard: what comes before the prompt stands there is not."""
        deadline = time.monotonic() + 20
        while self._run("display-message", "-p", "#{pane_dead}").strip() != "1":
            assert time.monotonic() < deadline, self.screen
            for key in keys:
                self.press(key)
            time.sleep(0.2)

    @property
    def screen(self) -> str:
        return self._run("capture-pane", "-p", "-J", "-S", "-200")

    def see(self, text: str, *, times: int = 1, within: float = 20) -> str:
        deadline = time.monotonic() + within
        while (screen := self.screen).count(text) < times:
            assert time.monotonic() < deadline, f"not on the screen: {text!r}\n{screen}"
            time.sleep(0.05)
        return screen

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)

    def _run(self, *arguments: str) -> str:
        return subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, check=True, timeout=10).stdout


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("tmux is not installed")
        pytest.skip("tmux is not installed")
    made = Terminal(tmp_path / "tmux.sock")
    yield made
    made.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CORRAL_HOME": str(tmp_path / "data"),
        "TERM": "xterm-256color",
    }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.json"
    server = {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]}
    path.write_text(json.dumps({"mcpServers": {"time": server}}))
    return path


def chat(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "corral.apps", "chat", *arguments])


def clockwork(body: dict[str, Any], number: int) -> Reply:
    """A model that looks at the clock when it is asked for the time."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return Reply("It could not be read." if "denied" in last["content"] else "It was read.")
    if "time" in last["content"]:
        return Reply("One moment.", calls=[Call("time_get_current_time", {"timezone": "UTC"})])
    return Reply("An answer that \x1b]0;evil\x07 comes in pieces.")


def test_an_answer_streams_and_calls_are_approved_or_refused(
    terminal: Terminal, environment: dict[str, str], config: Path
) -> None:
    with ScriptedServer(clockwork) as server:
        terminal.start(chat("--model", "openai/m", "--api-base", server.url, "--mcp-config", str(config)), environment)
        terminal.see("3 tools.")
        terminal.type("hello")
        screen = terminal.see("comes in pieces.")
        assert "\\x1b]0;evil\\x07" in screen
        terminal.see("1 step, 0 calls")
        terminal.type("what time is it?")
        terminal.see("May this happen? call tool:time/get_current_time")
        terminal.see("[y]es once, [s]ession, [a]lways, [n]o and why:")
        terminal.type("y")
        terminal.see("It was read.")
        terminal.type("and what time now?")
        terminal.see("May this happen?", times=2)
        terminal.type("n it is late")
        terminal.see("It could not be read.")
        terminal.press("C-o")
        terminal.see("refused: it is late")
        terminal.leave("C-d")
    assert [body["stream"] for body in server.bodies] == [True] * len(server.bodies)
    # Each turn saw the turns before it.
    assert [m["role"] for m in server.bodies[-1]["messages"]].count("user") == 3


@pytest.mark.docker
def test_without_a_model_it_is_an_inspector_and_a_sandbox_shell(
    terminal: Terminal, environment: dict[str, str], config: Path, docker_image: None
) -> None:
    terminal.start(chat("--mcp-config", str(config), "--yes-to", "tool:*"), environment)
    terminal.see("There is no model: /tools, /call and /code work")
    terminal.type("/tools")
    terminal.see("time_convert_time  Convert time between timezones")
    terminal.type('/call time_get_current_time {"timezone": "Europe/Zurich"}')
    terminal.see("day_of_week")
    terminal.type('/call time_get_current_time {"zone": 1}')
    terminal.see("bad arguments for time_get_current_time")
    terminal.type("/code import socket; place = socket.gethostname()")
    terminal.see("sandbox: docker")
    terminal.type("/code place")
    terminal.see("(no output)")
    terminal.type("/code while True: pass")
    terminal.see("> /code while True: pass")
    terminal.press("C-c")
    terminal.see("stopped")
    terminal.type("/code 6 * 7")
    terminal.see("\n42")
    terminal.type("hello")
    terminal.see("no model is configured")
    terminal.type("/nothing")
    terminal.see("there is no command /nothing")
    terminal.type("/exit")
    terminal.leave()


def test_ctrl_c_stops_a_turn_and_nothing_else(terminal: Terminal, environment: dict[str, str]) -> None:
    def slow(body: dict[str, Any], number: int) -> Reply:
        return Reply("late", delay=30) if number == 0 else Reply("in time")

    with ScriptedServer(slow) as server:
        terminal.start(chat("--model", "openai/m", "--api-base", server.url, "--no-memory"), environment)
        terminal.see("1 tool.")
        terminal.type("first")
        deadline = time.monotonic() + 10
        while not server.bodies:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        terminal.press("C-c")
        terminal.see("stopped", within=3)
        terminal.type("second")
        terminal.see("in time")


def test_it_needs_a_terminal(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "corral.apps", "chat"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=environment, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "corral run" in done.stderr
