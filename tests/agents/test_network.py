"""Hosts that an agent's code may reach: those that its policy opens, each connection in its audit."""

import http.server
import threading

import pytest

from corral.agents import CodeAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import MemoryAudit, Policy, SecurityPolicy
from corral.sandbox import DockerProvider


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"seventeen")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.docker
async def test_code_reaches_what_the_policy_opens_and_no_more(docker_image: None) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        opened = f"net:127.0.0.1:{server.server_port}"
        fetch = "import urllib.request\nprint(urllib.request.urlopen('http://{}', timeout=5).read().decode())"
        cells = [fetch.format(opened.removeprefix("net:")), fetch.format("192.0.2.1")]
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
        server.shutdown()
    assert result.ok
    assert "seventeen" in str(engine.requests[1].messages)
    assert "403" in str(engine.requests[2].messages)
    written = [(each.entry, each.resource, each.result) for each in audit.records if each.resource.startswith("net:")]
    assert written == [("intent", opened, None), ("outcome", opened, "ok"), ("refusal", "net:192.0.2.1:80", "denied")]
    assert opened.removeprefix("net:") in str(engine.requests[0].system)
