"""`@path` in what a person writes: the file's text is put below it, marked as what it is, or the picture beside it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corral.agents import DefinitionError, quote
from corral.apps.attached import PICTURES, picture
from corral.policy import Action, Admission, Approval, ApprovalRequest, Approver, Denied, Gate

__all__ = ["MENTION", "TypedConsent", "resource_of", "with_files"]

MENTION = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|([^\s"]+))')
_MOST_BYTES = 100_000
_MOST_PICTURE_BYTES = 20_000_000


async def with_files(text: str, gate: Gate, warn: Callable[[str], None]) -> str | list[Any]:
    """`text`, and below it each file that it mentions, read through `gate`. What is no file stays a word.

    Returns:
        A text; or, where pictures are among the files, the text and these.
    """
    blocks: list[str] = []
    pictures: list[Any] = []
    seen: set[Path] = set()
    for found in MENTION.finditer(text):
        named = found[1] or found[2]
        path = _existing(named)
        if path is None or path in seen:
            if path is None and ("/" in named or "." in named.strip(".")):
                warn(f"@{named}: there is no such file")
            continue
        seen.add(path)
        try:
            is_picture = path.suffix.lower() in PICTURES
            data = await _read(path, gate, _MOST_PICTURE_BYTES if is_picture else _MOST_BYTES)
            if is_picture:
                pictures.append(picture(path, data))
                continue
        except Denied as error:
            warn(f"@{named} was not read: {error}")
        except OSError as error:
            warn(f"@{named} can't be read: {error.strerror}")
        except DefinitionError as error:
            warn(str(error))
        else:
            if (block := _block(named, path, data)) is None:
                warn(f"@{named} is not text, and was left out")
            else:
                blocks.append(block)
    whole = "\n\n".join((text, *blocks))
    return [whole, *pictures] if pictures else whole


def resource_of(path: Path) -> str:
    """How rules name a file: from the folder where the chat was started, or whole outside of it."""
    try:
        return f"file:{path.relative_to(Path.cwd().resolve())}"
    except ValueError:
        return f"file:{path}"


class TypedConsent:
    """Takes a mention as the person's answer to the ask about it, in the folder where the chat was started.

    Outside of it, and for hidden files such as `.env`, `others` are asked: a path may have been pasted unread.
    """

    def __init__(self, others: Approver) -> None:
        self._others = others

    async def decide(self, request: ApprovalRequest) -> Approval:
        path = Path(request.action.resource.removeprefix("file:"))
        if not path.is_absolute() and not any(part.startswith(".") for part in path.parts):
            return Approval(request.digest, True, request.action.user, "the person mentioned it")
        return await self._others.decide(request)


def _existing(named: str) -> Path | None:
    try:
        path = Path(named).expanduser().resolve()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None


async def _read(path: Path, gate: Gate, most: int) -> bytes:
    resource = resource_of(path)

    async def effect(admission: Admission) -> bytes:
        admission.claim(resource, "read")
        return _head(path, most)

    return await gate.perform(Action(resource, "read", "agent:bench"), effect)


def _head(path: Path, most: int) -> bytes:
    # The path is resolved, so a link in its place now was put there since it was judged.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(most + 1)


def _block(named: str, path: Path, data: bytes) -> str | None:
    whole = len(data) <= _MOST_BYTES
    kept = data[:_MOST_BYTES]
    if b"\0" in kept:
        return None
    text = kept.decode("utf-8", "replace")
    if text.count("�") > len(text) // 20:
        return None
    cut = "" if whole else f", its first {_MOST_BYTES} bytes of {path.stat().st_size}"
    return quote(f"file {named}{cut}", text)
