"""Pictures that tools return: shown where the terminal can, and kept as files that can be opened anywhere."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from corral.apps.chat.sixel import to_sixel
from corral.sandbox import Execution, Host, Sandbox, SandboxProvider, SandboxSpec
from corral.tools import Artifacts, Observation

__all__ = ["Picture", "PictureStore", "Shown", "inline"]

_MOST_BYTES = 8 * 1024**2
_CHUNK = 4096
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"RIFF": "webp"}


@dataclass(frozen=True)
class Picture:
    """A picture in a file of our own."""

    path: Path
    kind: str
    size: int

    def __str__(self) -> str:
        size = f"{self.size / 1000:.0f} kB" if self.size >= 1000 else f"{self.size} B"
        return f"picture {self.path} ({self.kind}, {size})"


class PictureStore(Artifacts):
    """Keeps pictures of tool results as files, beside results that are too long; `take` hands out the new ones."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pictures = folder
        self._new: list[Picture] = []

    def shorten(self, tool: str, observation: Observation) -> Observation:
        kept = [picture for data in _images(observation.contents) if (picture := self.keep(data)) is not None]
        if kept:
            said = "\n".join(f"[{picture}]" for picture in kept)
            observation = replace(observation, text=f"{observation.text}\n{said}")
        return super().shorten(tool, observation)

    def take(self) -> list[Picture]:
        """The pictures that came since the last time."""
        taken, self._new = self._new, []
        return taken

    def keep(self, data: bytes) -> Picture | None:
        """Keep one; None if it is no picture by its first bytes, or too large."""
        kind = next((kind for magic, kind in _KINDS.items() if data.startswith(magic)), None)
        if kind is None or len(data) > _MOST_BYTES:
            return None
        self._pictures.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._pictures / f"picture-{secrets.token_hex(4)}.{kind}"
        path.write_bytes(data)
        picture = Picture(path, kind, len(data))
        self._new.append(picture)
        return picture


class Shown:
    """A sandbox provider, whose cells' figures are kept as pictures; all else is the provider's own.

    Args:
        store: Where they are kept.
    """

    def __init__(self, provider: SandboxProvider, store: PictureStore) -> None:
        self._provider = provider
        self._store = store

    @property
    def name(self) -> str:
        return self._provider.name

    async def open(self, spec: SandboxSpec | None = None) -> Sandbox:
        return cast("Sandbox", _ShownSandbox(await self._provider.open(spec), self._store))

    async def close(self) -> None:
        await self._provider.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)


class _ShownSandbox:
    def __init__(self, sandbox: Sandbox, store: PictureStore) -> None:
        self._sandbox = sandbox
        self._store = store

    async def execute(
        self, code: str, variables: Mapping[str, Any] | None = None, *, timeout: float, host: Host | None = None
    ) -> Execution:
        execution = await self._sandbox.execute(code, variables, timeout=timeout, host=host)
        for artifact in execution.artifacts:
            self._store.keep(artifact.data)
        return execution

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sandbox, name)


def inline(picture: Picture, environ: Mapping[str, str]) -> str | None:
    """The sequence that shows a picture in this terminal; None where it shows none.

    It is kitty's protocol for kitty, Ghostty and WezTerm, iTerm's for iTerm, and sixels for foot, mlterm and Contour.
    Multiplexers pass none of them on.
    """
    if environ.get("TMUX") or environ.get("STY"):
        return None
    program, term = environ.get("TERM_PROGRAM", ""), environ.get("TERM", "")
    is_kitty = "KITTY_WINDOW_ID" in environ or "kitty" in term or program in ("ghostty", "WezTerm")
    encoded = base64.b64encode(picture.path.read_bytes()).decode()
    if is_kitty and picture.kind == "png":
        return "".join(_kitty(encoded)) + "\n"
    if program in ("iTerm.app", "WezTerm") or environ.get("LC_TERMINAL") == "iTerm2":
        return f"\x1b]1337;File=inline=1;size={picture.size}:{encoded}\x07\n"
    if term.startswith(("foot", "mlterm", "contour")) and picture.kind == "png":
        drawn = to_sixel(picture.path.read_bytes())
        return None if drawn is None else drawn + "\n"
    return None


def _kitty(encoded: str) -> Iterator[str]:
    """https://sw.kovidgoyal.net/kitty/graphics-protocol: PNG, sent in pieces, shown where the cursor is."""
    pieces = [encoded[start : start + _CHUNK] for start in range(0, len(encoded), _CHUNK)]
    for number, piece in enumerate(pieces):
        control = "a=T,f=100," if number == 0 else ""
        yield f"\x1b_G{control}m={int(number < len(pieces) - 1)};{piece}\x1b\\"


def _images(contents: tuple[Any, ...]) -> Iterator[bytes]:
    for content in contents:
        if getattr(content, "type", "") == "image":
            try:
                yield base64.b64decode(content.data, validate=True)
            except (binascii.Error, ValueError):
                continue
