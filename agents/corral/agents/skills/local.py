"""Skills of this machine: folders with a SKILL.md, whose files are those that were listed and locked, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corral.agents.errors import DefinitionError
from corral.agents.skills.frontmatter import BadSkill, about, read_frontmatter
from corral.policy import Integrity, Label

__all__ = ["LocalSkill", "check_folder", "list_local", "lock_skills", "read_lock"]

_BODY = "SKILL.md"
_MOST_FILES = 1000
_MOST_BYTES = 1024 * 1024
_VERSION = 1


@dataclass(frozen=True)
class LocalSkill:
    """One skill folder, as it was when it was listed.

    Attributes:
        digests: "sha256:..." of each file, by its path in the folder.
        endorsed: Whether a lock file has these very digests.
    """

    folder: Path
    name: str
    description: str
    digests: Mapping[str, str]
    endorsed: bool

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(sorted(self.digests))

    @property
    def label(self) -> Label:
        source = frozenset((f"skill:{self.name}",))
        return Label(Integrity.DIRECTORY, sources=source) if self.endorsed else Label(sources=source)

    async def read(self, path: str) -> str:
        """The text of a file.

        Raises:
            BadSkill: There is none, it is no text, or it is not what was listed.
        """
        if path not in self.digests:
            raise BadSkill(f"it has no file {path!r}; it has {', '.join(self.paths)}")
        data = _read(self.folder, path)
        if _digest(data) != self.digests[path]:
            raise BadSkill(f"its file {path!r} is not the one that was listed")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise BadSkill(f"its file {path!r} is no text") from None
        return read_frontmatter(text)[1] if path == _BODY else text


def check_folder(place: Path) -> None:
    """See that there is something to take skills from, whether or not it can be offered.

    Raises:
        DefinitionError: There is no such folder, or no skill in it.
    """
    if next(_folders(place), None) is None:
        raise DefinitionError(f"{place} holds no skill: neither a {_BODY} nor a folder with one")


def list_local(place: Path, lock: Mapping[str, Mapping[str, str]]) -> tuple[list[LocalSkill], dict[str, str]]:
    """The skills of a folder, which is one itself or has some, and why others can't be offered, by folder name.

    Args:
        lock: The digests of the skills that a person has approved.

    Raises:
        DefinitionError: There is no such folder.
    """
    found: list[LocalSkill] = []
    left_out: dict[str, str] = {}
    for folder in _folders(place):
        try:
            found.append(_skill(folder, lock))
        except (BadSkill, OSError) as error:
            left_out[folder.name] = str(error)
    return found, left_out


def lock_skills(folder: str | Path, path: str | Path) -> list[str]:
    """Approve the skills of a folder as they are now: their digests are written to `path`.

    Returns:
        Their names.

    Raises:
        DefinitionError: One can't be offered, or there is none.
    """
    skills, left_out = list_local(Path(folder), {})
    if left_out or not skills:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "it has no skills"
        raise DefinitionError(f"the skills of {folder} can't be locked: {why}")
    said = {"version": _VERSION, "skills": {skill.name: dict(skill.digests) for skill in skills}}
    Path(path).write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return [skill.name for skill in skills]


def read_lock(path: str | Path) -> dict[str, dict[str, str]]:
    """The digests by skill and file.

    Raises:
        DefinitionError: It can't be read, or was written by a newer version.
    """
    try:
        said: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        if said["version"] != _VERSION:
            raise DefinitionError(f"{path} has version {said['version']}, and this Corral knows {_VERSION}")
        return {str(name): {str(f): str(d) for f, d in files.items()} for name, files in said["skills"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DefinitionError(f"{path} is no lock file of skills: {error}") from None


def _folders(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        raise DefinitionError(f"there is no folder {place} to take skills from")
    if (place / _BODY).exists():
        yield place
        return
    yield from sorted(child for child in place.iterdir() if (child / _BODY).exists())


def _skill(folder: Path, lock: Mapping[str, Mapping[str, str]]) -> LocalSkill:
    digests = {path: _digest(_read(folder, path)) for path in _paths(folder)}
    body = _read(folder, _BODY)
    name, description = about(read_frontmatter(body.decode("utf-8", "replace"))[0])
    if name != folder.resolve().name:
        raise BadSkill(f"it calls itself {name!r}, and its folder is {folder.name!r}")
    if name in lock and lock[name] != digests:
        changed = sorted(path for path in {*digests, *lock[name]} if digests.get(path) != lock[name].get(path))
        raise BadSkill(f"it is not what was locked: {', '.join(changed[:5])}; look at it, then lock it anew")
    return LocalSkill(folder, name, description, digests, endorsed=name in lock)


def _paths(folder: Path) -> Iterator[str]:
    count = 0
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted((*files, *(each for each in folders if (Path(root) / each).is_symlink()))):
            count += 1
            if count > _MOST_FILES:
                raise BadSkill(f"it has more than {_MOST_FILES} files")
            if not name.startswith("."):
                yield (Path(root) / name).relative_to(folder).as_posix()


def _read(folder: Path, path: str) -> bytes:
    """The bytes of a file within the folder, which nothing leads out of."""
    file = folder / path
    home = folder.resolve()
    if not file.resolve().is_relative_to(home):
        raise BadSkill(f"its file {path!r} leads out of its folder")
    if not file.is_file():
        raise BadSkill(f"its file {path!r} is no file")
    with file.open("rb") as opened:
        data = opened.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise BadSkill(f"its file {path!r} has more than 1 MiB")
    return data


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
