"""What a SKILL.md says of itself."""

from __future__ import annotations

import re
from typing import Any, cast

__all__ = ["BadSkill", "about", "read_frontmatter"]

_FENCE = "---"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class BadSkill(ValueError):
    """A skill can't be offered; the message says why."""


def read_frontmatter(text: str) -> tuple[dict[str, Any], str]:
    """The YAML between the fences, and the text below them.

    Raises:
        BadSkill: There is none, or it can't be read.
    """
    import yaml  # keeps start-up light

    lines = text.splitlines()
    if not lines or lines[0].strip() != _FENCE or _FENCE not in (line.strip() for line in lines[1:]):
        raise BadSkill("its SKILL.md does not begin with front matter between two lines of ---")
    end = next(number for number, line in enumerate(lines[1:], 1) if line.strip() == _FENCE)
    try:
        said: Any = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.YAMLError as error:
        raise BadSkill(f"the front matter of its SKILL.md can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(said, dict):
        raise BadSkill("the front matter of its SKILL.md is no mapping")
    return cast("dict[str, Any]", said), "\n".join(lines[end + 1 :]).strip()


def about(said: dict[str, Any]) -> tuple[str, str]:
    """Name and description, on one line each.

    Raises:
        BadSkill: They are missing, or not as skills have them (agentskills.io).
    """
    name, description = said.get("name"), said.get("description")
    if not isinstance(name, str) or len(name) > 64 or not _NAME.fullmatch(name):
        raise BadSkill("its name is not 1 to 64 of a-z, 0-9 and single hyphens")
    if not isinstance(description, str) or not description.strip() or len(description) > 1024:
        raise BadSkill("its description is not 1 to 1024 characters long")
    return name, " ".join(description.split())
