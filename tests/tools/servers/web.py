"""An MCP server over streamable HTTP, on a port of its own choice or the one given; prints "ready PORT".

With an address in TOKEN_CHECK, a request needs a bearer token with which that address answers 200; with one in ISSUER,
it says that tokens come from there. With JSON_RESPONSE it answers in JSON, and not in events.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from typing import Any

import anyio
import anyio.to_thread
import mcp_types as types
import uvicorn
from mcp.server import Server

OBJECT = {"type": "object"}
IDEMPOTENT = types.ToolAnnotations(idempotent_hint=True)
TOOLS = [
    types.Tool(name="pid", description="This process.", input_schema=OBJECT),
    types.Tool(name="die", description="Kill this process.", input_schema=OBJECT),
    types.Tool(name="die once", description="The first time.", input_schema=OBJECT, annotations=IDEMPOTENT),
    types.Tool(name="headers", description="What came with the request.", input_schema=OBJECT),
    types.Tool(name="fingerprint", description="A hash of the authorization.", input_schema=OBJECT),
    types.Tool(name="wait", description="Never answer.", input_schema=OBJECT),
    types.Tool(name="big", description="Five million characters, or `size`.", input_schema=OBJECT),
]


def text(value: object) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=str(value))])


async def list_tools(context: object, params: object) -> types.ListToolsResult:
    return types.ListToolsResult(tools=TOOLS)


async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    match params.name:
        case "pid":
            return text(os.getpid())
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die once":
            if not os.environ.get("SECOND_LIFE"):
                os.kill(os.getpid(), signal.SIGKILL)
            return text("alive")
        case "headers":
            return text("\n".join(f"{name}: {value}" for name, value in context.request.headers.items()))
        case "fingerprint":
            return text(hashlib.sha256(context.request.headers.get("authorization", "").encode()).hexdigest())
        case "big":
            if not os.environ.get("JSON_RESPONSE"):  # something to tell before the answer makes it a stream of events
                await context.session.send_log_message("info", "here it comes")
            return text("x" * int((params.arguments or {}).get("size", 5_000_000)))
        case "wait":
            await anyio.sleep_forever()
    raise ValueError("no such tool")


def check(address: str, authorization: str) -> int:
    request = urllib.request.Request(address, headers={"Authorization": authorization})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def resource(port: int) -> dict[str, object]:
    return {"resource": f"http://127.0.0.1:{port}/mcp", "authorization_servers": [os.environ.get("ISSUER", "")]}


async def answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"www-authenticate", b"Bearer"), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def guarded(app: Any) -> Any:
    address = os.environ.get("TOKEN_CHECK")

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if address and scope["type"] == "http":
            authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
            if scope["path"].startswith("/.well-known/oauth-protected-resource"):
                await answer(send, 200, json.dumps(resource(scope["server"][1])).encode())
                return
            status = await anyio.to_thread.run_sync(check, address, authorization)
            if status != 200:
                await send(
                    {"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]}
                )
                await send({"type": "http.response.body", "body": b""})
                return
        await app(scope, receive, send)

    return serve


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    server = Server("web", on_list_tools=list_tools, on_call_tool=call_tool)
    app = server.streamable_http_app(json_response=bool(os.environ.get("JSON_RESPONSE")))
    config = uvicorn.Config(guarded(app), log_level="error", timeout_graceful_shutdown=1)
    sys.stdout.write(f"ready {listener.getsockname()[1]}\n")
    sys.stdout.flush()
    anyio.run(uvicorn.Server(config).serve, [listener])


main()
