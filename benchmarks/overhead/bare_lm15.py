"""Anchor: the same loop with DSPy's bare lm15 engine and nothing around it."""

MODE, IMPORT, VENV = "async", "import dspy.lm15", "corral"

from bench import step
from dspy.lm15 import AsyncLMRouter, FunctionTool, Message, Request, RouterConfig, TextPart, ToolResultPart

TOOL = FunctionTool(
    "step",
    "Do one step.",
    {"type": "object", "properties": {"i": {"type": "integer"}}, "required": ["i"]},
)


def setup(base_url):
    router = AsyncLMRouter(RouterConfig(api_keys={"openai-chat": "x"}, base_urls={"openai-chat": base_url + "/v1"}))

    async def run(prompt):
        provider = router.lm("openai-chat:gpt-4o-mini")
        messages = [Message.user(prompt)]
        while True:
            request = Request(model="gpt-4o-mini", messages=tuple(messages), system="You are helpful.", tools=(TOOL,))
            response = await provider.complete(request)
            messages.append(response.message)
            if not response.tool_calls:
                return response.text
            results = (ToolResultPart(c.id, (TextPart(step(**c.input)),), name=c.name) for c in response.tool_calls)
            messages.append(Message("tool", tuple(results)))

    return run
