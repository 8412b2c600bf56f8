"""Results that are too long for a model, kept as files, and the tool that reads on in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

import anyio

from corral.policy import Admission, Label, Redactor
from corral.tools.long_text import LongText, Span
from corral.tools.observation import Observation
from corral.tools.selection import select_by_path, select_by_pointer
from corral.tools.tool import Effect, Tool

__all__ = ["Artifacts"]

_MAX_PART: Final = 20_000
_PART: Final = 1 << 20
_REACH: Final = 1 << 16
"""Characters of the longest secret that is looked for in a text that is kept in a file."""
_LABEL: Final = ".label"
_NAME: Final = re.compile(r".+-[0-9a-f]+\.(json|txt)(\.label)?")
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "artifact": {"type": "string", "description": "As the shortened result named it."},
        "pointer": {
            "type": "string",
            "description": "JSON Pointer into a JSON result, such as /items/0/name; empty for all of it.",
        },
        "path": {
            "type": "string",
            "description": "Or a JSONPath query that finds several values, such as $.items[?@.price > 10].name.",
        },
        "offset": {"type": "integer", "description": "Characters to skip.", "default": 0},
        "length": {"type": "integer", "description": f"Characters to read, at most {_MAX_PART}.", "default": 8000},
    },
    "required": ["artifact"],
    "additionalProperties": False,
}


class Artifacts:
    """A folder for whole results, and a source with one tool, `read_result`, which reads them in parts.

    Files are the owner's only. They stay when the toolbox is closed, with their labels beside them, so that a run or a
    session goes on reading in another process, where one result has the same name. Who made the folder removes it.

    Args:
        folder: Made when the first result is kept.
        max_chars: Of a result that is given whole; of a longer one, head and tail are.
        redactor: Takes out of a result what must not be on disk, nor be read in parts.
        keep_days: Older files are removed from the folder when the toolbox is opened; None keeps all.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        max_chars: int = 20_000,
        keep_days: float | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self.name = "results"
        self._folder = Path(folder)
        self._max_chars = max_chars
        self._keep_days = keep_days
        self._redactor = redactor
        self._labels: dict[str, Label] = {}
        self._tool = Tool(
            "read_result",
            "tool:results/read_result",
            self._read,
            description="Read on in a result that was shortened.",
            input_schema=_SCHEMA,
            effect=Effect.READ,
            read_only=True,
        )

    def shorten(self, tool: str, observation: Observation) -> Observation:
        """The observation itself, or one with head and tail of its text and the name of the file that has all."""
        text = cast("LongText", observation.whole) if observation.is_unread else observation.text
        if len(text) <= self._max_chars or (observation.whole is not None and not observation.is_unread):
            return observation
        structured = observation.structured
        if self._redactor is not None:
            text, structured = self._redacted(text, self._redactor), self._redactor.redact_json(structured)
            observation = replace(observation, structured=structured)
        as_json = None if structured is None else json.dumps(structured, ensure_ascii=False)
        name = self._keep(tool, observation.label, text if as_json is None else as_json, as_json is not None)
        head, tail = _ends(text, self._max_chars * 2 // 3, self._max_chars // 3)
        left_out = len(text) - len(head) - len(tail)
        note = f"\n[… {left_out} characters left out; read them with read_result(artifact={name!r}) …]\n"
        return replace(observation, text=head + note + tail, whole=text)

    async def tools(self) -> list[Tool]:
        return [self._tool]

    async def call(self, name: str, arguments: dict[str, Any], admission: Admission) -> Observation:
        return await self._tool.call(arguments, admission)

    async def __aenter__(self) -> Self:
        if self._keep_days is not None:
            remove_older(self._folder, time.time() - self._keep_days * 86400)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _redacted(self, text: str | LongText, redactor: Redactor) -> str | LongText:
        if isinstance(text, str):
            return redactor.redact(text)

        def find(part: str) -> list[Span]:
            return [(finding.start, finding.end, f"[{finding.kind}]") for finding in redactor.find(part)]

        return text.rewritten(find, _REACH)

    def _keep(self, tool: str, whose: Label, text: str | LongText, is_json: bool) -> str:
        label = json.dumps(whose.to_json())
        # By what it is: when a resumed run shortens the same result once more, the model finds the name that it knows.
        hashed = hashlib.sha256(f"{label}\n".encode())
        for part in _encoded(text):
            hashed.update(part)
        name = f"{tool[:40]}-{hashed.hexdigest()[:12]}.{'json' if is_json else 'txt'}"
        if name not in self._labels:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._write(name, text)
            self._write(name + _LABEL, label)
            self._labels[name] = whose
        return name

    def _write(self, name: str, text: str | LongText) -> None:
        """All of it or nothing, however many processes keep the same; a planted link is not followed."""
        written = self._folder / f".{name}.{secrets.token_hex(4)}"
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for part in _encoded(text):
                file.write(part)
        written.replace(self._folder / name)

    def _label(self, name: str) -> Label | None:
        """The label of something that was kept, here or in an earlier process; None if nothing was."""
        if name not in self._labels and name == Path(name).name:
            try:
                self._labels[name] = Label.from_json(json.loads((self._folder / (name + _LABEL)).read_text("utf-8")))
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return self._labels.get(name)

    async def _read(self, arguments: dict[str, Any]) -> Observation:
        name = arguments["artifact"]
        label = self._label(name)
        if label is None:
            return Observation(f"there is no result {name!r} of this run", is_error=True)
        try:
            text = await anyio.to_thread.run_sync(self._look, name, arguments, abandon_on_cancel=True)
        except FileNotFoundError:
            return Observation(f"the result {name!r} was kept, and has been removed since", is_error=True)
        except (ValueError, LookupError) as error:
            asked = arguments.get("pointer") or arguments.get("path") or name
            return Observation(f"{asked!r} leads nowhere in it: {error}", is_error=True, label=label)
        offset = max(0, arguments.get("offset", 0))
        if offset >= len(text) > 0:
            return Observation(f"it ends before that: it has {len(text)} characters", is_error=True, label=label)
        part = text[offset : offset + min(max(1, arguments.get("length", 8000)), _MAX_PART)]
        left = len(text) - offset - len(part)
        return Observation(part + (f"\n[… {left} characters more]" if left > 0 else ""), label=label)

    def _look(self, name: str, arguments: dict[str, Any]) -> str:
        text = (self._folder / name).read_text(encoding="utf-8", errors="surrogatepass")
        pointer, query = arguments.get("pointer"), arguments.get("path")
        if (pointer or query) and not name.endswith(".json"):
            raise ValueError("it is text, not JSON; read it by offset and length")
        if pointer:
            value = select_by_pointer(json.loads(text), pointer)
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if query:
            found, has_more = select_by_path(json.loads(text), query)
            note = f"[the first {len(found)} of more matches]\n" if has_more else ""
            return note + json.dumps(found, ensure_ascii=False)
        return text


def _ends(text: str | LongText, head: int, tail: int) -> tuple[str, str]:
    if isinstance(text, LongText):
        return text.head(head), text.tail(tail)
    return text[:head], text[-tail:]


def _encoded(text: str | LongText) -> Iterator[bytes]:
    """In parts: a long text is not copied whole."""
    if isinstance(text, LongText):
        yield from (part.encode("utf-8", "surrogatepass") for part in text.parts())
        return
    for start in range(0, len(text), _PART):
        yield text[start : start + _PART].encode("utf-8", "surrogatepass")


def remove_older(folder: Path, than: float) -> None:
    """Remove the folder's own files that were last written before `than`, seconds of the epoch."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        with suppress(OSError):
            if path.is_file() and _NAME.fullmatch(path.name) and path.stat().st_mtime < than:
                path.unlink()
