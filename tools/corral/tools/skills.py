"""Skills of MCP servers (SEP-2640): listed without their files, each of which is checked when it is read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from corral.tools.errors import ToolSourceError

if TYPE_CHECKING:
    from mcp.client.client import Client

__all__ = ["EXTENSION", "Skill", "SkillFile", "list_skills", "read_skill_file"]

EXTENSION: Final = "io.modelcontextprotocol/skills"
_MAX_PAGES: Final = 100
_FENCE: Final = "---"


class _File(BaseModel):
    uri: str
    digest: str
    size: int


class _Skill(BaseModel):
    uri: str
    frontmatter: dict[str, Any] = {}
    resources: list[_File] = []


class _Page(BaseModel):
    model_config = ConfigDict(extra="ignore")

    skills: list[_Skill] = []
    nextCursor: str | None = None


@dataclass(frozen=True, slots=True)
class SkillFile:
    """One file of a skill, as it was listed.

    Attributes:
        digest: "sha256:" and hex digits.
        size: Bytes.
    """

    uri: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Skill:
    """What a server says of one skill; nothing of its files is fetched before it is loaded.

    Attributes:
        uri: Of the file with its instructions, whose frontmatter must be the one that was listed.
    """

    uri: str
    frontmatter: dict[str, Any] = field(default_factory=dict[str, Any])
    files: tuple[SkillFile, ...] = ()

    @property
    def name(self) -> str:
        return str(self.frontmatter.get("name", self.uri))

    @property
    def description(self) -> str:
        return str(self.frontmatter.get("description", ""))


async def list_skills(client: Client) -> tuple[Skill, ...]:
    """All skills of the server; none if it has not this extension."""
    import mcp_types as types  # keeps start-up light

    if EXTENSION not in (client.server_capabilities.extensions or {}):
        return ()
    found: list[Skill] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        params = {} if cursor is None else {"cursor": cursor}
        request = types.Request[dict[str, Any], str](method="skills/list", params=params)
        page: _Page = await cast("Any", client.session).send_request(request, TypeAdapter(_Page))
        for each in page.skills:
            files = tuple(SkillFile(one.uri, one.digest, one.size) for one in each.resources)
            found.append(Skill(each.uri, each.frontmatter, files))
        cursor = page.nextCursor
        if cursor is None:
            return tuple(found)
    raise ValueError(f"its list of skills does not end after {_MAX_PAGES} pages")


async def read_skill_file(client: Client, server: str, skill: Skill, file: SkillFile) -> str:
    """The file's text, which is what was listed.

    Raises:
        ToolSourceError: It is something else; nothing of it may be used.
    """
    result = await client.read_resource(file.uri, cache_mode="bypass")
    text = getattr(result.contents[0], "text", None) if result.contents else None
    if not isinstance(text, str):
        raise ToolSourceError(server, f"the skill file {file.uri!r} is no text")
    content = text.encode()
    if len(content) != file.size:
        raise ToolSourceError(
            server, f"the skill file {file.uri!r} has {len(content)} bytes, not the {file.size} listed"
        )
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != file.digest.lower():
        raise ToolSourceError(server, f"the skill file {file.uri!r} is not the one that was listed (digest)")
    if file.uri == skill.uri and _read_frontmatter(text) != skill.frontmatter:
        raise ToolSourceError(server, f"the skill file {file.uri!r} says other things of itself than were listed")
    return text


def _read_frontmatter(text: str) -> Any:
    import yaml  # only where it is needed

    head, fence, rest = text.partition("\n")
    if head.strip() != _FENCE or not fence:
        return {}
    try:
        return yaml.safe_load(rest.partition(f"\n{_FENCE}")[0])
    except yaml.YAMLError:
        return None
