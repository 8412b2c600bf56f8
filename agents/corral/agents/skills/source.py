"""Skills as a source of one tool: names and descriptions at first, instructions and files when they are asked for."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from corral.agents.errors import DefinitionError
from corral.agents.skills.frontmatter import BadSkill
from corral.agents.skills.local import LocalSkill, check_folder, list_local, read_lock
from corral.policy import Admission
from corral.tools import Effect, Observation, Tool

if TYPE_CHECKING:
    from corral.agents.skills.served import ServedSkill
    from corral.tools import MCPServer

__all__ = ["Skills"]

_BODY: Final = "SKILL.md"
_MOST: Final = 100
_TOLD: Final = "Read how something is done, before you do it. There are these skills:"


class Skills:
    """Skills of folders and of MCP servers, as a source with the tool `read_skill`.

    A skill is its folder's listing from the moment on when the source is opened: a file that changes after that, or is
    not what its server listed, is refused; no path leads out of a folder. What cannot be offered is told in `left_out`.

    Args:
        places: Folders that are a skill or have some, and servers. A server that stands here is opened by this source,
            and gives its skills only, or its tools as well with `with_tools`.
        lock: What `lock_skills` wrote. A local skill in it is endorsed: its text is a directory's. One that differs
            from it is refused. All others are untrusted.

    Raises:
        DefinitionError: A folder is not there or holds no skill, or the lock can't be read.
    """

    def __init__(
        self, *places: str | Path | MCPServer, lock: str | Path | None = None, with_tools: bool = False
    ) -> None:
        self.name = "skills"
        self._folders = [Path(place) for place in places if isinstance(place, str | Path)]
        self._servers = [place for place in places if not isinstance(place, str | Path)]
        self._lock = lock
        self._with_tools = with_tools
        self._skills: dict[str, LocalSkill | ServedSkill] = {}
        self._stack: AsyncExitStack | None = None
        self.left_out: dict[str, str] = {}
        """One sentence for each skill that can't be offered, by its name."""
        if not places:
            raise DefinitionError("Skills takes folders or MCP servers")
        for folder in self._folders:
            check_folder(folder)
        if lock is not None:
            read_lock(lock)

    async def tools(self) -> list[Tool]:
        found = [tool for server in self._servers for tool in await server.tools()] if self._with_tools else []
        return [*([self._tool()] if self._skills else []), *found]

    async def call(self, name: str, arguments: dict[str, Any], admission: Admission) -> Observation:
        return await next(tool for tool in await self.tools() if tool.name == name).call(arguments, admission)

    async def __aenter__(self) -> Self:
        self._skills, self.left_out = {}, {}
        async with AsyncExitStack() as stack:
            lock = {} if self._lock is None else read_lock(self._lock)
            for folder in self._folders:
                self._take(*list_local(folder, lock))
            for server in self._servers:
                from corral.agents.skills.served import list_served  # and with it MCP, which folders can do without

                await stack.enter_async_context(server)
                self._take(*await list_served(server))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    def _take(self, found: list[Any], left_out: dict[str, str]) -> None:
        self.left_out.update(left_out)
        for skill in found:
            if skill.name in self._skills:
                self.left_out[skill.name] = "another skill has this name; only the first is offered"
            elif len(self._skills) >= _MOST:
                self.left_out[skill.name] = f"there are more than {_MOST} skills"
            else:
                self._skills[skill.name] = skill

    def _tool(self) -> Tool:
        told = [f"- {skill.name}: {skill.description}" for skill in self._skills.values()]
        return Tool(
            "read_skill",
            "tool:skills/read_skill",
            self._read,
            description="\n".join([_TOLD, *told]),
            input_schema={
                "type": "object",
                "properties": {
                    "skill": {"type": "string", "description": "Its name, as it is listed."},
                    "path": {"type": "string", "description": "One of its files.", "default": _BODY},
                },
                "required": ["skill"],
                "additionalProperties": False,
            },
            effect=Effect.READ,
            read_only=True,
        )

    async def _read(self, arguments: dict[str, Any]) -> Observation:
        name, path = str(arguments["skill"]), str(arguments.get("path") or _BODY)
        skill = self._skills.get(name)
        if skill is None:
            return Observation(f"there is no skill {name!r}; there are {', '.join(self._skills)}", is_error=True)
        try:
            text = await skill.read(path)
        except (BadSkill, OSError) as error:
            return Observation(f"the skill {name!r} can't be read: {error}", is_error=True, label=skill.label)
        others = [each for each in skill.paths if each != _BODY]
        if path == _BODY and others:
            text += f"\n\n(Its other files, by path: {', '.join(others)})"
        return Observation(text, label=skill.label)
