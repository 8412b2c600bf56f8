"""A server without the SDK, of an old protocol version, that misbehaves in the way named on its command line.

junk        writes lines that are no JSON between its answers
brittle     ends on a method that it does not know
endless     lists its tools on pages without end
silent      answers nothing, and neither a closed stdin nor SIGTERM ends it; writes its pid into the file named next
huge-first  answers a call with a line of 3 MB, the id before the result
huge-last   the same, the id after the result
deaf        closes its stdout in a call, and lives on
malformed   answers a call with what is no result
halved      answers a call with half a line of JSON
long half   the same, of a long line
cut         ends in the middle of a long line
watched     tells of a change of a resource in a call, to who subscribed
sampling    asks for a model's words in a call, and answers with what it was told
tasked      answers a call with a task that nobody asked for
various     answers a call with long strings in several places
binary      answers a call with bytes that are no text, and then as it should
flood       answers a call with a line that never ends
growing     lists one more tool after a call, and tells so
skilled     has two skills, one of which is not what it was listed as
fickle      describes a tool anew each time it is started; counts its starts in the file named next
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any

MODE = sys.argv[1]
VERSION = "2025-11-25" if MODE == "skilled" else "2024-11-05"
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("greet", "misbehave")]


WATCHED: list[str] = []


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any], result: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}))


def listing() -> dict[str, Any]:
    if MODE == "fickle":
        return {"tools": [TOOLS[0] | {"description": f"version {STARTS}"}, TOOLS[1]]}
    return {"tools": TOOLS, "nextCursor": "more"} if MODE == "endless" else {"tools": TOOLS}


def misbehave(request: dict[str, Any]) -> None:
    result = {"content": [{"type": "text", "text": "x" * 3_000_000}]}
    match MODE:
        case "huge-first":
            answer(request, result)
        case "huge-last":
            write(json.dumps({"result": result, "jsonrpc": "2.0", "id": request["id"]}))
        case "growing":
            TOOLS.append({"name": "grown", "inputSchema": {"type": "object"}})
            write(json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
            answer(request, {"content": []})
        case "fickle":
            os._exit(1)
        case "binary":
            os.write(1, bytes(range(256)) * 100 + b"\n\xff\xfe{\n")
            answer(request, {"content": [{"type": "text", "text": "hello"}]})
        case "flood":
            threading.Thread(target=flood, args=(request["id"],), daemon=True).start()
        case "malformed":
            answer(request, {"content": "not a list"})
        case "halved" | "long half":
            line = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result})
            write(line[:50] if MODE == "halved" else line[:2_000_000])
        case "cut":
            os.write(1, json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()[:2_000_000])
            os._exit(3)
        case "watched":
            for uri in WATCHED:
                told = {"method": "notifications/resources/updated", "params": {"uri": uri}}
                write(json.dumps({"jsonrpc": "2.0", **told}))
            answer(request, {"content": []})
        case "sampling":
            asked = {"messages": [{"role": "user", "content": {"type": "text", "text": "?"}}], "maxTokens": 9}
            write(json.dumps({"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage", "params": asked}))
            answer(request, {"content": [{"type": "text", "text": sys.stdin.readline()}]})
        case "tasked":
            task = {"taskId": "t", "status": "working", "createdAt": "2026-01-01T00:00:00Z", "ttl": None}
            answer(request, {"task": task})
        case "various":
            long = "é" * 400_000
            blocks = [{"type": "text", "text": long}, {"type": "text", "text": "short"}]
            blocks.append({"type": "resource", "resource": {"uri": "x://y", "text": long}})
            answer(request, {"content": blocks, "structuredContent": {"result": long}})
        case "deaf":
            os.close(1)
            signal.pause()


def flood(number: int) -> None:
    os.write(1, b'{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % number)
    for _ in range(3000):
        os.write(1, b"x" * 65536)
    time.sleep(60)


def list_skills() -> dict[str, Any]:
    skills = [
        {
            "uri": f"skill://{name}/SKILL.md",
            "frontmatter": {"name": name, "description": "How to."},
            "resources": [{"uri": f"skill://{name}/SKILL.md", "digest": digest_of(name), "size": len(skill(name))}],
        }
        for name in ("hay", "chaff")
    ]
    return {"skills": skills}


def skill(name: str) -> str:
    return f"---\nname: {name}\ndescription: How to.\n---\nDo it.\n"


def digest_of(name: str) -> str:
    return "sha256:" + hashlib.sha256(skill(name).encode()).hexdigest()


def read(request: dict[str, Any]) -> None:
    uri = request["params"]["uri"]
    text = skill("hay") if "hay" in uri else skill("chaff").replace("it", "IT")
    answer(request, {"contents": [{"uri": uri, "text": text}]})


def serve(request: dict[str, Any]) -> None:
    match request["method"]:
        case "skills/list" if MODE == "skilled":
            answer(request, list_skills())
        case "resources/read" if MODE == "skilled":
            read(request)
        case "resources/subscribe" if MODE == "watched":
            WATCHED.append(request["params"]["uri"])
            answer(request, {})
        case "initialize":
            info = {"name": "raw", "version": "1"}
            can: dict[str, Any] = {"tools": {}}
            if MODE == "watched":
                can["resources"] = {"subscribe": True}
            if MODE == "skilled":
                can["extensions"] = {"io.modelcontextprotocol/skills": {}}
            answer(request, {"protocolVersion": VERSION, "capabilities": can, "serverInfo": info})
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
if MODE == "fickle":
    with open(sys.argv[2], "a+", encoding="ascii") as file:
        file.write("x")
        file.seek(0)
        STARTS = len(file.read())
for line in sys.stdin:
    if MODE == "junk":
        write("INFO: starting up…\n{not json")
        write('{"json": "but no message"}')
    serve(json.loads(line))
