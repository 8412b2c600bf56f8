"""Moderation: somebody else's judgement of a text, by a function or over HTTP."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import anyio

from corral.agents.errors import AgentError
from corral.agents.guards.guard import About, Found, Guard
from corral.policy import Label
from corral.tools import Effect, Observation, Tool

__all__ = ["Moderation"]

_SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


class Moderation(Guard):
    """Texts that `check` does not object to.

    In a run it is the tool "tool:guard/NAME", which passes the gate and is recorded like any other. One that fails, is
    late or is denied has objected.

    Args:
        check: From a text to whether there is an objection: a bool, a score from 0 to 1, or scores by category; async
            or not.
        most: The highest score that is no objection.
        timeout: Seconds.
    """

    def __init__(
        self, check: Callable[[str], Any], *, most: float = 0.5, timeout: float = 10.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self._check = check
        self._most = most
        self._tool = Tool(
            self.name,
            f"tool:guard/{self.name}",
            self._run,
            description="Judges a text.",
            input_schema=_SCHEMA,
            effect=Effect.READ,
            read_only=True,
            timeout=timeout,
            label=Label.user(),  # it says nothing to the model
        )

    @classmethod
    def http(cls, url: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Moderation:
        """By a server that takes `{"input": TEXT}` and answers as OpenAI's moderation does: `results[0].flagged`.

        Redirects are not followed. What is sent is the whole text.
        """

        async def ask(text: str) -> Any:
            import httpx  # keeps start-up light

            async with httpx.AsyncClient(timeout=10.0, follow_redirects=False) as client:
                answer = await client.post(url, json={"input": text}, headers=dict(headers or {}))
                answer.raise_for_status()
                first: Any = answer.json()["results"][0]
                return bool(first["flagged"])

        return cls(ask, **options)

    async def look(self, text: str, about: About) -> Found | None:
        if about.call is None:
            said: Any = await self._ask(text)
        else:
            observation = await about.call(self._tool, {"text": text})
            if observation.is_error:
                raise AgentError(observation.text)
            said = observation.structured
        worst, why = _worst(said)
        return Found(f"the moderation objects{why}") if worst > self._most else None

    async def _run(self, arguments: dict[str, Any]) -> Observation:
        said = await self._ask(str(arguments["text"]))
        return Observation(str(said), said, label=Label.user())

    async def _ask(self, text: str) -> Any:
        if inspect.iscoroutinefunction(self._check):
            return await self._check(text)
        said: Any = await anyio.to_thread.run_sync(self._check, text, abandon_on_cancel=True)
        return await said if inspect.isawaitable(said) else said


def _worst(said: Any) -> tuple[float, str]:
    """The highest score, and of what."""
    if isinstance(said, Mapping):
        scores = {name: float(score) for name, score in cast("Mapping[str, Any]", said).items()}
        if not scores:
            return 0.0, ""
        name = max(scores, key=lambda name: scores[name])
        return scores[name], f": {name}"
    if not isinstance(said, bool | int | float):
        raise TypeError(f"a check gives a bool, a score or scores, not {type(said).__name__}")
    return float(said), ""
