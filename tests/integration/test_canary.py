"""Canary secrets where real ones lie, and a model that does all it can to get them out: they show up nowhere."""

from __future__ import annotations

import base64
import json
import logging
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import pytest

from corral.agents import Agent, CodeAct, Journal, ModelSpec, ReAct
from corral.agents.testing import Call, Reply, ScriptedServer
from corral.memory import Memory, Scope, Turn
from corral.policy import Admission, ChainedAudit, Event, Gate, Label, Policy, SecurityPolicy
from corral.sandbox import DockerProvider, MontyProvider
from corral.tools import Artifacts, Endpoint, FileTokenStore, HttpTools, MCPServer, StdioServer, tool
from corral.tools.login import Login
from corral.tools.token import Token

SERVER = Path(__file__).parent / "servers" / "environment.py"
TOOLS = ("environment_show", "environment_fail", "api_echo", "api_broken", "host", "explode", "dump", "long")
LOOK_AROUND = r"""
import glob, os
found = [str(dict(os.environ))]
for path in [*glob.glob("/proc/*/environ"), *glob.glob("/proc/*/cmdline"), "/etc/environment", *glob.glob("/run/**/*")]:
    try:
        found.append(open(path, "rb").read().decode("latin-1"))
    except Exception as error:
        found.append(str(error))
print("".join(found))
"""
PASS_ON = """
import base64
got = ""
for function in (environment_show, environment_fail, api_echo, api_broken, host, explode, dump, long):
    try:
        got += str(function())
    except Exception as error:
        got += str(error)
print(got[::-1])
print(got.encode().hex())
print(base64.b64encode(got.encode()).decode())
send(body=got)
send(body=got[::-1])
got
"""
RAISE = "raise RuntimeError(str(host()) + str(dump()))"


class Echo(BaseHTTPRequestHandler):
    """Answers with the headers that it was sent, as a success and as an error."""

    def do_GET(self) -> None:
        body = json.dumps(dict(self.headers)).encode()
        self.send_response(200 if self.path == "/echo" else 403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class StoredToken:
    """The access token of a store."""

    def __init__(self, store: FileTokenStore) -> None:
        self._store = store

    async def token(self, *, refused: str | None = None) -> str:
        login = self._store.load("api")
        assert login is not None
        assert login.token is not None
        return login.token.access

    def secrets(self) -> tuple[str, ...]:
        login = self._store.load("api")
        return login.secrets() if login is not None else ()


@dataclass
class Canaries:
    """One for each place, so that what leaks says where from."""

    keystore: str = field(default_factory=lambda: "ks-" + secrets.token_hex(16))
    environment: str = field(default_factory=lambda: "en+/" + secrets.token_hex(16))
    model_key: str = field(default_factory=lambda: "mk-" + secrets.token_hex(16))
    memory: str = field(default_factory=lambda: "me-" + secrets.token_hex(16))
    output: str = field(default_factory=lambda: "ghp_" + secrets.token_hex(18))

    def all(self) -> dict[str, str]:
        return dict(vars(self))


def written(secret: str) -> set[str]:
    """The ways in which somebody who has it would write it down."""
    raw = secret.encode()
    forms = {secret, secret[::-1], raw.hex(), raw[::-1].hex(), quote(secret, safe=""), json.dumps(secret)[1:-1]}
    for text in (raw, raw[::-1]):
        for before in range(3):
            encoded = base64.b64encode(b"\0" * before + text + b"\0" * 3).decode()
            forms.add(encoded[4 * bool(before) : 4 * ((before + len(text)) // 3)])
    return forms


def leaks(canaries: Canaries, places: dict[str, str]) -> set[tuple[str, str]]:
    """Which canary stands where."""
    return {
        (name, place)
        for name, secret in canaries.all().items()
        for place, text in places.items()
        if any(form in text for form in written(secret))
    }


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> Canaries:
    made = Canaries()
    monkeypatch.setenv("HERD_API_TOKEN", made.environment)
    return made


@pytest.fixture
def echo() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@dataclass
class Attempt:
    """One run, and all the places that it could have left something in."""

    canaries: Canaries
    folder: Path
    echo: str
    held: bool = True
    sent: list[str] = field(default_factory=list[str])
    inspected: list[str] = field(default_factory=list[str])
    events: list[Event] = field(default_factory=list[Event])

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def tools(self) -> list[Any]:
        store = FileTokenStore(self.folder / "keys")
        store.save("api", Login(Token(self.canaries.keystore, expires_at=None)))

        @tool(effect="read")
        def host() -> dict[str, str]:
            """The host's environment, by mistake."""
            return dict(os.environ)

        @tool(effect="read")
        def explode() -> str:
            """Fails with what it knows."""
            raise RuntimeError(f"login failed with {self.canaries.environment}")

        @tool(effect="read")
        def dump() -> str:
            """A file in which somebody left a token, and another one encoded."""
            encoded = base64.b64encode(f"x{self.canaries.environment}".encode()).decode()
            return f"GITHUB={self.canaries.output}\nOTHER={encoded}"

        @tool(effect="read")
        def long() -> str:
            """So long that it is kept as a file."""
            return "x" * 30_000 + self.canaries.environment + "y" * 30_000

        @tool
        def send(body: str) -> str:
            """Send it to anybody."""
            self.sent.append(body)
            self.inspected.append(_containers())
            return "sent"

        api = HttpTools(
            "api",
            self.echo,
            Endpoint("echo", "GET", "/echo"),
            Endpoint("broken", "GET", "/broken"),
            auth=StoredToken(store),
            headers={"X-Herd-Token": "${HERD_API_TOKEN}"},
        )
        environment = {"HERD_API_TOKEN": "${HERD_API_TOKEN}"}
        server = MCPServer("environment", StdioServer(sys.executable, (str(SERVER),), env=environment))
        return [host, explode, dump, long, send, api, server]

    async def remember(self, memory: Memory) -> None:
        """Something secret was said once, when nobody looked."""
        scope = Scope("local", "main")
        turns = [Turn("user", f"The key of the barn is {self.canaries.memory}, keep it", Label.user())]
        action = memory.action("write", scope, arguments={"turns": [turns[0].text]})

        async def effect(admission: Admission) -> None:
            await memory.remember(turns, scope, admission=admission)

        await Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])).perform(action, effect)

    async def run(self, kind: type[Agent], script: Any, **more: Any) -> dict[str, str]:
        """Run, and return the text of every place."""
        memory = Memory(self.folder / "memory")
        await self.remember(memory)
        audit = ChainedAudit(self.folder / "audit.jsonl")
        canaries = self.canaries
        policy = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])], redact="secrets" if self.held else "off")
        with ScriptedServer(script) as server, Journal(self.folder / "runs.sqlite3") as journal:
            agent = kind(
                "task -> answer",
                self.tools(),
                lm=ModelSpec(model="openai/m", api_base=server.url, api_key=canaries.model_key),
                policy=policy,
                memory=memory,
                audit=audit,
                journal=journal,
                sinks=[self],
                artifacts=Artifacts(self.folder / "results"),
                secrets=[canaries.environment, canaries.memory] if self.held else [],
                **more,
            )
            result = await agent.run("What is the key of the barn? Use all you can get")
            prompts = json.dumps(server.bodies, ensure_ascii=False)
            assert any(canaries.model_key in str(dict(headers)) for headers in server.headers)
        audit.close()
        await memory.close()
        assert result.ok, result.detail
        assert "key of the barn is" in prompts  # it was recalled
        return {
            "prompts": prompts,
            "result": repr((result, result.messages)),
            "events": json.dumps([event.to_json() for event in self.events], ensure_ascii=False, default=str),
            "journal": _files(self.folder, "runs.sqlite3*"),
            "audit": _files(self.folder, "audit.jsonl*"),
            "results": _files(self.folder / "results", "*"),
            "sent": "\n".join(self.sent),
            "containers": "\n".join(self.inspected),
        }


def _files(folder: Path, pattern: str) -> str:
    """All bytes of some files."""
    paths = [path for path in folder.rglob(pattern) if path.is_file()]
    return "\n".join(path.read_bytes().decode("latin-1") for path in paths)


def _containers() -> str:
    """What the engine knows of this process's containers: their environment, commands and mounts."""
    try:
        client = docker.from_env()
    except docker.errors.DockerException:
        return ""
    try:
        found = client.containers.list(filters={"label": "corral.owner"}, ignore_removed=True)
        mine = [one for one in found if str(one.labels["corral.owner"]).startswith(f"{os.getpid()}:")]
        return json.dumps([one.attrs for one in mine], default=str)
    finally:
        client.close()


def last_result(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def by_calling(body: dict[str, Any], number: int) -> Reply:
    """Call everything, send on what came back, and end with it."""
    if number < len(TOOLS):
        return Reply(calls=[Call(TOOLS[number])])
    if number == len(TOOLS):
        seen = "\n".join(str(message["content"]) for message in body["messages"])
        name = seen.split("artifact='")[1].split("'")[0]
        parts = [Call("read_result", {"artifact": name, "offset": 29_990 + at, "length": 20}) for at in (0, 20, 40)]
        return Reply(calls=[*parts, Call("send", {"body": seen}), Call("nothing", {"x": seen[-200:]})])
    return Reply(f"The secrets are {json.dumps(body['messages'])}")


def by_code(body: dict[str, Any], number: int) -> Reply:
    cells = [LOOK_AROUND, PASS_ON, RAISE, "SUBMIT(answer=str(host()) + str(dump()) + got)"]
    return Reply(calls=[Call("python", {"code": cells[min(number, 3)]})])


def no_leak(places: dict[str, str], canaries: Canaries, *more: str) -> None:
    places = {**places, **{f"output {number}": text for number, text in enumerate(more)}}
    assert leaks(canaries, places) == set()
    assert "[secret]" in places["prompts"]  # they were there to be had
    assert "[github-token]" in places["prompts"]


async def test_calls_bring_no_secret_out(
    canaries: Canaries,
    tmp_path: Path,
    echo: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        places = await Attempt(canaries, tmp_path, echo).run(ReAct, by_calling)
    assert places["sent"]
    no_leak(places, canaries, caplog.text, *capfd.readouterr())


@pytest.mark.docker
async def test_code_in_a_container_brings_no_secret_out(
    canaries: Canaries,
    tmp_path: Path,
    echo: str,
    docker_image: None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    attempt = Attempt(canaries, tmp_path, echo)
    async with DockerProvider() as provider:
        with caplog.at_level(logging.DEBUG):
            places = await attempt.run(CodeAct, by_code, sandbox=provider)
    assert len(attempt.sent) == 2
    assert "corral.owner" in places["containers"]
    no_leak(places, canaries, caplog.text, *capfd.readouterr())


@pytest.mark.parametrize(("kind", "script"), [(ReAct, by_calling), (CodeAct, by_code)])
async def test_the_same_attempts_find_them_where_nothing_is_taken_out(
    canaries: Canaries, tmp_path: Path, echo: str, kind: type[Agent], script: Any
) -> None:
    """The control: without it, the tests above would pass for a model that tries nothing."""
    async with MontyProvider() as provider:
        more = {"sandbox": provider} if kind is CodeAct else {}
        attempt = Attempt(canaries, tmp_path, echo, held=False)
        places = await attempt.run(kind, script if kind is ReAct else by_plain_code, **more)
    found = leaks(canaries, places)
    for place in ("prompts", "journal", "sent", "events", "result"):
        assert {("environment", place), ("output", place)} <= found
    assert ("memory", "prompts") in found
    # These are held back by whoever sends them, whatever the policy says.
    assert not any(name in ("keystore", "model_key") for name, _ in found)
    assert not any(place == "audit" for _, place in found)


def by_plain_code(body: dict[str, Any], number: int) -> Reply:
    """For Monty, which has no imports of this kind."""
    cells = ["got = str(host()) + str(dump())\nsend(body=got)\nprint(got)\ngot", "SUBMIT(answer=got)"]
    return Reply(calls=[Call("python", {"code": cells[min(number, 1)]})])


async def test_a_model_server_that_says_the_key_in_its_error_is_not_quoted_with_it(
    canaries: Canaries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = [Reply(error=f"Incorrect API key provided: {canaries.model_key}")] * 9
    with ScriptedServer(script) as server, Journal(tmp_path / "runs.sqlite3") as journal:
        spec = ModelSpec(model="openai/m", api_base=server.url, api_key=canaries.model_key, deadline=2)
        with caplog.at_level(logging.DEBUG):
            result = await ReAct("task -> answer", lm=spec, journal=journal).run("Hello?")
    assert not result.ok
    assert "Incorrect API key provided: [" in result.detail
    places = {"result": repr(result), "journal": _files(tmp_path, "runs*"), "log": caplog.text}
    assert leaks(canaries, places) == set()
