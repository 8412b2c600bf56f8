"""Any sandbox as DSPy's `CodeInterpreter`: `dspy.RLM` and whatever else runs code in DSPy runs it held."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import anyio
from dspy.primitives.code_interpreter import CodeExecutionError, CodeInterpreterError, FinalOutput
from pydantic_core import to_jsonable_python

from corral.agents.door import run_in_background
from corral.policy import Action, Admission, Denied, Gate, Policy, SecurityPolicy
from corral.sandbox import (
    AutoProvider,
    CellErrorKind,
    Execution,
    Host,
    Network,
    Sandbox,
    SandboxError,
    SandboxProvider,
    SandboxSpec,
)

__all__ = ["INSTRUCTIONS", "Interpreter", "instructions", "read_execution"]

INSTRUCTIONS = (
    "Code runs as Python in a sandbox without network. State persists across executions. "
    "Host tools and SUBMIT are available as global functions."
)

_PRINCIPAL = "agent:dspy"

_OWN_TOOLS = Policy(
    rules=[
        SecurityPolicy(resource="code:python", actions=["execute"], id="interpreter-code"),
        SecurityPolicy(resource="tool:dspy/*", actions=["call"], id="interpreter-tools"),
    ]
)
"""The tools are functions that the DSPy program itself handed over; a policy of one's own may say otherwise."""


@dataclass(frozen=True)
class InterpreterFactory:
    """Makes interpreters whose sessions come from one provider, as `interpreter_factory=` takes it."""

    provider: SandboxProvider
    policy: Policy | None = None
    timeout: float = 60.0
    execution_instructions: str = INSTRUCTIONS

    def __call__(self) -> Interpreter:
        return Interpreter(provider=self.provider, policy=self.policy, timeout=self.timeout)


class Interpreter:
    """One sandbox session behind DSPy's interpreter protocol; `Interpreter` itself is a factory, too.

    Args:
        tools: Host functions by name; the dict may be changed between executions.
        output_fields: Definitions of SUBMIT's parameters, as DSPy gives them; None is one, `output`.
        provider: Where the session runs; None takes the strongest there is, and closes it at the end.
        policy: Judges each execution ("code:python") and each tool call ("tool:dspy/NAME").
        timeout: Seconds of one execution's own time.
    """

    execution_instructions = INSTRUCTIONS

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        output_fields: list[dict[str, Any]] | None = None,
        *,
        provider: SandboxProvider | None = None,
        policy: Policy | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.tools: dict[str, Callable[..., Any]] = dict(tools or {})
        self.output_fields = output_fields
        self._provider = provider
        self._owned: SandboxProvider | None = None
        self._gate = Gate(policy or _OWN_TOOLS)
        self._timeout = timeout
        self._session: Sandbox | None = None
        self._ended = False

    @staticmethod
    def factory(
        provider: SandboxProvider, *, policy: Policy | None = None, timeout: float = 60.0
    ) -> InterpreterFactory:
        """A factory for `dspy.context(interpreter_factory=...)` whose interpreters share `provider`."""
        network = Network.of(Gate(policy or _OWN_TOOLS), _PRINCIPAL) if provider.opens_network else None
        told = instructions(network)
        return InterpreterFactory(provider, policy, timeout, told)

    def start(self) -> None:
        """Open the session; once it is open this does nothing.

        Raises:
            CodeInterpreterError: There is no sandbox, or the session has ended.
        """
        run_in_background(self._start)

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        """Run code; see DSPy's `CodeInterpreter.execute`.

        Raises:
            SyntaxError: The code does not parse.
            CodeExecutionError: The code failed, ran too long or was refused; the session goes on.
            CodeInterpreterError: The session is lost.
        """
        context = contextvars.copy_context()
        given = to_jsonable_python(variables or {}, fallback=str)
        return run_in_background(lambda: self._execute(code, given, context))

    def shutdown(self) -> None:
        """End the session; a second time does nothing."""
        if not self._ended:
            self._ended = True
            run_in_background(self._shutdown)

    def __call__(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        return self.execute(code, variables)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    async def _start(self) -> Sandbox:
        if self._ended:
            raise CodeInterpreterError("this interpreter was shut down; make a new one")
        if self._session is None:
            provider = self._provider
            if provider is None:
                provider = self._owned = AutoProvider()
            try:
                network = Network.of(self._gate, _PRINCIPAL) if provider.opens_network else None
                self._session = await provider.open(SandboxSpec(network=network))
            except SandboxError as error:
                raise CodeInterpreterError(str(error)) from error
        return self._session

    async def _shutdown(self) -> None:
        session, self._session = self._session, None
        owned, self._owned = self._owned, None
        try:
            if session is not None:
                await session.close()
        finally:
            if owned is not None:
                await owned.close()

    async def _execute(self, code: str, variables: dict[str, Any], context: contextvars.Context) -> Any:
        session = await self._start()
        host = Host(tuple(self.tools), self._host_call(context), self._outputs())

        async def effect(admission: Admission) -> Execution:
            admission.claim("code:python", "execute", {"code": code})
            return await session.execute(code, variables, timeout=self._timeout, host=host)

        action = Action("code:python", "execute", _PRINCIPAL, arguments={"code": code})
        try:
            execution = await self._gate.perform(action, effect)
        except Denied as error:
            raise CodeExecutionError(str(error)) from error
        except SandboxError as error:
            self._ended = True
            await self._shutdown()
            raise CodeInterpreterError(str(error)) from error
        return read_execution(execution)

    def _outputs(self) -> tuple[str, ...]:
        if self.output_fields is None:
            return ("output",)
        return tuple(str(field["name"]) for field in self.output_fields)

    def _host_call(self, context: contextvars.Context) -> Callable[[str, list[Any], dict[str, Any]], Awaitable[Any]]:
        async def call(name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
            function = self.tools[name]

            async def effect(admission: Admission) -> Any:
                admission.claim(f"tool:dspy/{name}", "call")
                # A copy for each call: one context can't be entered by two threads at once.
                result = await anyio.to_thread.run_sync(lambda: context.copy().run(_call, function, args, kwargs))
                return to_jsonable_python(result, fallback=str)

            arguments = {"args": args, "kwargs": kwargs}
            return await self._gate.perform(
                Action(f"tool:dspy/{name}", "call", _PRINCIPAL, arguments=arguments), effect
            )

        return call


def instructions(network: Network | None) -> str:
    """What a model is told of code that runs in a sandbox, which may reach some hosts."""
    return f"{INSTRUCTIONS} {network.instructions}" if network else INSTRUCTIONS


def _call(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    result = function(*args, **kwargs)
    if inspect.isawaitable(result):

        async def wait() -> Any:
            return await result

        return asyncio.run(wait())
    return result


def read_execution(execution: Execution) -> Any:
    """What DSPy takes for an execution: its value or output, `FinalOutput`, or the error that it knows."""
    error = execution.error
    if error is None:
        if execution.submitted is not None:
            return FinalOutput(execution.submitted)
        return execution.value if execution.value is not None else execution.output or None
    if error.kind is CellErrorKind.SYNTAX:
        raise SyntaxError(error.message)
    text = error.message
    if execution.output:
        text += f"\nOutput so far:\n{execution.output}"
    if not execution.state_kept:
        text += "\nWhat earlier executions defined is lost."
    raise CodeExecutionError(text)
