"""Router: a rule, or an agent, says who answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from corral.agents.errors import DefinitionError
from corral.agents.member import Member
from corral.agents.result import Result
from corral.agents.teams.part import Ask, Part, made

__all__ = ["Router"]


class Router(Part):
    """The answer of the member that `rule` names.

    Args:
        rule: From the inputs, by name, to a name of `routes`; or an agent whose first output is one.
        routes: Who answers, by name.
        default: The route for a name that is none, and for a rule that fails; without one that is a failure.
    """

    def __init__(
        self,
        rule: Callable[[Mapping[str, Any]], str] | Member,
        routes: Mapping[str, Member],
        *,
        default: str | None = None,
        name: str = "router",
        **options: Any,
    ) -> None:
        super().__init__(*routes.values(), name=name, **options)
        if default is not None and default not in routes:
            raise DefinitionError(f"the default route {default!r} is none of {', '.join(routes)}")
        self.rule = rule
        self._places = {route: place for place, route in enumerate(routes)}
        self._default = default

    async def answer(self, ask: Ask, inputs: Mapping[str, Any]) -> Result:
        chosen, why = await self._choose(ask, inputs)
        route = chosen if chosen in self._places else self._default
        if route is None:
            return made(None, why or f"{chosen!r} is none of the routes {', '.join(self._places)}")
        return await ask(self.members[self._places[route]], inputs)

    async def _choose(self, ask: Ask, inputs: Mapping[str, Any]) -> tuple[str, str]:
        if isinstance(self.rule, Member):
            result = await ask(self.rule, inputs)
            return ("", result.detail or result.reason.value) if not result.outputs else (_first(result), "")
        try:
            return str(self.rule(inputs)), ""
        except Exception as error:  # noqa: BLE001 - the rule is the caller's code
            return "", f"the rule failed with {type(error).__name__}: {error}"


def _first(result: Result) -> str:
    (value, *_) = (result.outputs or {"": ""}).values()
    return str(value).strip()
