"""Hosts that an agent's code may reach: those that its policy opens, each connection in its audit."""

import http.server
import threading
from collections.abc import Generator

import pytest

from corral.agents import CodeAct, Interpreter, run_in_background
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import MemoryAudit, Policy, SecurityPolicy
from corral.sandbox import DockerProvider, MontyProvider


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"seventeen")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Generator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


FETCH = "import urllib.request\nprint(urllib.request.urlopen('http://{}', timeout=5).read().decode())"


@pytest.mark.docker
def test_so_does_code_of_a_dspy_program(docker_image: None, server: http.server.ThreadingHTTPServer) -> None:
    where = f"127.0.0.1:{server.server_port}"
    rules = [
        SecurityPolicy(resource="code:python", actions=["execute"]),
        SecurityPolicy(resource=f"net:{where}", actions=["connect"]),
    ]
    provider = DockerProvider()
    factory = Interpreter.factory(provider, policy=Policy(rules=rules))
    try:
        with factory() as interpreter:
            assert interpreter.execute(FETCH.format(where)) == "seventeen\n"
    finally:
        run_in_background(provider.close)
    assert where in factory.execution_instructions


@pytest.mark.docker
async def test_code_reaches_what_the_policy_opens_and_no_more(
    docker_image: None, server: http.server.ThreadingHTTPServer
) -> None:
    opened = f"net:127.0.0.1:{server.server_port}"
    cells = [FETCH.format(opened.removeprefix("net:")), FETCH.format("192.0.2.1")]
    lm, engine = scripted_lm([*(Reply(calls=[Call("python", {"code": code})]) for code in cells), "17"])
    rules = [
        SecurityPolicy(resource="model:*", actions=["generate"]),
        SecurityPolicy(resource="code:python", actions=["execute"]),
        SecurityPolicy(resource=opened, actions=["connect"]),
    ]
    audit = MemoryAudit()
    async with DockerProvider() as sandbox:
        agent = CodeAct("question -> answer", lm=lm, sandbox=sandbox, policy=Policy(rules=rules), audit=audit)
        result = await agent.run("?")
    assert result.ok
    assert "seventeen" in str(engine.requests[1].messages)
    assert "403" in str(engine.requests[2].messages)
    written = [(each.entry, each.resource, each.result) for each in audit.records if each.resource.startswith("net:")]
    assert written == [("intent", opened, None), ("outcome", opened, "ok"), ("refusal", "net:192.0.2.1:80", "denied")]
    assert opened.removeprefix("net:") in str(engine.requests[0].system)


async def test_where_no_host_can_be_reached_code_runs_without_a_network() -> None:
    rules = [
        SecurityPolicy(resource="model:*", actions=["generate"]),
        SecurityPolicy(resource="code:python", actions=["execute"]),
        SecurityPolicy(resource="net:example.org:443", actions=["connect"]),
    ]
    lm, engine = scripted_lm([Reply(calls=[Call("python", {"code": "6 * 7"})]), "42"])
    async with MontyProvider() as sandbox:
        agent = CodeAct("question -> answer", lm=lm, sandbox=sandbox, policy=Policy(rules=rules))
        assert (await agent.run("?")).ok
    assert "42" in str(engine.requests[1].messages)
    assert "example.org" not in str(engine.requests[0].system)
