"""Makes the pictures of the chat in this folder: the real REPL in tmux, its screen as SVG. The model is scripted.

    uv run python docs/screens/make.py

It needs tmux and Docker.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from corral.agents.testing import Call, Reply, ScriptedServer

HERE = Path(__file__).parent
WIDTH, HEIGHT = 92, 30
SERVER = """
from mcp.server.mcpserver import MCPServer

server = MCPServer("barn")


@server.tool()
def edit_file(path: str, old_text: str, new_text: str) -> str:
    '''Replace a text in a file.'''
    file = __import__("pathlib").Path(path)
    file.write_text(file.read_text().replace(old_text, new_text))
    return f"changed {path}"


@server.tool()
def read_file(path: str) -> str:
    '''Read a file.'''
    return __import__("pathlib").Path(path).read_text()


server.run()
"""
PLAN = """\
# Feed for the week, in kilograms
bruno = 12
lotte = 9
"""
CODE = """\
plan = barn_read_file(path="feed.txt")
amounts = [int(line.split("=")[1]) for line in plan.splitlines() if "=" in line]
print(sum(amounts), "kg a day")
"""


class Window:
    """A terminal to show."""

    def __init__(self, folder: Path, command: str) -> None:
        self._tmux = ["tmux", "-S", f"{tempfile.mkdtemp(dir=folder)}/tmux", "-f", "/dev/null"]
        place = f"cd {shlex.quote(str(folder))}; export HOME={shlex.quote(str(folder))} CORRAL_HOME=data LANG=C.UTF-8"
        self.run("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), f"{place} TERM=xterm-256color; {command}")

    def run(self, *arguments: str) -> str:
        return subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, check=True).stdout

    def type(self, text: str) -> None:
        self.run("send-keys", "-l", "--", text)
        self.run("send-keys", "Enter")

    def see(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.run("capture-pane", "-p", "-J"):
            if time.monotonic() > deadline:
                raise SystemExit(self.run("capture-pane", "-p"))
            time.sleep(0.05)
        time.sleep(0.5)  # what is drawn after it

    def save(self, name: str, title: str) -> None:
        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
        lines = self.run("capture-pane", "-p", "-e").rstrip("\n").split("\n")
        console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
        picture = console.export_svg(title=title, unique_id=name)
        # Whoever looks at it shall not fetch a font from elsewhere.
        alone = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
        (HERE / f"{name}.svg").write_text(alone)

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


def answer(body: dict[str, Any], number: int) -> Reply:
    """A model that edits when it is asked to, and reckons in Python when it is asked how much."""
    last, asked = body["messages"][-1], [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
    usage = {"input_tokens": 1180 + 90 * number, "output_tokens": 64}
    if last["role"] == "tool":
        done = "Lotte gets **10 kg** now." if "more" in asked else RECKONED
        return Reply(done, **usage)
    if "more" in asked:
        edit = {"path": "feed.txt", "old_text": "lotte = 9", "new_text": "lotte = 10"}
        return Reply("I change her line in the plan.", calls=[Call("barn_edit_file", edit)], **usage)
    return Reply("I add it up.", calls=[Call("python", {"code": CODE})], **usage)


RECKONED = """\
The two of them eat **22 kg a day**:

| horse | kg |
|-------|----|
| Bruno | 12 |
| Lotte | 10 |

That is `154 kg` a week:

1. two bales of *hay* a day
2. the rest in oats
"""


def approval(window: Window) -> None:
    window.see("mode ask")
    window.type("Give Lotte one kilogram more, see @feed.txt")
    window.see("[n]o and why:")
    window.save("approval", "corral chat: an approval")


def answered(window: Window) -> None:
    window.type("y")
    window.see("Lotte gets")
    window.run("send-keys", "C-l")
    window.type("How much do they eat?")
    window.see("[n]o and why:")
    window.type("s")
    window.see("the rest in oats")
    window.type("/open")
    window.see("in docker")
    window.save("answer", "corral chat: an answer, and a cell opened")


def by_hand(window: Window) -> None:
    window.see("mode ask")
    window.type("/tools")
    window.see("barn_read_file")
    window.type('/call barn_read_file {"path": "feed.txt"}')
    window.see("bruno = 12")
    window.type("/code import platform; platform.node(), 6 * 7")
    window.see("sandbox: docker")
    window.see("42")
    window.run("send-keys", "BTab")
    window.see("mode plan")
    window.save("by-hand", "corral chat without a model: an inspector and a sandbox shell")


def play(folder: Path, arguments: list[str], *scenes: Callable[[Window], None]) -> None:
    command = shlex.join([sys.executable, "-m", "corral.apps", "chat", "--mcp-config", "mcp.json", *arguments])
    window = Window(folder, command)
    try:
        for scene in scenes:
            scene(window)
    finally:
        window.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ScriptedServer(answer) as server:
        folder = Path(name)
        (folder / "server.py").write_text(SERVER)
        (folder / "feed.txt").write_text(PLAN)
        barn = {"command": sys.executable, "args": [str(folder / "server.py")], "cwd": name}
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"barn": barn}}))
        model = ["--model", "openai/qwen3", "--api-base", server.url, "--kind", "both", "--price", "0.4", "1.6"]
        play(folder, ["--no-memory", *model], approval, answered)
        play(folder, ["--no-memory", "--yes-to", "tool:barn/*"], by_hand)
    sys.stdout.writelines(f"{path}\n" for path in sorted(HERE.glob("*.svg")))


if __name__ == "__main__":
    main()
