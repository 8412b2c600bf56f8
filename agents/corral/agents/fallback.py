"""Several models as one: the first that can be had answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import dspy
from dspy.lm15 import Request

from corral.agents.errors import ContextOverflow, DefinitionError, ModelError
from corral.agents.generation import Generation
from corral.agents.model import PATIENCE, Ask, Model, ModelSpec
from corral.agents.price import Price
from corral.agents.tokens import request_tokens
from corral.policy import Denied
from corral.tools.breaker import Breaker

__all__ = ["FallbackModel"]

_SHORT_PATIENCE = 2.0
"""Seconds that a server may ask to wait while there is another one to ask."""


class FallbackModel(Model):
    """Models in order of preference; `Agent(lm=FallbackModel(...))`. Several runs may share it.

    The next one is asked when one does not answer, answers with an error that may pass, or can't take so long a prompt;
    never when text was handed out already, when a key is refused, or when the request itself is wrong. Each is asked
    through the gate under its own name, and one that the policy refuses is passed over. An endpoint that failed several
    times in a row is left alone for a while.

    Tools are offered as function calls where all models take them. Under a money limit all need a price, and the
    dearest is reckoned with.
    """

    def __init__(self, models: Sequence[str | ModelSpec | Model | dspy.LM]) -> None:
        if not models:
            raise DefinitionError("a FallbackModel needs at least one model")
        made = [model if isinstance(model, Model) else Model(model) for model in models]
        first = made[0]
        if any(isinstance(model, FallbackModel) for model in made):
            raise DefinitionError("a FallbackModel takes plain models; put them all into one")
        super().__init__(first.spec or first.lm)
        self.models: tuple[Model, ...] = tuple(made)
        self._breakers = {model.endpoint: Breaker() for model in made}

    @property
    def native_tools(self) -> bool:
        return all(model.native_tools for model in self.models)

    @property
    def sees(self) -> bool:
        return all(model.sees for model in self.models)

    @property
    def max_tokens(self) -> int | None:
        known = [model.max_tokens for model in self.models]
        return None if None in known else max(tokens for tokens in known if tokens is not None)

    def price(self) -> Price | None:
        prices = [model.price() for model in self.models]
        known = [price for price in prices if price is not None]
        if len(known) < len(prices):
            return None
        return Price(input=max(price.input for price in known), output=max(price.output for price in known))

    def context_window(self) -> int | None:
        windows = [model.context_window() for model in self.models]
        return None if None in windows else max(window for window in windows if window is not None)

    def learn_window(self, tokens: int) -> None:
        """Nothing: `answer` told the model that it is true of."""

    def without_native_tools(self) -> None:
        for model in self.models:
            model.without_native_tools()

    async def answer(self, request: Request, ask: Ask) -> Generation:
        failure: ModelError | Denied | None = None
        order = self._order(request)
        for place, model in enumerate(order):
            breaker = self._breakers[model.endpoint]
            patience = _SHORT_PATIENCE if place + 1 < len(order) else PATIENCE
            try:
                generation = await ask(model, _addressed(request, model), patience)
            except ContextOverflow as error:
                if error.window is not None:
                    model.learn_window(error.window)
                failure = error
            except ModelError as error:
                if not error.transient:
                    raise
                breaker.failed()
                failure = error
            except Denied as error:
                failure = failure or error
            else:
                breaker.worked()
                return generation
        assert failure is not None
        raise failure

    async def close(self) -> None:
        await super().close()
        for model in self.models:
            await model.close()

    def _order(self, request: Request) -> list[Model]:
        """Whom to ask: those left alone only if there is nobody else, those too small only if all are."""
        ready = [model for model in self.models if not self._breakers[model.endpoint].time_left]
        ready = ready or [min(self.models, key=lambda model: self._breakers[model.endpoint].time_left)]
        windows = {model: model.context_window() for model in ready}
        if all(window is None for window in windows.values()):
            return ready
        needed = request_tokens(request)
        return [model for model, window in windows.items() if window is None or needed < window] or ready


def _addressed(request: Request, model: Model) -> Request:
    own = model.config()
    asked = request.config
    config = replace(
        own,
        max_tokens=asked.max_tokens if asked.max_tokens is not None else own.max_tokens,
        tool_choice=asked.tool_choice,
    )
    return replace(request, model=model.name, config=config)
