"""What happens, as it happens: MODEL=openai/gpt-4o-mini python streaming.py"""

import asyncio
import os

from corral.agents import ModelSpec, ReAct
from corral.policy import RunFinished, TextDelta


async def main() -> None:
    model = ModelSpec(model=os.environ["MODEL"], api_base=os.environ.get("API_BASE"))
    async for event in ReAct("question -> answer", lm=model).stream("Why is the sky blue?"):
        if isinstance(event, TextDelta):
            print(event.text, end="", flush=True)
        elif isinstance(event, RunFinished):
            print(f"\n[{event.reason}]")


asyncio.run(main())
