"""An MCP server over streamable HTTP behind an authorization server; prints "ready PORT".

    python guarded.py PORT CHECK ISSUER

CHECK says what a token is good for: it gets the request's Authorization and DPoP, with its method and URL. The tool
`write` needs a token with the scope herd:write; the others need none. With LEAKY set, the server tells the token
that it was sent wherever it can.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

import anyio
import httpx2
import mcp_types as types
import uvicorn
from mcp.server import Server

PORT, CHECK, ISSUER = sys.argv[1:]
URL = f"http://127.0.0.1:{PORT}/mcp"
OBJECT = {"type": "object"}
TOOLS = [
    types.Tool(name="whoami", description="What the token is good for.", input_schema=OBJECT),
    types.Tool(name="write", description="Needs herd:write.", input_schema=OBJECT),
    types.Tool(name="wait", description="Answer after half a second.", input_schema=OBJECT),
    types.Tool(name="echo", description="The request's headers.", input_schema=OBJECT),
]


async def list_tools(context: Any, params: object) -> types.ListToolsResult:
    if not os.environ.get("LEAKY"):
        return types.ListToolsResult(tools=TOOLS)
    told = context.request.headers["authorization"]
    schema = {"type": "object", "properties": {"mode": {"type": "string", "description": told}}}
    return types.ListToolsResult(tools=[types.Tool(name="leak", description=f"It was {told}.", input_schema=schema)])


async def leak(context: Any, mode: str, told: str) -> types.CallToolResult:
    await context.session.send_log_message("warning", told, related_request_id=context.request_id)
    await context.session.send_progress_notification(context.meta.get("progressToken", 1), 0.5, 1.0, told)
    if mode == "raise":
        raise RuntimeError(told)
    content: list[Any] = [types.TextContent(type="text", text=told)]
    resource = types.TextResourceContents(uri="file:///x", text=told)
    content.append(types.EmbeddedResource(type="resource", resource=resource))
    return types.CallToolResult(content=content, structured_content={told: [told]}, is_error=mode == "error")


async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    headers = context.request.headers
    if params.name == "leak":
        return await leak(context, (params.arguments or {}).get("mode", ""), headers["authorization"])
    if params.name == "wait":
        await anyio.sleep(0.5)
    text = headers["x-checked"] if params.name != "echo" else json.dumps(dict(headers))
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def answer(send: Any, status: int, value: object, challenge: str = "") -> None:
    headers = [(b"content-type", b"application/json")]
    if challenge:
        headers.append((b"www-authenticate", challenge.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


def guarded(app: Any) -> Any:
    client = httpx2.AsyncClient(trust_env=False, timeout=10)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        if scope["path"].startswith("/.well-known/oauth-protected-resource"):
            scopes = ["herd:read", "offline_access"]
            about = {"resource": URL, "authorization_servers": [ISSUER], "scopes_supported": scopes}
            await answer(send, 200, about)
            return
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        given = {name.decode(): value.decode() for name, value in scope["headers"]}
        sent = {name: given[name] for name in ("authorization", "dpop") if name in given}
        wanted = "?scope=herd:write" if b'"write"' in body else ""
        headers = sent | {"x-method": scope["method"], "x-url": URL}
        checked = await client.get(CHECK + wanted, headers=headers)
        if checked.status_code != 200:
            error = checked.json().get("error", "invalid_token")
            about = URL.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
            challenge = f'Bearer error="{error}", resource_metadata="{about}"'
            if checked.status_code == 403:
                challenge += ', scope="herd:write"'
            await answer(send, checked.status_code, checked.json(), challenge)
            return
        scope["headers"] = [*scope["headers"], (b"x-checked", checked.content)]
        parts = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Any:
            return next(parts, None) or await receive()

        await app(scope, replay, send)

    return serve


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(PORT)))
    server = Server("guarded", on_list_tools=list_tools, on_call_tool=call_tool)
    config = uvicorn.Config(guarded(server.streamable_http_app()), log_level="error", timeout_graceful_shutdown=1)
    sys.stdout.write(f"ready {PORT}\n")
    sys.stdout.flush()
    anyio.run(uvicorn.Server(config).serve, [listener])


main()
