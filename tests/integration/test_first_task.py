"""The first task, done with real tools and real code: two MCP servers, files, a container, a model on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from corral.agents.testing import Call, Reply, ScriptedServer
from corral.tools import StdioServer

POLICY = """\
version: 1
rules:
  - {resource: "model:*", actions: [generate]}
  - {resource: "code:python", actions: [execute]}
  - {resource: "tool:time/*", actions: [call]}
  - resource: "tool:files/*"
    actions: [call]
  - resource: "tool:files/write_file"
    actions: [call]
    effect: deny
    id: no-writing
    reason: "this run may only read"
limits:
  steps: 10
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    (files / "minutes.txt").write_text("Decided on Monday: the launch is on 3 March.\n")
    (files / "numbers.csv").write_text("item,amount\nhay,120\noats,80\n")
    return files


@pytest.fixture
def config(tmp_path: Path, folder: Path, node_server: Callable[..., StdioServer]) -> Path:
    files = node_server("filesystem", str(folder))
    servers = {
        "time": {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]},
        "files": {"command": files.command, "args": list(files.args)},
    }
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def corral(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, stdin: str | None = None, code: str = "") -> subprocess.CompletedProcess[str]:
        keep = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        environment = {**keep, "HOME": str(home), "CORRAL_HOME": str(home / "corral")}
        return subprocess.run(
            [sys.executable, "-m", "corral.apps", *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            cwd=home.parent,
        )

    return run


def processes() -> set[str]:
    """Command lines of this machine's MCP servers."""
    found: set[str] = set()
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if "mcp_server_time" in line or "server-filesystem" in line:
            found.add(f"{entry.name} {line}")
    return found


def orphans() -> set[str]:
    """Containers of ours whose owner has ended."""
    client = docker.from_env()
    found: set[str] = set()
    for container in client.containers.list(all=True, filters={"label": "corral.owner"}, ignore_removed=True):
        if not Path("/proc", container.labels["corral.owner"].partition(":")[0]).exists():
            found.add(str(container.id))
    client.close()
    return found


@pytest.fixture
def nothing_left_behind(docker_image: None) -> Iterator[None]:
    before = processes(), orphans()
    yield
    assert (processes(), orphans()) == before


def told(body: dict[str, Any]) -> str:
    """What the model was told by its tools."""
    return "\n".join(str(message["content"]) for message in body["messages"][2:])


def native(body: dict[str, Any], number: int) -> Reply:
    if number == 0:
        return Reply(
            calls=[
                Call("time_get_current_time", {"timezone": "Europe/Zurich"}),
                Call("files_read_text_file", {"path": "minutes.txt"}),
                Call("files_write_file", {"path": "minutes.txt", "content": "overwritten"}),
            ]
        )
    assert "3 March" in told(body)
    return Reply(text="The launch is on 3 March.")


def text(body: dict[str, Any], number: int) -> Reply:
    assert "tools" not in body
    if number == 0:
        calls = [
            {"name": "time_get_current_time", "args": {"timezone": "Europe/Zurich"}},
            {"name": "files_read_text_file", "args": {"path": "minutes.txt"}},
            {"name": "files_write_file", "args": {"path": "minutes.txt", "content": "overwritten"}},
        ]
        return Reply(text="[[ ## tool_calls ## ]]\n" + json.dumps({"tool_calls": calls}))
    assert "3 March" in told(body)
    return Reply(text="The launch is on 3 March.")


CODE = """\
import csv, io, socket
rows = list(csv.DictReader(io.StringIO(files_read_text_file(path="numbers.csv")["content"])))
now = time_get_current_time(timezone="UTC")
try:
    files_write_file(path="numbers.csv", content="overwritten")
except RuntimeError as error:
    print(error)
print(socket.gethostname(), "Etc" if not now else "UTC" in str(now))
sum(int(row["amount"]) for row in rows)
"""


def code(body: dict[str, Any], number: int) -> Reply:
    if number == 0:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["python"]
        assert "def files_read_text_file(" in body["messages"][0]["content"]
        return Reply(calls=[Call("python", {"code": CODE})])
    return Reply(text=f"They sum to {told(body).splitlines()[-1]}.")


@pytest.mark.docker
@pytest.mark.node
@pytest.mark.parametrize(("kind", "protocol", "script"), [("react", "native", native), ("react", "text", text)])
def test_react_uses_real_servers_and_is_held_by_the_policy(
    kind: str, protocol: str, script: Any, config: Path, policy: Path, folder: Path, home: Path,
    corral: Callable[..., subprocess.CompletedProcess[str]], nothing_left_behind: None,
) -> None:  # fmt: skip
    with ScriptedServer(script) as server:
        done = corral(
            "run", "When is the launch?", "--kind", kind, "--protocol", protocol, "--model", "openai/m",
            "--api-base", server.url, "--mcp-config", str(config), "--policy", str(policy),
            "--output-format", "stream-json",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    returned = {event["tool"]: event for event in events if event["type"] == "ToolReturned"}
    assert "Europe/Zurich" in returned["time_get_current_time"]["content"]
    assert returned["files_read_text_file"]["outcome"] == "ok"
    assert returned["files_write_file"]["outcome"] == "denied"
    assert "this run may only read" in returned["files_write_file"]["content"]
    assert (folder / "minutes.txt").read_text().startswith("Decided on Monday")
    assert events[-1]["outputs"] == {"answer": "The launch is on 3 March."}
    audit = [json.loads(line) for line in (home / "corral" / "audit.jsonl").read_text().splitlines()]
    assert [r["rule"] for r in audit if r["entry"] == "refusal"] == ["no-writing"]


@pytest.mark.docker
@pytest.mark.node
def test_codeact_runs_in_a_container_and_calls_the_servers_from_there(
    config: Path, policy: Path, folder: Path, corral: Callable[..., subprocess.CompletedProcess[str]],
    nothing_left_behind: None,
) -> None:  # fmt: skip
    hostnames: set[str] = set()
    watching = threading.Event()

    def watch() -> None:
        client = docker.from_env()
        while not watching.wait(0.05):
            hostnames.update(c.attrs["Config"]["Hostname"] for c in client.containers.list())
        client.close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ScriptedServer(code) as server:
            done = corral(
                "run", "-", "--kind", "codeact", "--sandbox", "docker", "--model", "openai/m",
                "--api-base", server.url, "--mcp-config", str(config), "--policy", str(policy),
                "--output-format", "stream-json", stdin="Sum the amounts.",
            )  # fmt: skip
    finally:
        watching.set()
        watcher.join()
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    printed = next(event["text"] for event in events if event["type"] == "CellOutput")
    hostname = next(line for line in printed.splitlines() if line.endswith(" True")).split()[0]
    assert hostname in hostnames
    assert hostname != os.uname().nodename
    assert "this run may only read" in printed
    assert (folder / "numbers.csv").read_text().startswith("item,amount")
    assert printed.splitlines()[-1] == "200"
    assert events[-1]["outputs"] == {"answer": "They sum to 200."}


def test_a_run_imports_neither_litellm_nor_openai_nor_what_it_does_not_use(home: Path) -> None:
    program = (
        "import sys\n"
        "from corral.agents.testing import ScriptedServer\n"
        "from corral.apps.main import main\n"
        "with ScriptedServer(['hi']) as server:\n"
        "    sys.argv = ['corral', 'run', 'hi', '--model', 'openai/m', '--api-base', server.url]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, end.code\n"
        "print(sorted({'litellm', 'openai', 'mem0', 'mcp', 'docker'} & set(sys.modules)))\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "CORRAL_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert done.stdout.split("\n")[:2] == ["hi", "[]"]
