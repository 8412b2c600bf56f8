"""An agent that is served by A2A (Agent2Agent, 1.0 and 0.3) as a source; needs the extra `a2a`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

from corral.policy import Admission, Label
from corral.tools.address import carries_secrets, find_fault, is_private_way, origin
from corral.tools.egress import guarded
from corral.tools.errors import ToolConfigError, ToolSourceError
from corral.tools.failure import explain
from corral.tools.names import check_source_name, spell
from corral.tools.oauth import TokenSource
from corral.tools.observation import Observation
from corral.tools.tool import Effect, Tool
from corral.tools.variables import expand

__all__ = ["A2AAgent"]

_CONNECT_TIME: Final = 10.0
_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_TOLD: Final = 2000
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What you ask it, with all that it has to know."},
        "context": {"type": "string", "description": "As an earlier answer named it, to go on from there."},
    },
    "required": ["message"],
    "additionalProperties": False,
}


class A2AAgent:
    """A remote agent as one tool, "tool:NAME/ask": it is sent a message, and its answer comes back, untrusted.

    It is another program on another machine: it has none of this program's rights, spends none of its budget, and what
    it does is its own. So the tool has the effect "once", is not read-only, and its card decides nothing.

    Args:
        url: The server's; its card must say that it is reached there, and redirects are not followed.
        auth: Gives the access token of each request; https is then demanded, but for this machine.
        headers: Sent with every request; their values may name variables, `${VAR}`.
        timeout: Seconds a call may take.
        environ: Where variables are looked up when it is opened; this process's environment when None.
        allow_private: The host's name may lead into this machine or network; an address that is written down may
            anyway.

    Raises:
        ToolConfigError: The name or the URL can't be used.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        auth: TokenSource | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 300.0,
        environ: Mapping[str, str] | None = None,
        allow_private: bool = False,
    ) -> None:
        check_source_name("agent", name)
        if (fault := find_fault(url)) is not None:
            raise ToolConfigError(f"agent {name!r}", fault)
        secret = auth is not None or any(carries_secrets(key, value) for key, value in (headers or {}).items())
        if secret and not is_private_way(url):
            raise ToolConfigError(f"agent {name!r}", "secrets are sent over https only, except to this machine")
        self.name = name
        self._url = url
        self._auth = auth
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._environ = environ
        self._allow_private = allow_private
        self._client: Any = None
        self._stack: AsyncExitStack | None = None
        self._tool: Tool | None = None

    async def __aenter__(self) -> Self:
        try:
            from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
        except ImportError:
            raise ToolConfigError(f"agent {self.name!r}", "install the extra: pip install 'corral[a2a]'") from None
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(self._http())
            try:
                card: Any = await A2ACardResolver(http, self._url).get_agent_card()
                self._check(card)
                self._client = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)
            except ToolSourceError:
                raise
            except Exception as error:
                raise ToolSourceError(self.name, f"its card can't be had: {explain(error, {})}") from error
            self._tool = self._make(card)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack, self._client, self._tool = self._stack, None, None, None
        if stack is not None:
            await stack.aclose()

    async def tools(self) -> list[Tool]:
        return [] if self._tool is None else [self._tool]

    async def call(self, name: str, arguments: dict[str, Any], admission: Admission) -> Observation:
        (tool,) = await self.tools()
        return await tool.call(arguments, admission)

    def _http(self) -> Any:
        import httpx  # keeps start-up light

        environ = os.environ if self._environ is None else self._environ
        try:
            headers = {key: expand(value, environ) for key, value in self._headers.items()}
        except LookupError as error:
            raise ToolConfigError(f"agent {self.name!r}", f"the variable {error} is not set") from None
        timeout = httpx.Timeout(self._timeout, connect=_CONNECT_TIME)
        signed: Any = None
        if self._auth is not None:
            from corral.tools.bearer_auth import Bearer

            signed = Bearer(self._auth)
        return httpx.AsyncClient(
            headers=headers,
            auth=signed,
            timeout=timeout,
            follow_redirects=False,
            transport=guarded(httpx, self._url, allow_private=self._allow_private),
            event_hooks={"response": [_bound]},
        )

    def _check(self, card: Any) -> None:
        """A card may not send us, and what we say, to somebody else."""
        for interface in card.supported_interfaces:
            if find_fault(interface.url) is not None or origin(interface.url) != origin(self._url):
                raise ToolSourceError(self.name, "its card names an address on another server")

    def _make(self, card: Any) -> Tool:
        resource = f"tool:{self.name}/ask"
        able = "; ".join(f"{skill.name}: {skill.description}" for skill in card.skills)
        told = f"Ask the agent {card.name}. {card.description}" + (f" It can: {able}" if able else "")
        return Tool(
            spell(self.name, "ask"),
            resource,
            self._run,
            description=told[:_MAX_TOLD],
            input_schema=_SCHEMA,
            effect=Effect.ONCE,
            timeout=self._timeout,
            label=Label.untrusted(resource),
        )

    async def _run(self, arguments: dict[str, Any]) -> Observation:
        from a2a.helpers.proto_helpers import new_text_message
        from a2a.types.a2a_pb2 import Role, SendMessageRequest

        client, label = self._client, Label.untrusted(f"tool:{self.name}/ask")
        if client is None:
            return Observation(f"the agent {self.name!r} is closed; nothing was sent to it", is_error=True, label=label)
        context = str(arguments.get("context") or "") or None
        message = new_text_message(str(arguments["message"]), context_id=context, role=Role.ROLE_USER)
        answers: AsyncIterator[Any] = client.send_message(SendMessageRequest(message=message))
        async for answer in answers:
            if answer.HasField("message"):
                return Observation(_text(answer.message.parts), label=label)
            if answer.HasField("task"):
                return _told(answer.task, label)
        return Observation("it gave no answer", is_error=True, label=label)


def _told(task: Any, label: Label) -> Observation:
    """What a task came to."""
    from a2a.types.a2a_pb2 import TaskState

    state = TaskState.Name(task.status.state).removeprefix("TASK_STATE_").lower().replace("_", " ")
    texts = [_text(artifact.parts) for artifact in task.artifacts]
    if task.status.HasField("message"):
        texts.append(_text(task.status.message.parts))
    text = "\n".join(part for part in texts if part)
    if state == "completed":
        return Observation(text or "(no output)", label=label)
    if state == "input required":
        return Observation(f"{text}\n(it asks for more; go on with context={task.context_id!r})", label=label)
    return Observation(f"its task is {state}{': ' + text if text else ''}", is_error=True, label=label)


def _text(parts: Any) -> str:
    """The text of parts, other kinds by name."""
    from google.protobuf.json_format import MessageToJson

    said: list[str] = []
    for part in parts:
        kind = part.WhichOneof("content")
        if kind == "text":
            said.append(part.text)
        elif kind == "data":
            said.append(MessageToJson(part.data))
        else:
            said.append(f"[{kind} {part.media_type or 'of unknown type'}]")
    return "\n".join(said)


async def _bound(response: Any) -> None:
    """Bound an answer before anything reads it: who sends without an end is hung up on."""
    import httpx  # keeps start-up light

    inner = response.stream

    class Bounded(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in inner:
                size += len(chunk)
                if size > _MAX_BYTES:
                    raise httpx.ReadError(f"its answer has more than {_MAX_BYTES // 2**20} MiB")
                yield chunk

        async def aclose(self) -> None:
            await inner.aclose()

    response.stream = Bounded()
