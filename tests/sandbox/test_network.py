"""Sessions that may reach hosts: exactly those that rules open, each connection through the gate."""

import http.server
import threading
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from corral.policy import Gate, Layers, MemoryAudit, Policy, SecurityPolicy
from corral.sandbox import (
    Execution,
    LinuxProvider,
    MontyProvider,
    Network,
    Sandbox,
    SandboxProvider,
    SandboxSpec,
    SandboxUnavailable,
)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = f"{self.path} of {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d bytes" % len(sent))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Generator[int]:
    """Of a web server of this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class Names:
    """A name server; `leads` may be changed between two questions."""

    def __init__(self) -> None:
        self.leads = {"inside.example": ["127.0.0.1"], "hidden.example": ["10.1.2.3"], "here.example": ["127.0.0.1"]}
        self.asked: list[str] = []

    async def resolve(self, host: str) -> list[str]:
        self.asked.append(host)
        if host not in self.leads:
            raise OSError(f"no such name: {host}")
        return self.leads[host]


@pytest.fixture(scope="module")
def names() -> Names:
    return Names()


@pytest.fixture(scope="module")
def audit() -> MemoryAudit:
    return MemoryAudit()


@pytest.fixture(scope="module")
def network(port: int, names: Names, audit: MemoryAudit) -> Network:
    opened = [f"net:127.0.0.1:{port}", f"net:inside.example:{port}", "net:*:443", "net:*:80"]
    rules = [SecurityPolicy(resource=resource, actions=["connect"]) for resource in opened]
    network = Network.of(Gate(Policy(rules=rules), audit=audit), "agent:tester")
    assert network is not None
    return replace(network, resolve=names.resolve)


@pytest.fixture(
    scope="module", params=[*(pytest.param(each, marks=pytest.mark.docker) for each in ("docker", "attached")), "linux"]
)
def reaching(request: pytest.FixtureRequest) -> SandboxProvider:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
async def sandbox(reaching: SandboxProvider, network: Network) -> AsyncGenerator[Sandbox]:
    async with await reaching.open(SandboxSpec(network=network)) as session:
        yield session


FETCH = """
import urllib.request
def fetch(url, data=None):
    return urllib.request.urlopen(url, data, timeout=5).read().decode()
"""

TUNNEL = """
import http.client, os
def tunnel(host, port):
    way = http.client.HTTPConnection("127.0.0.1", int(os.environ["https_proxy"].rpartition(":")[2]), timeout=5)
    way.set_tunnel(host, port)
    way.request("GET", "/tunnel")
    return way.getresponse().read().decode()
"""


async def run(sandbox: Sandbox, expression: str) -> Execution:
    return await sandbox.execute(f"{FETCH}{TUNNEL}{expression}", timeout=15)


async def test_a_host_that_a_rule_names_is_reached(sandbox: Sandbox, port: int, audit: MemoryAudit) -> None:
    before = len(audit.records)
    execution = await run(sandbox, f"fetch('http://127.0.0.1:{port}/page?q=1')")
    assert execution.value == f"/page?q=1 of 127.0.0.1:{port}"
    written = [(each.entry, each.resource, each.principal, each.result) for each in audit.records[before:]]
    resource = f"net:127.0.0.1:{port}"
    assert written == [("intent", resource, "agent:tester", None), ("outcome", resource, "agent:tester", "ok")]


async def test_what_is_sent_arrives_whole(sandbox: Sandbox, port: int) -> None:
    assert (await run(sandbox, f"fetch('http://127.0.0.1:{port}/', b'x' * 1_000_000)")).value == "1000000 bytes"


async def test_a_tunnel_is_opened_to_it_too(sandbox: Sandbox, port: int) -> None:
    assert (await run(sandbox, f"tunnel('127.0.0.1', {port})")).value == f"/tunnel of 127.0.0.1:{port}"


async def test_another_port_is_refused_and_written_down(sandbox: Sandbox, port: int, audit: MemoryAudit) -> None:
    execution = await run(sandbox, f"fetch('http://127.0.0.1:{port + 1}/')")
    assert execution.error is not None
    assert "HTTP Error 403: denied" in execution.error.message
    refusal = audit.records[-1]
    assert (refusal.entry, refusal.resource) == ("refusal", f"net:127.0.0.1:{port + 1}")


@pytest.mark.parametrize(
    "where",
    [
        "fetch('http://192.0.2.1/')",
        "fetch('http://169.254.169.254/latest/meta-data/')",
        "fetch('http://10.0.0.1/')",
        "fetch('http://192.168.1.1/')",
        "fetch('http://100.64.0.1/')",
        "fetch('http://127.0.0.1/')",
        "fetch('http://localhost/')",
        "fetch('http://hidden.example/')",
        "tunnel('192.0.2.1', 443)",
        "tunnel('169.254.169.254', 443)",
        "tunnel('[::1]', 443)",
        "tunnel('[::ffff:10.0.0.1]', 443)",
        "tunnel('[64:ff9b::a00:1]', 443)",
        "tunnel('[2002:a00:1::]', 443)",
        "tunnel('[fd00::1]', 443)",
    ],
)
async def test_a_private_address_is_reached_only_by_a_rule_that_names_it(
    sandbox: Sandbox, where: str, names: Names
) -> None:
    names.leads["localhost"] = ["127.0.0.1"]
    execution = await run(sandbox, where)
    assert execution.error is not None
    assert "403" in execution.error.message
    if "fetch" in where:
        code = f"try:\n    {where}\nexcept Exception as error:\n    text = error.read().decode()\ntext"
        assert "no public address and is named by no rule" in (await run(sandbox, code)).value


@pytest.mark.parametrize("where", ["tunnel('2130706433', 443)", "tunnel('0x7f.1', 443)", "tunnel('a@b', 443)"])
async def test_a_host_that_parsers_read_differently_is_no_host(sandbox: Sandbox, where: str) -> None:
    execution = await run(sandbox, where)
    assert execution.error is not None
    assert "400" in execution.error.message


async def test_a_name_is_resolved_once_however_it_leads_later(sandbox: Sandbox, port: int, names: Names) -> None:
    names.leads["inside.example"] = ["127.0.0.1"]
    names.asked.clear()
    first = await run(sandbox, f"fetch('http://inside.example:{port}/1')")
    names.leads["inside.example"] = ["10.9.9.9"]
    second = await run(sandbox, f"fetch('http://inside.example:{port}/2')")
    assert [first.value, second.value] == [f"/{n} of inside.example:{port}" for n in (1, 2)]
    assert names.asked == ["inside.example"]


async def test_a_name_that_is_none_is_an_answer_and_no_hang(sandbox: Sandbox) -> None:
    execution = await run(sandbox, "fetch('http://nowhere.example/')")
    assert execution.error is not None
    assert "502" in execution.error.message


async def test_no_other_way_leads_out(sandbox: Sandbox) -> None:
    code = """
import socket
def attempt(family, kind, address):
    try:
        with socket.socket(family, kind) as sock:
            sock.settimeout(1)
            sock.connect(address)
        return "connected"
    except OSError as error:
        return type(error).__name__
[
    attempt(socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 80)),
    attempt(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)),
    attempt(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 80)),
    attempt(socket.AF_INET, socket.SOCK_RAW, ("192.0.2.1", 0)),
]
"""
    assert (await sandbox.execute(code, timeout=10)).value == ["OSError"] * 4


async def test_the_way_out_survives_the_session_that_crashed(sandbox: Sandbox, port: int) -> None:
    await sandbox.execute("import os; os._exit(1)", timeout=5)
    assert (await run(sandbox, f"fetch('http://127.0.0.1:{port}/again')")).value == f"/again of 127.0.0.1:{port}"


async def test_junk_to_the_proxy_breaks_nothing(sandbox: Sandbox, port: int) -> None:
    code = """
import socket, os
def say(data):
    with socket.create_connection(("127.0.0.1", int(os.environ["http_proxy"].rpartition(":")[2]))) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(4096).decode().partition("\\r\\n")[0][:12]
end = b" HTTP/1.1\\r\\n\\r\\n"
[say(data) for data in (b"\\0\\xff" * 100, b"GET /" + end, b"CONNECT " + end, b"x" * 20_000)]
"""
    execution = await sandbox.execute(code, timeout=10)
    assert execution.error is None, execution.error
    assert execution.value == ["HTTP/1.1 400"] * 4
    assert (await run(sandbox, f"fetch('http://127.0.0.1:{port}/after')")).value == f"/after of 127.0.0.1:{port}"


async def test_a_session_without_rules_has_no_network_at_all(provider: SandboxProvider) -> None:
    async with await provider.open() as sandbox:
        execution = await sandbox.execute("import socket\nsocket.socket()", timeout=5)
    assert execution.error is not None


async def test_where_all_hosts_would_be_open_a_network_is_refused(bare_linux: LinuxProvider, network: Network) -> None:
    for provider in (bare_linux, MontyProvider()):
        with pytest.raises(SandboxUnavailable, match="Docker or bubblewrap"):
            await provider.open(SandboxSpec(network=network))


def test_a_policy_that_opens_no_host_gives_no_network() -> None:
    closed = Policy(
        rules=[
            SecurityPolicy(resource="net:example.org:443", actions=["connect"], effect="deny"),
            SecurityPolicy(resource="code:*", actions=["execute"]),
        ]
    )
    opening = Policy(rules=[SecurityPolicy(resource="net:example.org:443", actions=["connect"])])
    assert Network.of(Gate(closed), "agent:a") is None
    assert Network.of(Gate(Layers(closed, opening)), "agent:a") is None
    network = Network.of(Gate(Layers(opening, closed)), "agent:a")
    assert network is not None
    assert network.names == {"net:example.org:443"}


async def test_the_way_out_can_not_be_killed_from_within(sandbox: Sandbox, port: int) -> None:
    code = (
        "import os, signal\n"
        "for pid in [-1, *range(2, 200)]:\n"
        "    if pid != os.getpid():\n"
        "        try:\n            os.kill(pid, signal.SIGKILL)\n        except OSError:\n            pass"
    )
    await sandbox.execute(code, timeout=10)
    assert (await run(sandbox, f"fetch('http://127.0.0.1:{port}/still')")).value == f"/still of 127.0.0.1:{port}"


async def test_many_connections_at_once_are_bounded_and_then_served_again(sandbox: Sandbox, port: int) -> None:
    code = f"""
import os, socket
way = int(os.environ["http_proxy"].rpartition(":")[2])
held = [socket.create_connection(("127.0.0.1", way)) for _ in range(80)]
for each in held:
    each.sendall(b"CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
said = [each.recv(100)[9:12].decode() for each in held]
for each in held:
    each.close()
[said.count("200") <= 64, said.count("503") + said.count("200"), len(said)]
"""
    execution = await sandbox.execute(code, timeout=20)
    assert execution.value == [True, 80, 80], execution
    with anyio.fail_after(10):
        while (await run(sandbox, f"fetch('http://127.0.0.1:{port}/again')")).error is not None:
            await anyio.lowlevel.checkpoint()
