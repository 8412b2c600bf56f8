"""An agent behind FastAPI, streaming: MODEL=openai/gpt-4o-mini uvicorn web:app"""

import json
import os

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from corral.agents import ModelSpec, ReAct

app = FastAPI()
agent = ReAct("question -> answer", lm=ModelSpec(model=os.environ["MODEL"], api_base=os.environ.get("API_BASE")))


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    events = (json.dumps(event.to_json(), default=str) + "\n" async for event in agent.stream(question))
    return StreamingResponse(events, media_type="application/x-ndjson")  # a reader that leaves cancels the run
