"""Frames that the guest forges. It may: what counts is that they give it nothing."""

from __future__ import annotations

from corral.sandbox.attacks.attack import Attack, AttackKind, Held

__all__ = ["PROTOCOL"]

SEND = """
import json, os, socket, stat, struct, time
def frame(message, blob=b""):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack(">II", len(body), len(blob)) + body + blob
def forge(data):
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.set_blocking(int(name), True)
                os.write(int(name), data)
        except OSError:
            pass
cell = ask.__closure__[1].cell_contents.cell
"""


def _forged(frame: str, held: Held = Held.BROKEN) -> Attack:
    return Attack(AttackKind.PROTOCOL, frame, f"{SEND}\nforge({frame})\ntime.sleep(30)", held, timeout=20)


PROTOCOL = (
    _forged("frame(b'not json')"),
    _forged("frame(b'[1]')"),
    _forged("frame(b'[' * 100_000)"),
    _forged("frame(b'{\"a\": NaN}')"),
    _forged("struct.pack('>II', 0xffffffff, 0)"),
    _forged("struct.pack('>II', 2, 0xffffffff) + b'{}'"),
    _forged("b'garbage' * 1000"),
    _forged("frame({'op': 'done'}) * 200"),
    _forged("frame({'op': 'done', 'cell': 'forged', 'value': 1}) * 200"),
    _forged("frame({'op': 'ready', 'applied': {}, 'pid': 1}) * 200"),
    _forged("frame({'op': 'file', 'file': 'x'}) * 200"),
    _forged("frame({'op': 'exited', 'session': 1, 'status': 0}) * 200"),
    _forged("frame({'op': 'done', 'cell': cell})"),
    _forged("frame({'op': 'done', 'cell': cell, 'size': 'many', 'beyond': 0})"),
    _forged("frame({'op': 'done', 'cell': cell, 'size': 0, 'beyond': 0, 'error': 5})"),
    _forged("frame({'op': 'done', 'cell': cell, 'size': 0, 'beyond': 0, 'error': {'kind': 'crash', 'message': 'x'}})"),
    _forged("frame({'op': 'done', 'cell': cell, 'size': 0, 'beyond': 0, 'submitted': {'other': 1}})"),
    _forged("frame({'op': 'done', 'cell': cell, 'size': 0, 'beyond': 0, 'submitted': [1]})"),
    _forged("frame({'op': 'done', 'cell': cell, 'size': 10**12, 'beyond': -5})", Held.ANYHOW),
    _forged("frame({'op': 'artifact', 'cell': cell, 'name': '../../x', 'media_type': 'image/png'}, b'x')"),
    _forged("frame({'op': 'artifact', 'cell': cell, 'name': 'x', 'media_type': 'a b\\r\\nc'}, b'x')"),
    _forged("frame({'op': 'artifact', 'cell': cell, 'name': 'x', 'media_type': 'image/png'}, b'x' * 1000) * 100"),
    _forged("frame({'op': 'call', 'cell': cell, 'call': 'k' * 65, 'name': 'ask', 'args': [], 'kwargs': {}}) * 100"),
    _forged("frame({'op': 'map', 'cell': cell, 'call': 'k', 'name': 'ask', 'items': [1], 'kwargs': {}}) * 100"),
    Attack(
        AttackKind.PROTOCOL,
        "calls a tool that is none",
        f"{SEND}\nfor name in ('delete_everything', '__class__', 'call', ''):\n"
        "    message = {'op': 'call', 'cell': cell, 'call': name or 'empty', 'name': name, 'args': [], 'kwargs': {}}\n"
        "    forge(frame(message))\nask()\n'called'",
        Held.VALUE,
        "called",
    ),
    Attack(
        AttackKind.PROTOCOL,
        "closes its streams and descriptors",
        "import os, sys\nsys.stdout.close()\nfor n in range(64):\n    try:\n        os.close(n)\n"
        "    except OSError:\n        pass",
        Held.ANYHOW,
    ),
    Attack(
        AttackKind.PROTOCOL,
        "an error that cannot be shown",
        "class Odd(Exception):\n    def __str__(self):\n        raise SystemExit\nraise Odd",
    ),
)
