"""Several runs at once on one agent and one budget: MODEL=openai/gpt-4o-mini python asynchronous.py"""

import asyncio
import os

from corral.agents import ModelSpec, ReAct
from corral.policy import Limits


async def main() -> None:
    model = ModelSpec(model=os.environ["MODEL"], api_base=os.environ.get("API_BASE"))
    async with ReAct("animal -> food", lm=model) as agent:
        held = agent.within(Limits(steps=10))  # for all of them together
        results = await asyncio.gather(*(held.run(animal=name) for name in ("horse", "goat")))
    print([result.outputs for result in results])


asyncio.run(main())
