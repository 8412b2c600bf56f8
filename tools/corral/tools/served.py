"""A call that an MCP client makes of us, and the person in front of that client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final

from corral.policy import (
    Action,
    Approval,
    ApprovalRequest,
    BudgetExceeded,
    CellStarted,
    Denied,
    Event,
    Gate,
    Label,
    StepStarted,
    ToolCalled,
    ToolProgressed,
)
from corral.tools.errors import BadArguments
from corral.tools.handlers import Elicitation, LogEntry, Progress

if TYPE_CHECKING:
    import mcp_types
    from mcp.server.context import ServerRequestContext

__all__ = ["SERVED", "ClientPerson", "ClientSink", "ServedCall", "ServedReports"]

_BY: Final = "user:mcp-client"
_MAX_SHOWN: Final = 2000
_MAX_PROGRESS: Final = 1000
_FIRST_MULTI_ROUND: Final = "2026-07-28"
_ALLOW: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "allow": {"type": "boolean", "title": "Let it happen", "description": "Once, with exactly these arguments."},
        "reason": {"type": "string", "title": "Why, or why not"},
    },
    "required": ["allow"],
}

SERVED: ContextVar[ServedCall | None] = ContextVar("SERVED", default=None)


class ServedCall:
    """One call, through all rounds in which its client's person is asked; its work goes on between them.

    Args:
        work: Done in a task of its own, in which `SERVED` is this call.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, mcp_types.CallToolResult]]) -> None:
        self._context: ServerRequestContext[Any] | None = None
        self._question: asyncio.Future[mcp_types.ElicitResult] | None = None
        self._asked: asyncio.Queue[mcp_types.ElicitRequestParams] = asyncio.Queue()
        self._steps: asyncio.Queue[str] = asyncio.Queue(_MAX_PROGRESS)
        self._one_at_a_time = asyncio.Lock()
        here = copy_context()
        here.run(SERVED.set, self)
        self._work = asyncio.create_task(work(), context=here)
        self._pump = asyncio.create_task(self._tell())

    async def round(
        self, context: ServerRequestContext[Any], answer: mcp_types.ElicitResult | None = None
    ) -> mcp_types.CallToolResult | mcp_types.ElicitRequestParams:
        """The result, or the question without whose answer it does not go on.

        Args:
            context: Of the request that waits now; progress is told to it.
            answer: To the question with which the last round ended.
        """
        self._context = context
        if answer is not None and self._question is not None and not self._question.done():
            self._question.set_result(answer)
        while True:
            asked = asyncio.create_task(self._asked.get())
            try:
                await asyncio.wait((self._work, asked), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await self.cancel()
                raise
            finally:
                asked.cancel()
            if self._work.done():
                await self._end_telling()
                return self._work.result()
            question = asked.result()
            if context.protocol_version >= _FIRST_MULTI_ROUND:
                return question
            await self._ask_at_once(context, question)

    async def cancel(self) -> None:
        """End the work; nobody waits for it any more."""
        self._work.cancel()
        self._pump.cancel()
        await asyncio.wait((self._work, self._pump))

    async def ask(self, question: mcp_types.ElicitRequestParams) -> mcp_types.ElicitResult | None:
        """What the person answers; None if the client can't ask one."""
        async with self._one_at_a_time:
            if self._context is None or not _can_ask(self._context, question):
                return None
            self._question = asyncio.get_running_loop().create_future()
            self._asked.put_nowait(question)
            return await self._question

    def progress(self, text: str) -> None:
        with suppress(asyncio.QueueFull):
            self._steps.put_nowait(text)

    async def _ask_at_once(self, context: ServerRequestContext[Any], question: mcp_types.ElicitRequestParams) -> None:
        import mcp_types as types
        from mcp.shared.exceptions import MCPError

        answer = types.ElicitResult(action="cancel")
        with suppress(MCPError):
            answer = await context.session.send_request(
                types.ElicitRequest(params=question), types.ElicitResult, metadata=_related(context)
            )
        if self._question is not None and not self._question.done():
            self._question.set_result(answer)

    async def _tell(self) -> None:
        number = 0
        while True:
            text = await self._steps.get()
            number += 1
            if self._context is not None:
                with suppress(Exception):  # a client that has gone hears nothing, and that is its own affair
                    await self._context.session.report_progress(number, None, text)
            self._steps.task_done()

    async def _end_telling(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._steps.join(), 1)
        self._pump.cancel()


class ClientPerson:
    """Answers for the person in front of the MCP client whose call goes on, by an elicitation; an `Approver`.

    What happens outside of such a call, or for a client that can't ask its person, is refused.
    """

    async def decide(self, request: ApprovalRequest) -> Approval:

        call, action = SERVED.get(), request.action
        if call is None:
            return Approval(request.digest, False, "nobody", "no MCP client is calling")
        answer = await call.ask(_question(request))
        if answer is None:
            return Approval(request.digest, False, "nobody", "the MCP client can't ask its person (no elicitation)")
        content = dict(answer.content or {})
        if answer.action != "accept":
            return Approval(request.digest, False, _BY, "" if answer.action == "decline" else "no answer")
        if action.for_person:
            return Approval(request.digest, True, _BY, content=content)
        return Approval(request.digest, content.get("allow") is True, _BY, str(content.get("reason") or ""))


class ClientSink:
    """Tells the MCP client whose call goes on how far an agent has come; a `Sink`."""

    def emit(self, event: Event) -> None:
        call = SERVED.get()
        if call is None:
            return
        match event:
            case StepStarted():
                call.progress(f"step {event.step}")
            case ToolCalled():
                call.progress(f"calls {event.tool}")
            case CellStarted():
                call.progress(f"runs code in {event.sandbox}")
            case ToolProgressed():
                call.progress(event.message or f"{event.tool}: {event.done:g}")
            case _:
                pass


class ServedReports:
    """Hands on to the client what a server behind us says in the middle of its call (`Reports`)."""

    def __init__(self, gate: Gate, call: ServedCall, action: Action, label: Label) -> None:
        self._gate = gate
        self._call = call
        self._action = action
        self._label = label

    def progress(self, progress: Progress) -> None:
        of = f" of {progress.total:g}" if progress.total else ""
        self._call.progress(progress.message or f"{progress.done:g}{of}")

    def log(self, entry: LogEntry) -> None:
        return

    async def elicit(self, elicitation: Elicitation) -> dict[str, Any] | bool | None:
        asked = elicitation.action(self._action.principal, self._action.user, self._label)
        try:
            return await self._gate.perform(asked, elicitation.answered)
        except (Denied, BadArguments, BudgetExceeded):
            return False


def _can_ask(context: ServerRequestContext[Any], question: mcp_types.ElicitRequestParams) -> bool:
    """Whether the client said that it shows such questions: forms, by the older protocols, if it named no kind."""
    import mcp_types as types  # keeps start-up light

    declared = context.session.client_capabilities
    able = None if declared is None else declared.elicitation
    if able is None:
        return False
    if isinstance(question, types.ElicitRequestURLParams):
        return able.url is not None
    return able.form is not None or able.url is None


def _question(request: ApprovalRequest) -> Any:
    import mcp_types as types  # keeps start-up light

    action = request.action
    if action.for_person:
        message = f"{action.resource.partition(':')[2].partition('/')[0]} asks: {action.arguments.get('message', '')}"
        if isinstance(url := action.arguments.get("url"), str):
            return types.ElicitRequestURLParams(message=message, url=url, elicitation_id=request.digest)
        schema: Mapping[str, Any] = action.arguments.get("schema") or {}
        return types.ElicitRequestFormParams.model_validate({"message": message, "requestedSchema": dict(schema)})
    shown = json.dumps(dict(action.arguments), ensure_ascii=False, default=str)
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}… ({len(shown)} characters)"
    message = f"May this happen? {action.verb} {action.resource}\n{shown}\n{request.judgement.reason}"
    return types.ElicitRequestFormParams.model_validate({"message": message, "requestedSchema": _ALLOW})


def _related(context: ServerRequestContext[Any]) -> Any:
    from mcp.shared.message import ServerMessageMetadata  # keeps start-up light

    return ServerMessageMetadata(related_request_id=context.request_id)
