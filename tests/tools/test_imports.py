"""What importing the room costs."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_room_is_light_and_silent() -> None:
    code = (
        "import sys\n"
        "from corral.tools import *\n"
        "heavy = {'mcp', 'mcp_types', 'httpx', 'httpx2', 'authlib', 'jsonschema', 'dspy', 'docker', 'mem0'};"
        "heavy &= set(sys.modules);"
        "sys.exit(f'imports {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exports_are_sorted() -> None:
    import corral.tools

    assert corral.tools.__all__ == sorted(corral.tools.__all__)
