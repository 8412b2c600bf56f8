"""Telling a container in use from one that a dead process left."""

import os

import pytest

from corral.sandbox import owner


def test_a_living_process_is_not_dead() -> None:
    assert not owner.is_dead(owner.labels())


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({"pid": "4194305"}, True),  # above the largest pid there is
        ({"started": "1"}, True),  # the pid was given to another process
        ({"boot": "an-earlier-boot"}, True),
        ({"pid": "4194305", "namespace": "pid:[1]"}, False),  # cannot be told from here
        ({"pid": "x"}, False),
        ({"pid": ""}, False),
    ],
)
def test_dead_is_only_what_is_surely_dead(change: dict[str, str], dead: bool) -> None:
    labels = owner.labels()
    pid, started, boot = labels[owner.OWNER].split(":")
    parts = {"pid": pid, "started": started, "boot": boot, "namespace": labels[owner.PID_NAMESPACE], **change}
    changed = {
        owner.OWNER: f"{parts['pid']}:{parts['started']}:{parts['boot']}",
        owner.PID_NAMESPACE: parts["namespace"],
    }
    assert owner.is_dead(changed) is dead


def test_a_process_that_only_waits_to_be_reaped_is_dead() -> None:
    pid = os.fork()
    if pid == 0:
        os.read(0, 0)
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    labels = owner.labels()
    _, started, boot = labels[owner.OWNER].split(":")
    try:
        assert owner.is_dead({**labels, owner.OWNER: f"{pid}:{started}:{boot}"})
    finally:
        os.waitpid(pid, 0)


def test_labels_of_others_are_left_alone() -> None:
    assert not owner.is_dead({})
