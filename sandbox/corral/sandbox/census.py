"""What of ours is on this machine's engine: what runs, what a dead process left, and what can go."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime

from anyio import to_thread

from corral.sandbox import folder as folders
from corral.sandbox import owner
from corral.sandbox.engine import Engine
from corral.sandbox.errors import SandboxUnavailable
from corral.sandbox.image import VERSION

__all__ = ["Pruned", "Running", "prune", "running", "sweep", "sweep_engine"]


@dataclass(frozen=True)
class Running:
    """A container of any Corral process's.

    Attributes:
        id: The engine's, short, as in `Sandbox.id`.
        label: `SandboxSpec.label` of the first session in it.
        status: The engine's words, "Up 3 minutes".
        orphan: Whether the process that made it is surely gone, so that `sweep` would remove it.
    """

    id: str
    name: str
    label: str
    image: str
    status: str
    created: datetime
    owner_pid: int | None
    orphan: bool


@dataclass(frozen=True)
class Pruned:
    """What `prune` removed: ids of containers, tags of images."""

    containers: tuple[str, ...]
    images: tuple[str, ...]


async def running() -> list[Running]:
    """Every sandbox container on the engine, the oldest first.

    Raises:
        SandboxUnavailable: No engine answers.
    """

    def run() -> list[Running]:
        engine = Engine.connect()
        try:
            found = engine.containers()
        finally:
            engine.close()
        rows = [
            Running(
                each.id[:12],
                each.name,
                each.labels.get("corral.label", ""),
                each.image,
                each.status,
                datetime.fromtimestamp(each.created, UTC),
                owner.pid(each.labels),
                owner.is_dead(each.labels),
            )
            for each in found
        ]
        return sorted(rows, key=lambda row: row.created)

    return await to_thread.run_sync(run)


async def sweep() -> list[str]:
    """Remove the containers whose owner has died, and their folders; returns their ids.

    Raises:
        SandboxUnavailable: No engine answers.
    """
    return list((await _clean(images=False)).containers)


async def prune() -> Pruned:
    """`sweep`, and remove the images of earlier versions that no container uses.

    Raises:
        SandboxUnavailable: No engine answers.
    """
    return await _clean(images=True)


async def _clean(*, images: bool) -> Pruned:
    def run() -> Pruned:
        engine = Engine.connect()
        try:
            containers = sweep_engine(engine)
            return Pruned(tuple(containers), tuple(_remove_old_images(engine)) if images else ())
        finally:
            engine.close()

    return await to_thread.run_sync(run)


def sweep_engine(engine: Engine) -> list[str]:
    """`sweep`, with an engine that is connected. Blocks."""
    removed: list[str] = []
    for found in engine.containers():
        if not owner.is_dead(found.labels):
            continue
        with contextlib.suppress(SandboxUnavailable):  # another sweep may be at it; the next one tries again
            engine.remove(found.id)
            removed.append(found.id)
    folders.sweep()
    return removed


def _remove_old_images(engine: Engine) -> list[str]:
    removed: list[str] = []
    for tag in engine.image_tags("corral-sandbox"):
        version = tag.partition(":")[2].partition("-")[0]
        if version.isdecimal() and int(version) < int(VERSION):
            with contextlib.suppress(SandboxUnavailable):  # in use
                engine.remove_image(tag)
                removed.append(tag)
    return removed
