"""An OpenAI-compatible chat server on loopback that plays a script: everything on the way to the model is real."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from corral.agents.testing.scripted import Call, Fault, Reply

__all__ = ["ScriptedServer"]

WireScript = Sequence[Reply | str] | Callable[[dict[str, Any], int], Reply | str]
"""As `Script`, with the request's body instead of the request."""


class ScriptedServer:
    """Serves `/v1/chat/completions`, whole and streamed, until it is left; `url` is the address to give as api_base.

    A `Reply` with an error answers with status 500 and the error's text, one with a `Fault` fails so. Requests are
    kept in `bodies`.

    Args:
        port: 0 takes any free one.
        chunk: Characters of text in one streamed event.
        keep: Whether requests are kept.
    """

    def __init__(self, script: WireScript, *, port: int = 0, chunk: int = 6, keep: bool = True) -> None:
        self._keep = keep
        self._asked = 0
        self.leaving = threading.Event()
        """Set when the server is left: whoever hangs then stops."""
        self._script = script
        self._lock = threading.Lock()
        self._chunk = chunk
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        # `shutdown` waits for the next poll: at the usual half second tests would mostly wait.
        serve = partial(self._server.serve_forever, poll_interval=0.01)
        threading.Thread(target=serve, name="scripted-server", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leaving.set()
        self._server.shutdown()
        self._server.server_close()

    def serve_forever(self) -> None:
        """Serve in this thread, until interrupted."""
        self._server.serve_forever()

    def reply_to(self, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[Reply, int]:
        """The next reply of the script, and its number."""
        with self._lock:
            number = len(self.bodies) if self._keep else self._asked
            self._asked += 1
            if self._keep:
                self.bodies.append(body)
                self.headers.append(headers)
        script = self._script
        reply = script(body, number) if callable(script) else script[min(number, len(script) - 1)]
        return (Reply(text=reply) if isinstance(reply, str) else reply), number

    @property
    def chunk(self) -> int:
        """Characters of text in one streamed event."""
        return self._chunk


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what a test of faults is made of."""


def _handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            reply, number = server.reply_to(body, dict(self.headers))
            if reply.delay:
                time.sleep(reply.delay)
            try:
                if reply.fault is not None and reply.fault.cut and body.get("stream"):
                    self._stream(_chunks(body, reply, number, server.chunk), cut=True)
                elif reply.fault is not None:
                    self._fail(reply.fault, _completion(body, reply, number))
                elif reply.error is not None:
                    self._send(500, {"error": {"message": str(reply.error), "type": "server_error"}})
                elif body.get("stream"):
                    self._stream(_chunks(body, reply, number, server.chunk))
                else:
                    self._send(200, _completion(body, reply, number))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _fail(self, fault: Fault, completion: dict[str, Any]) -> None:
            if fault.hang:
                server.leaving.wait(fault.hang)
            if fault.cut:
                whole = json.dumps(completion).encode()
                self._head(200, len(whole))
                self.wfile.write(whole[: len(whole) // 2])
                self.wfile.flush()
                self.close_connection = True
                return
            data = (fault.body if isinstance(fault.body, str) else json.dumps(fault.body)).encode()
            self._head(fault.status, len(data), fault.retry_after)
            self.wfile.write(data)

        def _head(self, status: int, length: int, retry_after: float | None = None) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(length))
            if retry_after is not None:
                self.send_header("retry-after", f"{retry_after:g}")
            self.end_headers()

        def _send(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self._head(status, len(data))
            self.wfile.write(data)

        def _stream(self, chunks: Iterator[Any], *, cut: bool = False) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for place, chunk in enumerate(chunks):
                if cut and place == 2:
                    self.close_connection = True
                    return
                data = b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

    return Handler


def _completion(body: dict[str, Any], reply: Reply, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [_call(call, number, place) for place, call in enumerate(reply.calls)]
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply), "logprobs": None}
    return {**_envelope(body, number, "chat.completion"), "choices": [choice], "usage": _usage(reply)}


def _chunks(body: dict[str, Any], reply: Reply, number: int, size: int) -> Iterator[Any]:
    envelope = _envelope(body, number, "chat.completion.chunk")

    def delta(value: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**envelope, "choices": [{"index": 0, "delta": value, "finish_reason": finish}]}

    yield delta({"role": "assistant", "content": ""})
    for at in range(0, len(reply.text), size):
        yield delta({"content": reply.text[at : at + size]})
    for place, call in enumerate(reply.calls):
        yield delta({"tool_calls": [{"index": place, **_call(call, number, place)}]})
    yield delta({}, _finish(reply))
    yield {**envelope, "choices": [], "usage": _usage(reply)}
    yield b"[DONE]"


def _envelope(body: dict[str, Any], number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": 1, "model": body.get("model", "scripted")}


def _call(call: Call, number: int, place: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    return {"id": call.id or f"call_{number}_{place}", "type": "function", "function": function}


def _finish(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.calls else "stop")


def _usage(reply: Reply) -> dict[str, Any] | None:
    if reply.input_tokens is None or reply.output_tokens is None:
        return None
    usage: dict[str, Any] = {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }
    if reply.cached_tokens is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cached_tokens}
    return usage
