"""A tool: what a model may ask for by name, and the one gated way to let it happen."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, NoReturn

import anyio

from corral.policy import Admission, Label, NotAdmitted, schema_hash
from corral.tools.arguments import Checker, name_arguments
from corral.tools.calling import CURRENT, REPORTS, CurrentCall
from corral.tools.errors import BadArguments, ToolConfigError
from corral.tools.failure import explain
from corral.tools.observation import Observation
from corral.tools.stub import wraps_result, write_stub

__all__ = ["DEFAULT_TIMEOUT", "Effect", "Tool"]

DEFAULT_TIMEOUT: Final = 60.0
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class Effect(StrEnum):
    """What calling twice would do; it says whether a call may be repeated."""

    READ = "read"
    """It changes nothing."""
    IDEMPOTENT = "idempotent"
    """A second equal call changes nothing more."""
    ONCE = "once"
    """Every call counts; one whose outcome is unknown must not be repeated."""

    @property
    def repeatable(self) -> bool:
        return self is not Effect.ONCE


class Tool:
    """Something a model may call by name; immutable. Only `call` has an effect, and only with an admission.

    Args:
        name: What models call: a letter or underscore, then letters, digits, "_" and "-", at most 64 in all.
        resource: What policies call it, "tool:source/raw name", or "agent:name".
        run: The work itself, called with checked arguments after the admission was claimed. It may raise.
        description: As the source gave it.
        input_schema: JSON Schema of an object, as the source gave it.
        output_schema: JSON Schema of `Observation.structured`, if the source declares one.
        annotations: MCP's hints as given; they decide nothing here.
        title: Its name for people.
        icons: As the source gave them, MCP's objects with `src`, `mimeType` and `sizes`; never fetched here.
        effect: Whether a call may be repeated.
        read_only: Declared to change nothing by someone whom the user trusts.
        timeout: Seconds a call may take.
        parallel: It may run beside other calls of its turn.
        trusted: Its definition is the word of somebody whom the user trusts: the program, or a server declared trusted.
        label: Of what it returns; untrusted when None.
    """

    def __init__(
        self,
        name: str,
        resource: str,
        run: Callable[[dict[str, Any]], Awaitable[Observation]],
        *,
        description: str = "",
        input_schema: dict[str, Any] | None = None,
        output_schema: dict[str, Any] | None = None,
        annotations: Mapping[str, Any] | None = None,
        title: str = "",
        icons: Sequence[Mapping[str, Any]] = (),
        effect: Effect = Effect.ONCE,
        read_only: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        parallel: bool = True,
        label: Label | None = None,
        trusted: bool = False,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ToolConfigError(
                f"tool {name!r}", "a name is 1 to 64 of A-Z, a-z, 0-9, _ and -, and begins with no digit"
            )
        if not timeout > 0:
            raise ToolConfigError(f"tool {name!r}", f"timeout must be above 0 s, not {timeout!r}")
        self.name: Final = name
        self.resource: Final = resource
        self.description: Final = description
        self.input_schema: Final[dict[str, Any]] = {"type": "object"} if input_schema is None else input_schema
        self.output_schema: Final = output_schema
        self.annotations: Final[Mapping[str, Any]] = annotations or {}
        self.title: Final = title
        self.icons: Final = tuple(icons)
        self.effect: Final = effect
        self.read_only: Final = read_only
        self.timeout: Final = timeout
        self.parallel: Final = parallel
        self.trusted: Final = trusted
        self.label: Final = label or Label.untrusted(resource)
        self._run: Final = run

    @cached_property
    def _checker(self) -> Checker:
        return Checker(self.name, self.input_schema)

    def definition(self) -> dict[str, Any]:
        """What the source says of the tool, as JSON values: what a person approves, and a pin keeps."""
        said: dict[str, Any] = {"description": self.description, "input_schema": self.input_schema}
        if self.output_schema is not None:
            said["output_schema"] = self.output_schema
        if self.annotations:
            said["annotations"] = dict(self.annotations)
        return said

    @cached_property
    def schema_hash(self) -> str:
        """A hash of the definition, hex SHA-256, for `Action.schema_hash`: an approval dies with a changed tool."""
        return schema_hash(self.definition())

    def check(self, arguments: Any) -> dict[str, Any]:
        """`arguments`, once they fit the input schema. A JSON text of an object is not an object.

        Raises:
            BadArguments: They don't fit, or the schema itself can't be used (remote references are never fetched).
        """
        return self._checker.check(arguments)

    def positional(self, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The named arguments of a call as `signature` writes it; unchecked.

        An optional argument given as None is left out where its schema does not take null, as the stub's `= None` says.

        Raises:
            BadArguments: Too many, or one was given twice.
        """
        return name_arguments(self.name, self.input_schema, args, kwargs)

    @property
    def verb(self) -> str:
        """What the gate is asked: to call it, or to delegate, if it is an agent."""
        return "delegate" if self.resource.startswith("agent:") else "call"

    async def call(self, arguments: dict[str, Any], admission: Admission) -> Observation:
        """What the tool returned, or how it failed: that is an observation too, never an exception.

        Args:
            arguments: As `check` returned them and as the gate judged them.

        Raises:
            NotAdmitted: The admission is not for exactly this call, or was used: a bug in the caller.
        """
        if type(admission) is not Admission:  # nor anything that only looks like one
            raise NotAdmitted(f"calling {self.resource} takes the admission that Gate.perform makes")
        admission.claim(self.resource, self.verb, arguments)
        before = CURRENT.get()
        try:
            with anyio.move_on_after(self.timeout) as scope:
                CURRENT.set(CurrentCall(admission.action.user, scope, REPORTS.get()))
                return (await self._run(arguments)).read()
        except NotAdmitted:
            raise
        except BadArguments as error:
            return self.failed(str(error))
        except asyncio.CancelledError as error:
            if _asked_to_stop():
                raise
            return self.failed(explain(error, arguments))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign tool code runs here, and its failure is a result
            return self.failed(explain(error, arguments))
        finally:
            CURRENT.set(before)
        outcome = "" if self.effect is Effect.READ else "; whether the call took effect is unknown"
        return self.failed(f"{self.name} ran past its limit of {self.timeout:g} s and was given up{outcome}")

    def failed(self, text: str) -> Observation:
        """The observation of a call that gave nothing, for the reason `text`."""
        return Observation(text, is_error=True, label=self.label)

    def result(self, observation: Observation) -> Any:
        """What the function of `signature` returns: the structured result, without an SDK's wrapping, or text."""
        structured = observation.structured
        if structured is None:
            return observation.text if observation.whole is None else str(observation.whole)
        if wraps_result(self.output_schema) and isinstance(structured, dict) and len(structured) == 1:
            return structured.get("result", structured)
        return structured

    def signature(self) -> str:
        """A typed Python stub of the tool as a function, for models that write code: one `def` with its docstring."""
        return write_stub(self.name, self.description, self.input_schema, self.output_schema)

    def renamed(self, name: str) -> Tool:
        """The same tool, under another name for models; its resource stays."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__getstate__() | {"name": name})
        return other

    def shortened(self, shorten: Callable[[str, Observation], Observation]) -> Tool:
        """The same tool, whose observations pass `shorten` with the tool's name."""
        run, name = self._run, self.name

        async def run_short(arguments: dict[str, Any]) -> Observation:
            return shorten(name, await run(arguments))

        other = object.__new__(type(self))
        other.__dict__.update(self.__getstate__() | {"_run": run_short})
        return other

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_checker", None)  # compiled, and made again where it is needed
        return state

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError(
            f"the tool {self.name!r} can't be called directly: its effects need the gate's admission; "
            "give it to an agent, or use Gate.perform with Tool.call"
        )

    def __repr__(self) -> str:
        return f"Tool({self.name!r}, {self.resource!r}, effect={self.effect.value!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tool:
        return self


def _asked_to_stop() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
