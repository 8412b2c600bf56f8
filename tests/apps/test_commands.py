import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from corral.agents.testing import Call, Reply, ScriptedServer
from corral.policy import Action, Gate, Policy, SecurityPolicy
from corral.tools import MCPServer, Observation, StdioServer, Toolbox

from .conftest import Corral


@pytest.fixture
def config(tmp_path: Path) -> str:
    server = {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "UTC"]}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"time": server}}))
    return "mcp.json"


def test_tools_are_listed_shown_and_called_by_hand(corral: Corral, config: str) -> None:
    listed = corral("tools", "list", "--mcp-config", config, "--json")
    assert [json.loads(line)["resource"] for line in listed.stdout.splitlines()] == [
        "tool:time/get_current_time",
        "tool:time/convert_time",
    ]
    shown = corral("tools", "show", "time_convert_time", "--mcp-config", config)
    assert shown.stdout.startswith("def time_convert_time(")
    call = ("tools", "call", "time_get_current_time", '{"timezone": "UTC"}', "--mcp-config", config)
    refused = corral(*call)
    assert refused.returncode == 3
    assert "--yes-to" in refused.stderr
    called = corral(*call, "--yes-to", "tool:time/*")
    assert called.returncode == 0
    assert json.loads(called.stdout)["timezone"] == "UTC"


def test_an_unknown_tool_is_answered_with_near_names(corral: Corral, config: str) -> None:
    done = corral("tools", "show", "convert_time", "--mcp-config", config)
    assert done.returncode == 2
    assert "did you mean time_convert_time" in done.stderr


def test_memory_is_added_found_exported_forgotten_and_imported(corral: Corral) -> None:
    corral("memory", "add", "Bruno is a horse")
    assert "Bruno is a horse" in corral("memory", "search", "which horse?").stdout
    exported = corral("memory", "export").stdout
    assert json.loads(exported)["text"] == "Bruno is a horse"
    assert corral("memory", "forget", "bruno").stdout.startswith("erased 1 fact")
    assert corral("memory", "list").stdout == ""
    assert corral("memory", "import", stdin=exported + "not json\n").stdout == "added 1, skipped 1\n"
    assert "Bruno is a horse" in corral("memory", "list").stdout
    assert corral("memory", "--agent", "other", "list").stdout == ""


def test_each_memory_command_says_something_and_speaks_json(corral: Corral) -> None:
    for command in (("list",), ("export",), ("search", "horse")):
        done = corral("memory", *command)
        assert (done.returncode, done.stdout) == (0, "")
        assert "remembered" in done.stderr
    (id,) = json.loads(corral("memory", "add", "Bruno is a horse", "--json").stdout)["ids"]
    (found,) = map(json.loads, corral("memory", "search", "which horse?", "--json").stdout.splitlines())
    assert (found["id"], found["text"], found["label"]) == (id, "Bruno is a horse", "attested")
    assert found["why"]
    (listed,) = map(json.loads, corral("memory", "list", "--json").stdout.splitlines())
    assert listed == json.loads(corral("memory", "show", id[:8], "--json").stdout)
    shown = corral("memory", "show", id[:8]).stdout
    assert "fact: Bruno is a horse" in shown
    assert "trust: user" in shown
    assert "add " in shown
    assert json.loads(corral("memory", "stats", "--json").stdout)["facts"] == 1
    assert json.loads(corral("memory", "forget", "--id", id, "--json").stdout)["copies"] == {"fact": 1, "history": 1}


def test_memory_says_what_is_wrong_with_a_call(corral: Corral) -> None:
    for call, problem in (
        (("show", "abc"), "no memory 'abc' here"),
        (("forget",), "say what to forget"),
        (("add", " "), "nothing to add"),
    ):
        done = corral("memory", *call)
        assert done.returncode == 2
        assert problem in done.stderr


def test_memory_keeps_no_key(corral: Corral) -> None:
    corral("memory", "add", "the key is sk-proj-" + "a1B2" * 12)
    assert "a1B2a1B2" not in corral("memory", "export").stdout


def test_a_run_with_memory_is_found_by_the_next(corral: Corral) -> None:
    with ScriptedServer(["ok"]) as server:
        where = ("--model", "openai/m", "--api-base", server.url, "--memory")
        corral("run", "The vet comes on Thursdays.", *where)
        corral("run", "When does the vet come?", *where)
    assert "Thursdays" in server.bodies[1]["messages"][-1]["content"]


def test_settings_say_where_they_come_from_and_hide_secrets(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CORRAL_MODEL=openai/from-file\nOTHER=1\n")
    shown = corral("config", "show", CORRAL_API_KEY="sk-secret").stdout
    assert "model = openai/from-file  (.env)" in shown
    assert "api_base = None  (default)" in shown
    assert "(environment, CORRAL_API_KEY)" in shown
    assert "sk-secret" not in shown


POLICY = """\
rules:
  - {resource: "model:*", actions: [generate]}
  - {resource: "tool:mail/send", actions: [call], effect: ask, id: mail, reason: mail leaves the house}
  - {resource: "tool:mail/*", actions: [call], effect: deny, conditions: {args.to: {one_of: [all@example.org]}}}
"""


def test_a_policy_is_explained_checked_compared_and_exported(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "q.yaml").write_text(POLICY + '  - {resource: "tool:calendar/read", actions: [call]}\n')
    asked = corral("policy", "explain", "p.yaml", "call", "tool:mail/send", "--arg", "to=ann@example.org")
    assert asked.returncode == 3
    assert asked.stdout.startswith("ASK: mail leaves the house")
    denied = corral("policy", "explain", "p.yaml", "call", "tool:mail/send", "--arg", "to=all@example.org")
    assert denied.stdout.startswith("DENY")
    assert corral("policy", "explain", "p.yaml", "generate", "model:openai/m").returncode == 0
    assert corral("policy", "explain", "p.yaml", "eat", "tool:mail/send").returncode == 2
    assert corral("policy", "check", "p.yaml").stdout == "nothing odd\n"
    changed = corral("policy", "diff", "p.yaml", "q.yaml")
    assert changed.returncode == 1
    assert "looser: call tool:calendar/read" in changed.stdout
    assert "forbid" in corral("policy", "export", "--cedar", "p.yaml").stdout
    (tmp_path / "cases.yaml").write_text(
        "cases:\n  - {expect: deny, resource: 'tool:mail/read', action: call}\n"
        "  - {expect: allow, resource: 'tool:mail/send', action: call}\n"
    )
    tested = corral("policy", "test", "p.yaml", "cases.yaml")
    assert tested.returncode == 1
    assert tested.stdout.endswith("1 passed, 1 failed\n")


def test_manifests_are_held_against_the_tools_that_are_there(corral: Corral, tmp_path: Path, config: str) -> None:
    tools = "{get_current_time: {effect: read}, get_weather: {effect: read}}"
    (tmp_path / "p.yaml").write_text(f"provenance: {{manifests: {{time: {{tools: {tools}}}, mail: mail}}}}\n")
    done = corral("policy", "check", "p.yaml", "--mcp-config", config)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "provenance.manifests: there is no server mail",
        "provenance.manifests.time: the server has no tool get_weather",
        "tool:time/convert_time: no manifest describes it",
    ]


def test_rules_are_proposed_from_what_a_run_did(corral: Corral, tmp_path: Path, config: str) -> None:
    def script(body: dict[str, object], number: int) -> Reply:
        return Reply(calls=[Call("time_get_current_time", {"timezone": "UTC"})]) if number == 0 else Reply("noon")

    with ScriptedServer(script) as server:
        where = ("--model", "openai/m", "--api-base", server.url, "--mcp-config", config)
        corral("run", "?", *where, "--yes-to", "tool:time/*")
        run = corral("runs", "list").stdout.split()[0]
        (tmp_path / "learnt.toml").write_text(corral("policy", "learn", run).stdout)
        server.bodies.clear()
        done = corral("run", "?", *where, "--policy", "learnt.toml", "--yes-to", "tool:time/get_current_time")
    assert "tool:time/get_current_time" in (tmp_path / "learnt.toml").read_text()
    assert done.returncode == 0, done.stderr
    assert "day_of_week" in str(server.bodies[1]["messages"])


def test_policies_are_looked_at_by_name_all_mistakes_at_once_and_manifests_proposed(
    corral: Corral, tmp_path: Path
) -> None:
    assert corral("policy", "check", "unattended").stdout == "nothing odd\n"
    assert corral("policy", "explain", "paranoid", "call", "tool:mail/send").stdout.startswith("ASK")
    assert corral("policy", "diff", "readonly", "unattended").returncode == 1
    (tmp_path / "bad.yaml").write_text("limits: {stepps: 3}\ndefualt: ask\nrules: [{resource: 5}]\n")
    bad = corral("policy", "check", "bad.yaml")
    assert bad.returncode == 2
    assert len(bad.stderr.splitlines()) == 4
    assert "bad.yaml:2: unknown key defualt; did you mean default?" in bad.stderr
    entry = {"command": sys.executable, "args": ["-m", "mcp_server_time"], "trust": True}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"time": entry}}))
    proposed = corral("policy", "manifest", "time", "--mcp-config", "mcp.json", "--yaml")
    assert proposed.returncode == 0, proposed.stderr
    (tmp_path / "time.yaml").write_text(proposed.stdout)
    (tmp_path / "p.yaml").write_text("provenance: {underived: deny, manifests: {time: time.yaml}}\n")
    assert corral("policy", "check", "p.yaml").returncode == 0
    assert "get_current_time" in proposed.stdout
    assert corral("policy", "manifest", "none", "--mcp-config", "mcp.json").returncode == 2


def test_the_audit_is_shown_and_every_change_of_it_is_found(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("rules: []\n")
    with ScriptedServer(["hi"]) as server:
        where = ("--model", "openai/m", "--api-base", server.url)
        corral("run", "?", *where)
        corral("run", "?", *where, "--policy", "p.yaml")
    assert "generate model:openai/m" in corral("audit", "show", "--refused").stdout
    saved = corral("audit", "verify", "--save", "checkpoint.json")
    assert saved.stdout.endswith("3 lines, unbroken\n")
    audit = tmp_path / "data" / "audit.jsonl"
    whole = audit.read_bytes()
    audit.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    cut = corral("audit", "verify", "--checkpoint", "checkpoint.json")
    assert cut.returncode == 1
    assert "lines are missing" in cut.stderr
    audit.write_bytes(whole.replace(b'"refusal"', b'"outcome"'))
    assert corral("audit", "verify").returncode == 1


class Elsewhere(BaseHTTPRequestHandler):
    """A machine that keeps what is put there."""

    kept: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.kept.get(self.path, b"<html>"))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_checkpoint_is_kept_on_another_machine(corral: Corral, tmp_path: Path) -> None:
    with ScriptedServer(["hi"]) as server:
        corral("run", "?", "--model", "openai/m", "--api-base", server.url)
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{elsewhere.server_address[1]}"
    try:
        assert corral("audit", "verify", "--save", f"{url}/cp").returncode == 0
        assert corral("audit", "verify", "--checkpoint", f"{url}/cp").returncode == 0
        audit = tmp_path / "data" / "audit.jsonl"
        audit.write_bytes(b"".join(audit.read_bytes().splitlines(keepends=True)[:-1]))
        cut = corral("audit", "verify", "--checkpoint", f"{url}/cp")
        assert (cut.returncode, "lines are missing" in cut.stderr) == (1, True)
        assert corral("audit", "verify", "--checkpoint", f"{url}/other").returncode == 2
    finally:
        elsewhere.shutdown()
        elsewhere.server_close()
    assert "https only" in corral("audit", "verify", "--save", "http://192.0.2.1/cp").stderr


@pytest.mark.parametrize("preset", ["readonly", "developer", "unattended", "paranoid"])
def test_a_preset_may_stand_for_a_policy_file(corral: Corral, preset: str) -> None:
    with ScriptedServer(["hi"]) as server:
        done = corral("run", "?", "--model", "openai/m", "--api-base", server.url, "--policy", preset)
    assert (done.returncode, done.stdout) == (0, "hi\n"), done.stderr


def test_a_tool_that_changed_since_it_was_locked_is_shown_and_withheld(
    corral: Corral, config: str, tmp_path: Path
) -> None:
    missing = corral("tools", "diff", "--mcp-config", config)
    assert missing.returncode == 2
    assert "there is no tools.lock; approve the tools as they are now with `corral tools lock" in missing.stderr
    assert corral("tools", "lock", "--mcp-config", config).stdout == "tools.lock: 2 tools\n"
    assert corral("tools", "diff", "--mcp-config", config).returncode == 0
    lock = tmp_path / "tools.lock"
    lock.write_text(lock.read_text().replace("Convert time between timezones", "Convert time, and more"))
    changed = corral("tools", "diff", "--mcp-config", config)
    assert changed.returncode == 1
    assert "changed tool:time/convert_time" in changed.stdout
    listed = corral("tools", "list", "--mcp-config", config)
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 2)
    told = "tool:time/convert_time is not as tools.lock has it, and runs here withhold it; see `corral tools diff`"
    assert listed.stderr == f"corral: {told}\n"
    with ScriptedServer(["ok"]) as server:
        corral("run", "?", "--model", "openai/m", "--api-base", server.url, "--mcp-config", config)
    names = [tool["function"]["name"] for tool in server.bodies[0]["tools"]]
    assert names == ["time_get_current_time", "read_result"]


def test_without_servers_nothing_is_locked_or_listed(corral: Corral, tmp_path: Path) -> None:
    for command in (("lock",), ("list",), ("call", "x")):
        done = corral("tools", *command)
        assert done.returncode == 2
        assert "there is no mcp.json here; give --mcp-config FILE" in done.stderr
    (tmp_path / "mcp.json").write_text('{"mcpServers": {}}')
    assert "has no tools to lock" in corral("tools", "lock").stderr
    assert not (tmp_path / "tools.lock").exists()


def test_tools_are_found_by_words(corral: Corral, config: str) -> None:
    found = corral("tools", "search", "current time", "-k", "1", "--mcp-config", config)
    assert found.stdout.startswith("time_get_current_time")


async def test_other_clients_get_the_tools_held_by_a_policy(tmp_path: Path, config: str) -> None:
    (tmp_path / "p.yaml").write_text("rules: [{resource: 'tool:time/get_current_time', actions: [call]}]\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CORRAL_HOME": str(tmp_path / "data")}
    arguments = ("-m", "corral.apps", "mcp", "serve", "--mcp-config", str(tmp_path / config), "--policy", "p.yaml")
    served = StdioServer(sys.executable, arguments, env=environment, cwd=str(tmp_path))
    gate = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))
    async with Toolbox(MCPServer("held", served), strict=True) as toolbox:

        async def call(name: str, **given: object) -> Observation:
            tool = toolbox[name]
            action = Action(tool.resource, "call", arguments=given)
            return await gate.perform(action, lambda admission: tool.call(given, admission))

        now = await call("held_time_get_current_time", timezone="UTC")
        held = await call(
            "held_time_convert_time", source_timezone="UTC", time="12:00", target_timezone="Europe/Zurich"
        )
    assert "day_of_week" in now.text
    assert held.is_error
    assert "denied" in held.text
