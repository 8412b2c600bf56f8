"""MCP servers as sources of tools."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from corral.policy import Admission, Label, NotAdmitted
from corral.tools.annotations import believe
from corral.tools.arguments import broken
from corral.tools.caller import Caller
from corral.tools.calling import CURRENT
from corral.tools.connection import Connection
from corral.tools.contents import observe
from corral.tools.errors import TokenError, ToolConfigError, ToolSourceError
from corral.tools.failure import explain
from corral.tools.handlers import Handlers
from corral.tools.links import Links
from corral.tools.names import matches, spell
from corral.tools.observation import Observation
from corral.tools.prompts import completion_tool, list_prompts, prompt_tool
from corral.tools.resources import resource_tools
from corral.tools.servers import HttpServer, PerUser, ServerConfig, StdioServer
from corral.tools.skills import Skill, SkillFile, list_skills, read_skill_file
from corral.tools.tool import Effect, Tool
from corral.tools.watching import watching

if TYPE_CHECKING:
    import mcp_types

__all__ = ["HttpServer", "MCPServer", "PerUser", "StdioServer"]

_MAX_RAW_NAME: Final = 256


class MCPServer:
    """One MCP server as a source of tools: its process runs between `__aenter__` and `__aexit__`.

    Calls run concurrently over one connection. When that is lost, the next call makes it again, with growing waits; the
    tools stay those that were listed when it was opened. A call whose answer was lost is sent again if it can't have
    had an effect or may be repeated; otherwise its outcome is told to be unknown.

    Args:
        name: The first part of its tools' names and resources.
        connect_timeout: Seconds until its tools must be listed.
        environ: Where variables are looked up when it is opened; this process's environment when None.
        handlers: What the server may ask of the person, and tell.
        required: A toolbox does not open without it; otherwise the toolbox does without its tools, and says so.

    Raises:
        ToolConfigError: The name would not be told apart in a resource.
    """

    def __init__(
        self,
        name: str,
        config: ServerConfig,
        *,
        connect_timeout: float = 30.0,
        environ: Mapping[str, str] | None = None,
        handlers: Handlers | None = None,
        required: bool = False,
    ) -> None:
        if not name or not name.isprintable() or "/" in name or name == "local":
            raise ToolConfigError(f"server {name!r}", "a server's name is printable, has no '/' and is not 'local'")
        self.name = name
        self.config = config
        self.required = required
        self._connect_timeout = connect_timeout
        self._environ = environ
        self._handlers = handlers
        self._stale: dict[str, dict[str, str]] = {}
        self._caller = Caller(name)
        self._tools: dict[str, Tool] = {}
        self.left_out: dict[str, str] = {}
        """One sentence for each listed tool that can't be offered, by its own name."""

    async def __aenter__(self) -> Self:
        if self._links is not None:
            raise RuntimeError(f"the server {self.name!r} is open already")
        self._tools, self._stale = {}, {}
        try:
            links = Links(self.name, self.config, self._environ, self._connect_timeout, self._accept, self._handlers)
        except TokenError as error:
            raise ToolSourceError(self.name, str(error)) from error
        await links.first.open()
        self._caller.links = links
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        links, self._caller.links = self._links, None
        if links is not None:
            await links.close()

    async def tools(self) -> list[Tool]:
        return list(self._tools.values())

    async def call(self, name: str, arguments: dict[str, Any], admission: Admission) -> Observation:
        return await self._tools[name].call(arguments, admission)

    @property
    def has_changed(self) -> bool:
        """Its tools are others by now than those that were listed; `refresh` takes them."""
        return bool(self._stale.get("")) or (self._links is not None and self._links.first.has_changed)

    async def refresh(self) -> None:
        """List the tools again.

        Raises:
            ToolSourceError: The server can't be reached, or does not answer.
        """
        connection = await self._ask(lambda live: live.list_again(self._connect_timeout))
        self._tools, self._stale = self._take(connection), {}

    async def prompts(self) -> list[Tool]:
        """The server's prompts, each as a tool: what a person may begin with; models are not offered them.

        Raises:
            ToolSourceError: The server can't be reached, or does not answer.
        """
        found: list[mcp_types.Prompt] = []

        async def take(live: Connection) -> None:
            found.extend(await list_prompts(live.client))

        await self._ask(take)
        timeout, trust = self.config.timeout, self.config.trust
        named = {
            one.name: one for one in reversed(found) if one.name.isprintable() and 0 < len(one.name) <= _MAX_RAW_NAME
        }
        return [prompt_tool(self.name, self._caller, one, timeout, trust=trust) for one in reversed(named.values())]

    def completion(self) -> Tool:
        """The tool that completes an argument of a prompt, or of a resource's address, while a person types it."""
        return completion_tool(self.name, self._caller, self.config.timeout, trust=self.config.trust)

    async def skills(self) -> tuple[Skill, ...]:
        """The server's skills (SEP-2640), without their files; none if it has none.

        Raises:
            ToolSourceError: The server can't be reached, or does not answer.
        """
        found: list[Skill] = []

        async def take(live: Connection) -> None:
            found.extend(await list_skills(live.client))

        await self._ask(take)
        return tuple(found)

    async def load_skill(self, skill: Skill, admission: Admission) -> dict[str, str]:
        """The texts of a skill's files by URI; untrusted, like all that a server says.

        Args:
            admission: To call "tool:SERVER/skills/NAME" without arguments.

        Raises:
            NotAdmitted: The admission is not for this, or was used.
            ToolSourceError: A file is not what was listed (size, digest, frontmatter), or can't be had.
        """
        admission.claim(f"tool:{self.name}/skills/{skill.name}", "call", {})
        texts: dict[str, str] = {}

        async def take(live: Connection) -> None:
            for file in skill.files:
                texts[file.uri] = await read_skill_file(live.client, self.name, skill, file)

        await self._ask(take)
        return texts

    async def read_skill(self, skill: Skill, file: SkillFile) -> str:
        """The text of one of the skill's files, for a tool that reads skills; untrusted, like all that a server says.

        Raises:
            NotAdmitted: It is not read inside a tool's call, which the gate has let pass.
            ToolSourceError: It is not what was listed (size, digest, frontmatter), or can't be had.
        """
        if CURRENT.get() is None:
            raise NotAdmitted(f"a skill of {self.name!r} is read by a tool; use load_skill with an admission")
        texts: list[str] = []

        async def take(live: Connection) -> None:
            texts.append(await read_skill_file(live.client, self.name, skill, file))

        await self._ask(take)
        return texts[-1]

    @asynccontextmanager
    async def watching(self, *uris: str, admission: Admission) -> AsyncGenerator[AsyncIterator[str]]:
        """Hear of changes of resources inside the block, by their URIs; what changed is read anew by whoever wants it.

        A lost connection is made again, and then all the URIs are told, as nobody knows what changed meanwhile.

        Args:
            admission: To call "tool:SERVER/watch_resources" with {"uris": [...]}.

        Raises:
            NotAdmitted: The admission is not for this, or was used.
            ToolSourceError: The server does not tell of changes, or can't be reached.
        """
        admission.claim(f"tool:{self.name}/watch_resources", "call", {"uris": list(uris)})
        if self._links is None:
            raise RuntimeError(f"the server {self.name!r} is not open")
        async with watching(self.name, self._links.first, uris, self._connect_timeout) as heard:
            yield heard

    async def _ask(self, question: Callable[[Connection], Awaitable[None]]) -> Connection:
        """Something else than a call, within the connect timeout."""
        if self._links is None:
            raise RuntimeError(f"the server {self.name!r} is not open")
        connection = await self._links.first.live()
        try:
            with anyio.fail_after(self._connect_timeout):
                await question(connection)
        except ToolSourceError:
            raise
        except TimeoutError:
            raise ToolSourceError(self.name, f"it did not answer within {self._connect_timeout:g} s") from None
        except Exception as error:
            raise ToolSourceError(self.name, f"it did not answer as it should: {explain(error, {})}") from error
        return connection

    @property
    def _links(self) -> Links | None:
        return self._caller.links

    def _accept(self, user: str, connection: Connection) -> None:
        """Take the tools of the first connection; those of a later one must be the same to be called."""
        if self._links is None:
            self._tools = self._take(connection)
            return
        found = self._read(connection)[0]
        stale = {name: "is no longer there" for name in self._tools.keys() - found.keys()}
        for name, tool in self._tools.items():
            if name in found and found[name].schema_hash != tool.schema_hash:
                stale[name] = "has another definition"
        self._stale[user] = stale

    def _take(self, connection: Connection) -> dict[str, Tool]:
        taken, self.left_out = self._read(connection)
        return taken

    def _read(self, connection: Connection) -> tuple[dict[str, Tool], dict[str, str]]:
        """The tools of a connection, and what is left out."""
        left_out: dict[str, str] = {}
        taken: dict[str, Tool] = {}
        for one in connection.tools:
            if not one.name.isprintable() or not 0 < len(one.name) <= _MAX_RAW_NAME:
                left_out[ascii(one.name[:_MAX_RAW_NAME])] = "its name is empty, too long or not printable"
            elif one.name in taken:
                left_out[one.name] = "the server lists it more than once; only the first is offered"
            elif one.execution is not None and one.execution.task_support == "required":
                left_out[one.name] = "it runs only as a task in the background, which is not supported"
            elif (problem := broken(one.input_schema)) is not None:
                left_out[one.name] = f"its input schema is broken: {problem}"
            else:
                taken[one.name] = self._make_tool(one)
        if connection.has_resources:
            own = resource_tools(self.name, self._caller, self.config.timeout, trust=self.config.trust)
            taken |= {name: tool for name, tool in own.items() if name not in taken}
        return {name: tool for name, tool in taken.items() if self._is_wanted(name, tool)}, left_out

    def _is_wanted(self, name: str, tool: Tool) -> bool:
        def named_by(patterns: tuple[str, ...]) -> bool:
            return matches(tool, patterns) or any(fnmatchcase(name, pattern) for pattern in patterns)

        return named_by(self.config.include) and not named_by(self.config.exclude)

    def _make_tool(self, listed: mcp_types.Tool) -> Tool:
        resource = f"tool:{self.name}/{listed.name}"
        label = Label.untrusted(resource)
        effect, read_only = believe(listed.annotations) if self.config.trust else (Effect.ONCE, False)
        hints = listed.annotations
        return Tool(
            spell(self.name, listed.name),
            resource,
            partial(self._run, listed.name, effect, label),
            description=listed.description or listed.title or "",
            input_schema=listed.input_schema,
            output_schema=listed.output_schema,
            annotations={} if hints is None else hints.model_dump(by_alias=True, exclude_none=True),
            title=listed.title or (hints.title if hints is not None and hints.title else ""),
            icons=[icon.model_dump(mode="json", by_alias=True, exclude_none=True) for icon in listed.icons or ()],
            effect=effect,
            read_only=read_only,
            timeout=self.config.timeout,
            label=label,
            trusted=self.config.trust,
        )

    async def _run(self, name: str, effect: Effect, label: Label, arguments: dict[str, Any]) -> Observation:
        async def ask(connection: Connection) -> Observation:
            return observe(await connection.call(name, arguments), label, connection.long)

        def why_not(user: str) -> str | None:
            stale = self._stale.get(user, {}).get(name)
            return stale and f"was started again, and its tool {name!r} {stale}"

        return await self._caller.perform(effect, label, ask, why_not)
