"""Importing the room costs nothing and does nothing."""

import subprocess
import sys

PROGRAM = """
import os, socket, sys, tempfile

def refuse(event, args):
    if event in ("socket.__new__", "os.mkdir", "tempfile.mkdtemp", "subprocess.Popen", "os.putenv"):
        raise AssertionError(event)

import anyio, asyncio
sys.addaudithook(refuse)
from corral.sandbox import *
print(sorted(name for name in ("docker", "pydantic_monty", "dspy", "mcp", "mem0") if name in sys.modules))
"""


def test_importing_the_room_loads_no_engine_and_touches_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
