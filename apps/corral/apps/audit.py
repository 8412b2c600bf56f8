"""`corral audit`: what was done, and that nobody rewrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from corral.apps.assembly import read_settings
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

__all__ = ["audit"]


@click.group()
def audit() -> None:
    """Verify, show and export the audit of every effect."""


@audit.command()
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Kept elsewhere: finds lines cut off at the end.")
@click.option("--save", type=click.Path(path_type=Path), help="Write a checkpoint to this file; keep it elsewhere.")
def verify(checkpoint: Path | None, save: Path | None) -> None:
    """Check that no line was edited, removed or moved; exit status 1 if one was."""
    from corral.policy import Checkpoint, load_key
    from corral.policy import verify as check

    path = _path()
    with explained():
        known = Checkpoint.from_json(json.loads(checkpoint.read_text())) if checkpoint is not None else None
        reached = check(path, load_key(key_of(path)), known)
        if save is not None:
            save.write_text(json.dumps(reached.to_json()) + "\n")
    click.echo(f"{path}: {reached.lines} lines, unbroken")


@audit.command()
@click.option("-n", "most", type=click.IntRange(min=1), default=50, show_default=True, help="The newest, at the most.")
@click.option("--refused", is_flag=True, help="Only what did not happen.")
def show(most: int, refused: bool) -> None:
    """Show the newest records."""
    records = [record for record in _records(_path()) if not refused or record["entry"] == "refusal"]
    for record in records[-most:]:
        at = datetime.fromtimestamp(record["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        result = record.get("result", "")
        rule = f"rule {record['rule']}" if record.get("rule") else "no rule"
        click.echo(
            printable(
                f"{at}  {record['entry']:<8}{result:<10} {record['verb']} {record['resource']}"
                f"  {record['principal']} for {record['user']}  {rule}  {record.get('detail', '')}".rstrip()
            )
        )


@audit.command()
def export() -> None:
    """Write all records to stdout, a line of JSON each."""
    for record in _records(_path()):
        click.echo(json.dumps(record, ensure_ascii=False))


def key_of(path: Path) -> Path:
    """Where the audit's key is kept: beside it, readable by its owner only."""
    return path.with_name(path.name + ".key")


def _path() -> Path:
    path = read_settings().audit
    if not path.exists():
        raise fail(f"there is no audit yet in {path.parent}", Exit.BAD_INPUT)
    return path


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                record: Any = json.loads(line)
            except ValueError:
                continue
            yield record.get("record", record)
