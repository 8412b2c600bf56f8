"""The hooks of one run: asked in order, bounded in time, believed only in what they may say."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar, cast

import anyio
from pydantic_core import to_jsonable_python

from corral.agents.hooks.hook import Hook, Replace, RunView, Veto
from corral.policy import Emitter, Intervened

__all__ = ["Hooks", "Vetoed"]

T = TypeVar("T")

_TIMEOUT = 10.0


class Vetoed(Exception):
    """A hook said no, or failed where it might have said no.

    Attributes:
        by: "plugin:NAME".
    """

    def __init__(self, by: str, reason: str) -> None:
        super().__init__(by, reason)
        self.by = by
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.by} refused: {self.reason}"


class Hooks:
    """Asks the hooks of a run.

    Args:
        timeout: Seconds that each may take.
    """

    def __init__(self, hooks: Sequence[Hook], run: RunView, emitter: Emitter, *, timeout: float = _TIMEOUT) -> None:
        self._hooks = tuple(hooks)
        self._run = run
        self._emitter = emitter
        self._timeout = timeout
        self._asked: dict[str, tuple[Hook, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def telling(self, emitter: Emitter) -> Hooks:
        """The same hooks, whose interventions `emitter` is told."""
        return Hooks(self._hooks, self._run, emitter, timeout=self._timeout)

    def wants(self, point: str) -> bool:
        """Whether any hook is to be asked there."""
        return bool(self._at(point))

    async def decide(self, point: str, value: T, *seen: Any) -> T:
        """`value` as the hooks leave it: JSON values by name, or text.

        Args:
            seen: What else they are shown.

        Raises:
            Vetoed: One said no, or failed.
        """
        for hook in self._at(point):
            by = f"plugin:{hook.name or type(hook).__name__}"
            try:
                with anyio.fail_after(self._timeout):
                    said = await self._ask(getattr(hook, point), value, *seen)
                if isinstance(said, Replace):
                    value = _like(value, said.value)
            except TimeoutError:
                self._failed(hook, by, point, f"it gave no answer within {self._timeout:g} s")
                continue
            except Exception as error:  # noqa: BLE001 - hooks are foreign code, and their failure is a no
                self._failed(hook, by, point, f"it failed with {type(error).__name__}: {error}")
                continue
            if isinstance(said, Veto):
                self._tell(by, point, "veto", said.reason)
                raise Vetoed(by, said.reason)
            if isinstance(said, Replace):
                self._tell(by, point, "replace", said.reason)
            elif said is not None:
                self._failed(hook, by, point, f"it returned {type(said).__name__}, not Veto, Replace or None")
        return value

    def _at(self, point: str) -> tuple[Hook, ...]:
        if point not in self._asked:
            own = [hook for hook in self._hooks if getattr(type(hook), point, None) is not getattr(Hook, point)]
            self._asked[point] = tuple(own)
        return self._asked[point]

    async def _ask(self, method: Any, value: Any, *seen: Any) -> Any:
        call = partial(method, self._run, copy.deepcopy(value), *seen)
        if inspect.iscoroutinefunction(method):
            return await call()
        said: Any = await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
        return await said if inspect.isawaitable(said) else said

    def _failed(self, hook: Hook, by: str, point: str, why: str) -> None:
        self._tell(by, point, "failed", why)
        if not hook.fail_open:
            raise Vetoed(by, why)

    def _tell(self, by: str, point: str, outcome: str, reason: str) -> None:
        self._emitter.emit(Intervened(by=by, point=point, outcome=outcome, reason=reason))


def _like(value: T, given: Any) -> T:
    """What replaces `value`, as JSON of the same kind."""
    kind = dict if isinstance(value, dict) else str
    if not isinstance(given, kind):
        raise TypeError(f"it replaced {kind.__name__} by {type(given).__name__}")
    return cast("T", to_jsonable_python(given))
