"""A server without the SDK, of an old protocol version, that misbehaves in the way named on its command line.

junk        writes lines that are no JSON between its answers
brittle     ends on a method that it does not know
endless     lists its tools on pages without end
silent      answers nothing, and neither a closed stdin nor SIGTERM ends it; writes its pid into the file named next
huge-first  answers a call with a line of 3 MB, the id before the result
huge-last   the same, the id after the result
deaf        closes its stdout in a call, and lives on
malformed   answers a call with what is no result
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

MODE = sys.argv[1]
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("greet", "misbehave")]


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any], result: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))


def listing() -> dict[str, Any]:
    return {"tools": TOOLS, "nextCursor": "more"} if MODE == "endless" else {"tools": TOOLS}


def misbehave(request: dict[str, Any]) -> None:
    result = {"content": [{"type": "text", "text": "x" * 3_000_000}]}
    match MODE:
        case "huge-first":
            answer(request, result)
        case "huge-last":
            write(json.dumps({"result": result, "jsonrpc": "2.0", "id": request["id"]}))
        case "malformed":
            answer(request, {"content": "not a list"})
        case "deaf":
            os.close(1)
            signal.pause()


def serve(request: dict[str, Any]) -> None:
    match request["method"]:
        case "initialize":
            info = {"name": "raw", "version": "1"}
            answer(request, {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": info})
        case "tools/list":
            answer(request, listing())
        case "tools/call" if request["params"]["name"] == "misbehave":
            misbehave(request)
        case "tools/call":
            answer(request, {"content": [{"type": "text", "text": "hello"}]})
        case _ if MODE == "brittle" and "id" in request:
            sys.exit(f"unknown method {request['method']}")
        case _ if "id" in request:
            error = {"code": -32601, "message": "no such method"}
            write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}))
        case _:
            pass


def hang() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(sys.argv[2], "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    sys.stderr.write("waiting for a licence\n")
    sys.stderr.flush()
    while True:
        signal.pause()


if MODE == "silent":
    hang()
for line in sys.stdin:
    if MODE == "junk":
        write("INFO: starting up…\n{not json")
        write('{"json": "but no message"}')
    serve(json.loads(line))
