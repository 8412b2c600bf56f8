"""The first frames on a new connection: who it is that has connected, and what it speaks."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import cast

import anyio

from corral.sandbox.errors import SandboxProtocolError, SandboxUnavailable
from corral.sandbox.sandbox import Json
from corral.sandbox.wire import PROTOCOL, Decoder

__all__ = ["Hello", "accept", "greet"]


@dataclass(frozen=True)
class Hello:
    """What a zygote says of its interpreter: its version, and `platform.machine()`; and which limits it reads back."""

    python: str
    machine: str
    limits: Mapping[str, Json]


async def accept(
    listener: socket.socket, token: str, meanwhile: Callable[[], Awaitable[None]]
) -> tuple[socket.socket, Hello]:
    """The connection of the zygote that knows the token; others are hung up on.

    Args:
        meanwhile: Awaited each second in which nobody connects; it raises when nobody will.

    Raises:
        SandboxUnavailable: It does not speak our protocol.
    """
    loop = asyncio.get_running_loop()
    while True:
        zygote = None
        with anyio.move_on_after(1.0):
            zygote, _ = await loop.sock_accept(listener)
        if zygote is None:
            await meanwhile()
            continue
        try:
            if (hello := await greet(zygote, token)) is not None:
                return zygote, hello
        except BaseException:
            zygote.close()
            raise
        zygote.close()


async def greet(zygote: socket.socket, token: str, patience: float = 5.0) -> Hello | None:
    """What a zygote says first; None if it does not know the token, or nothing comes for `patience` seconds.

    Raises:
        SandboxUnavailable: It does not speak our protocol.
    """
    hello = await _read_frame(zygote, patience)
    if hello.get("op") != "hello" or not secrets.compare_digest(str(hello.get("token")), token):
        return None
    _check_protocol(hello)
    limits = hello.get("limits")
    read_back = cast("dict[str, Json]", limits) if isinstance(limits, dict) else {}
    return Hello(str(hello.get("python")), str(hello.get("machine")), read_back)


async def _read_frame(sock: socket.socket, patience: float) -> dict[str, Json]:
    """The first frame on a new connection; {} if it hangs up, sends nothing for long, or sends something else."""
    sock.setblocking(False)
    decoder = Decoder(0)
    loop = asyncio.get_running_loop()
    with anyio.move_on_after(patience):
        try:
            while data := await loop.sock_recv(sock, 4096):
                for message, _ in decoder.feed(data):
                    return message
        except (OSError, SandboxProtocolError):
            pass
    return {}


def _check_protocol(hello: Mapping[str, Json]) -> None:
    spoken = hello.get("protocols")
    if not isinstance(spoken, list) or PROTOCOL not in spoken:
        raise SandboxUnavailable(f"the guest speaks protocol {spoken}, this Corral speaks {PROTOCOL}")
