"""The demo, as a newcomer sees it: every part real but the model's replies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

pytestmark = pytest.mark.docker

Demo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    keep = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
    return {**keep, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "COLUMNS": "120"}


@pytest.fixture
def demo(environment: dict[str, str], docker_image: None) -> Demo:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "corral.apps", "demo", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)

    return run


def containers_of(pid: int) -> list[str]:
    client = docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": "corral.owner"}, ignore_removed=True)
        return [str(c.short_id) for c in found if c.labels["corral.owner"].startswith(f"{pid}:")]
    finally:
        client.close()


def children_of(pid: int) -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_it_shows_discovery_oauth_a_denial_an_approval_the_container_and_a_recall(demo: Demo, tmp_path: Path) -> None:
    started = time.monotonic()
    done = demo()
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 30
    told = done.stdout
    assert "The model's replies are scripted" in told
    assert "POST /oauth/token 401" in told
    assert told.index("POST /oauth/token 401") < told.index("POST /oauth/token 200")
    assert "discovered: barn_weather, barn_hay_per_kg, herd_animals, herd_note, herd_remove" in told
    assert "? may it call tool:herd/note" in told
    assert "x denied: call tool:herd/remove: animals are not given away by machines" in told
    container = re.search(r"in the sandbox docker ([0-9a-f]{12})\.", told)
    assert container is not None
    assert f"computed in {container[1]}" in told
    assert "'hay_kg': 30.3" in told
    assert "= On Thursdays, as you told me." in told
    assert "refused by rule no-selling" in told
    assert list(tmp_path.glob("corral-demo-*")) == []


def test_without_the_policy_what_it_denied_succeeds(demo: Demo) -> None:
    told = demo("--without-policy").stdout
    assert "Flora has left us." in told
    assert "denied" not in told
    # Flora's hay is no longer needed: the animal is really gone.
    assert "'hay_kg': 28.2" in told


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"the demo ended before it said {text!r}")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "not within 20 s"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_it_leaves_nothing_behind(
    how: signal.Signals, environment: dict[str, str], docker_image: None
) -> None:
    command = [sys.executable, "-m", "corral.apps", "demo"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment, "PYTHONUNBUFFERED": "1"},
    ) as process:
        wait_for(process, "in the sandbox docker")
        assert containers_of(process.pid) != []
        servers = children_of(process.pid)
        assert any("corral.apps.demo.barn" in line for line in servers)
        process.send_signal(how)
        assert process.wait(20) == (130 if how is signal.SIGINT else -signal.SIGKILL)
    until(lambda: containers_of(process.pid) == [])
