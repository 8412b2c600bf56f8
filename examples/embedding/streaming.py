"""What happens, as it happens: CORRAL_MODEL=openai/gpt-4o-mini python streaming.py"""

import asyncio
from os import environ

from corral.agents import ModelSpec, ReAct
from corral.policy import RunFinished, TextDelta


async def main() -> None:
    model = ModelSpec(model=environ.get("CORRAL_MODEL", "openai/gpt-4o-mini"), api_base=environ.get("CORRAL_API_BASE"))
    async for event in ReAct("question -> answer", lm=model).stream("Why is the sky blue?"):
        if isinstance(event, TextDelta):
            print(event.text, end="", flush=True)
        elif isinstance(event, RunFinished):
            print(f"\n[{event.reason}]")


asyncio.run(main())
