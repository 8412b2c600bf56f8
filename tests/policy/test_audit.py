from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from corral.policy import (
    AuditBroken,
    AuditRecord,
    ChainedAudit,
    Checkpoint,
    FileAudit,
    load_key,
    verify,
)

KEY = b"k" * 32


def record(number: int = 0, detail: str | None = None) -> AuditRecord:
    return AuditRecord(
        "intent", "run", f"tool:x/{number}", "call", "agent:main", "user:ann", "d", "allow", "r", None, detail
    )


def small(path: Path, lines: int = 3) -> Checkpoint:
    audit = ChainedAudit(path, key=KEY)
    for number in range(lines):
        audit.append(record(number))
    checkpoint = audit.checkpoint()
    audit.close()
    return checkpoint


WRITER = """
import sys
from pathlib import Path
from corral.policy import AuditRecord, ChainedAudit, FileAudit

kind, path, process = sys.argv[1:]
audit = FileAudit(Path(path)) if kind == "plain" else ChainedAudit(Path(path), key=b"k" * 32)
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    detail = f"process {process}"
    audit.append(
        AuditRecord(
            "intent", "run", f"tool:x/{number}", "call", "agent:main", "user:ann", "d", "allow", "r", None, detail
        )
    )
"""


def run_processes(kind: str, path: Path) -> None:
    """Four processes append a hundred records each, all starting at the same time."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, kind, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.communicate("go\n", timeout=60)
        assert worker.returncode == 0


def test_a_file_keeps_what_it_holds_and_takes_lines_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a" / "audit.jsonl"
    for number in range(2):
        audit = FileAudit(path)
        audit.append(record(number))
        audit.close()
        audit.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["resource"] for line in lines] == ["tool:x/0", "tool:x/1"]
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="closed"):
        audit.append(record())


def test_processes_that_share_a_plain_file_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    run_processes("plain", path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 400
    assert len({(line["pid"], line["seq"]) for line in lines}) == 400


def test_processes_that_share_a_chain_seal_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    run_processes("sealed", path)
    assert verify(path, KEY).lines == 400


def test_threads_that_share_a_chain_seal_one_chain(tmp_path: Path) -> None:
    audit = ChainedAudit(tmp_path / "a", key=KEY)
    threads = [threading.Thread(target=lambda: [audit.append(record(n)) for n in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(tmp_path / "a", KEY) == audit.checkpoint()
    assert audit.checkpoint().lines == 400


def test_a_chain_goes_on_after_it_was_closed(tmp_path: Path) -> None:
    small(tmp_path / "a", 1)
    small(tmp_path / "a", 2)
    assert small(tmp_path / "a", 3).lines == 6
    assert verify(tmp_path / "a", KEY).lines == 6


def test_an_empty_audit_is_whole(tmp_path: Path) -> None:
    checkpoint = small(tmp_path / "a", 0)
    assert verify(tmp_path / "a", KEY, checkpoint) == checkpoint


def test_every_byte_that_is_changed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    small(path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for other in {whole[at] ^ 1, whole[at] ^ 0x20, ord("\n"), 0} - {whole[at]}:
            path.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
            with pytest.raises(AuditBroken):
                verify(path, KEY)


def test_every_byte_that_is_taken_away_or_put_in_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    small(path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for changed in (whole[:at] + whole[at + 1 :], whole[:at] + b"x" + whole[at:], whole[:at] + b"\n" + whole[at:]):
            path.write_bytes(changed)
            with pytest.raises(AuditBroken):
                verify(path, KEY)


def test_every_truncation_is_found_with_a_checkpoint_and_without_one_only_within_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a"
    checkpoint = small(path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at])
        with pytest.raises(AuditBroken):
            verify(path, KEY, checkpoint)
        if at == 0 or whole[at - 1] == ord("\n"):
            assert verify(path, KEY).lines == whole[:at].count(b"\n")


def test_lines_that_are_moved_dropped_or_doubled_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a"
    checkpoint = small(path, 4)
    a, b, c, d = path.read_bytes().splitlines(keepends=True)
    for lines in ([b, a, c, d], [a, c, b, d], [a, b, d], [b, c, d], [a, a, b, c, d], [a, b, c, d, d], [d]):
        path.write_bytes(b"".join(lines))
        with pytest.raises(AuditBroken):
            verify(path, KEY, checkpoint)


def test_a_chain_of_another_key_or_another_history_is_found(tmp_path: Path) -> None:
    checkpoint = small(tmp_path / "a")
    with pytest.raises(AuditBroken):
        verify(tmp_path / "a", b"x" * 32)
    small(tmp_path / "b")
    with pytest.raises(AuditBroken, match="checkpoint names"):
        verify(tmp_path / "b", KEY, checkpoint)


def test_a_checkpoint_stays_good_while_the_audit_grows(tmp_path: Path) -> None:
    old = small(tmp_path / "a")
    small(tmp_path / "a")
    assert verify(tmp_path / "a", KEY, old).lines == 6
    assert Checkpoint.from_json(json.loads(json.dumps(old.to_json()))) == old
    with pytest.raises(ValueError, match="no checkpoint"):
        Checkpoint.from_json({"lines": "3", "mac": "x"})


@pytest.mark.parametrize("end", [b"{", b'{"n":1}\n', b"\n", b"\xff\n"])
def test_nothing_is_added_to_an_end_that_is_not_sealed(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "a"
    small(path)
    path.write_bytes(path.read_bytes() + end)
    with pytest.raises(AuditBroken):
        ChainedAudit(path, key=KEY)


def test_a_file_changed_under_an_open_audit_is_noticed_at_the_next_record(tmp_path: Path) -> None:
    audit = ChainedAudit(tmp_path / "a", key=KEY)
    audit.append(record())
    with (tmp_path / "a").open("ab") as file:
        file.write(b'{"forged":true}\n')
    with pytest.raises(AuditBroken):
        audit.append(record())
    os.truncate(tmp_path / "a", 0)
    with pytest.raises(AuditBroken, match="shorter"):
        audit.append(record())


def test_the_key_beside_the_audit_is_its_owners_only(tmp_path: Path) -> None:
    ChainedAudit(tmp_path / "a").append(record())
    key = tmp_path / "a.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert verify(tmp_path / "a", load_key(key)).lines == 1
    key.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        ChainedAudit(tmp_path / "a")


def test_a_record_takes_well_under_a_millisecond(tmp_path: Path) -> None:
    audit = ChainedAudit(tmp_path / "a", key=KEY)
    started = time.process_time()
    for _ in range(2000):
        audit.append(record())
    assert (time.process_time() - started) / 2000 < 500e-6
