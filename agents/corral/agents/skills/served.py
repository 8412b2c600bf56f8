"""Skills of MCP servers (SEP-2640): what is listed is offered, and read only if it is what was listed."""

from __future__ import annotations

from dataclasses import dataclass

from corral.agents.skills.frontmatter import BadSkill, about, read_frontmatter
from corral.policy import Label
from corral.tools import MCPServer, Skill, ToolSourceError

__all__ = ["ServedSkill", "list_served"]


@dataclass(frozen=True)
class ServedSkill:
    """One skill of a server; untrusted, like all that a server says."""

    server: MCPServer
    skill: Skill
    description: str

    @property
    def name(self) -> str:
        return f"{self.server.name}/{self.skill.name}"

    @property
    def label(self) -> Label:
        return Label.untrusted(f"skill:{self.name}")

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(sorted(self._path(file.uri) for file in self.skill.files))

    async def read(self, path: str) -> str:
        """The text of a file.

        Raises:
            BadSkill: There is none, or it is not what was listed.
        """
        file = next((file for file in self.skill.files if self._path(file.uri) == path), None)
        if file is None:
            raise BadSkill(f"it has no file {path!r}; it has {', '.join(self.paths)}")
        try:
            text = await self.server.read_skill(self.skill, file)
        except ToolSourceError as error:
            raise BadSkill(str(error)) from None
        return read_frontmatter(text)[1] if file.uri == self.skill.uri else text

    def _path(self, uri: str) -> str:
        folder = self.skill.uri.rpartition("/")[0]
        return uri.removeprefix(f"{folder}/")


async def list_served(server: MCPServer) -> tuple[list[ServedSkill], dict[str, str]]:
    """The skills of an open server, and why others can't be offered.

    Raises:
        ToolSourceError: The server can't be reached, or does not answer.
    """
    found: list[ServedSkill] = []
    left_out: dict[str, str] = {}
    for skill in await server.skills():
        try:
            _, description = about(skill.frontmatter)
            found.append(ServedSkill(server, skill, description))
        except BadSkill as error:
            left_out[f"{server.name}/{ascii(skill.name)[1:80]}"] = str(error)
    return found, left_out
