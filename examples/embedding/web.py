"""An agent behind FastAPI, streaming: CORRAL_MODEL=openai/gpt-4o-mini uvicorn web:app"""

import json
from os import environ

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from corral.agents import ModelSpec, ReAct

app = FastAPI()
agent = ReAct(
    "question -> answer",
    lm=ModelSpec(model=environ.get("CORRAL_MODEL", "openai/gpt-4o-mini"), api_base=environ.get("CORRAL_API_BASE")),
)


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    events = (json.dumps(event.to_json(), default=str) + "\n" async for event in agent.stream(question))
    return StreamingResponse(events, media_type="application/x-ndjson")  # a reader that leaves cancels the run
