"""Corral's ReAct with native function calls, for a harness that drives `setup(base_url) -> run(prompt)`."""

MODE, IMPORT, VENV = "async", "from corral.agents import ReAct", "corral"

from bench import astep

from corral.agents import ModelSpec, ReAct
from corral.policy import Limits
from corral.tools import tool


def make(base_url, native):
    model = ModelSpec(model="openai/gpt-4o-mini", api_base=base_url + "/v1", api_key="x", native_tools=native)
    agent = ReAct("question -> answer", [tool(astep, name="step", effect="read")], lm=model, limits=Limits(steps=1000))

    async def run(prompt):
        result = await agent.run(prompt)
        return result.outputs["answer"]

    return run


def setup(base_url):
    return make(base_url, native=True)
