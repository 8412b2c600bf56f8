"""Several runs at once on one agent and one budget: CORRAL_MODEL=openai/gpt-4o-mini python asynchronous.py"""

import asyncio
from os import environ

from corral.agents import ModelSpec, ReAct
from corral.policy import Limits


async def main() -> None:
    model = ModelSpec(model=environ.get("CORRAL_MODEL", "openai/gpt-4o-mini"), api_base=environ.get("CORRAL_API_BASE"))
    async with ReAct("animal -> food", lm=model) as agent:
        held = agent.within(Limits(steps=10))  # for all of them together
        results = await asyncio.gather(*(held.run(animal=name) for name in ("horse", "goat")))
    print([result.outputs for result in results])


asyncio.run(main())
