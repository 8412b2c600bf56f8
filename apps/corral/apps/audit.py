"""`corral audit`: what was done, and that nobody rewrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import click

from corral.apps.assembly import read_settings
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.policy import Checkpoint

__all__ = ["audit"]

_PATIENCE = 10.0
_MOST_BYTES = 10_000


@click.group()
def audit() -> None:
    """Verify, show and export the audit of every effect."""


@audit.command()
@click.option("--checkpoint", metavar="FILE|URL", help="Kept elsewhere: finds lines cut off at the end.")
@click.option("--save", metavar="FILE|URL", help="Write a checkpoint there, by PUT to a URL; keep it elsewhere.")
def verify(checkpoint: str | None, save: str | None) -> None:
    """Check that no line was edited, removed or moved; exit status 1 if one was."""
    from corral.policy import load_key
    from corral.policy import verify as check

    path = _path()
    with explained():
        known = _known(checkpoint) if checkpoint is not None else None
        reached = check(path, load_key(key_of(path)), known)
        if save is not None:
            _put(save, json.dumps(reached.to_json()) + "\n")
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


def _known(place: str) -> Checkpoint:
    from corral.policy import Checkpoint

    try:
        return Checkpoint.from_json(json.loads(_get(place)))
    except ValueError as error:
        raise fail(f"--checkpoint {place}: this is no checkpoint of an audit", Exit.BAD_INPUT) from error


def _get(place: str) -> str:
    if not place.startswith(("http://", "https://")):
        return Path(place).read_text(encoding="utf-8")
    with urlopen(_request(place, None), timeout=_PATIENCE) as answer:
        return answer.read(_MOST_BYTES).decode("utf-8")


def _put(place: str, text: str) -> None:
    if not place.startswith(("http://", "https://")):
        Path(place).write_text(text, encoding="utf-8")
        return
    with urlopen(_request(place, text.encode()), timeout=_PATIENCE):
        pass


def _request(url: str, body: bytes | None) -> Request:
    from corral.tools.address import is_private_way

    if not is_private_way(url):
        raise fail(f"{url}: a checkpoint goes over https only, except to this machine", Exit.BAD_INPUT)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    return Request(url, data=body, headers=headers, method="GET" if body is None else "PUT")


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
