from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "policy" / "README.md"


def test_the_program_in_the_readme_prints_what_it_says() -> None:
    text = README.read_text(encoding="utf-8")
    program = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    said = re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == said


def test_importing_the_room_imports_nothing_heavy() -> None:
    heavy = "dspy", "mem0", "docker", "mcp", "litellm", "openai", "yaml"
    program = f"import sys\nfrom corral.policy import *\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


def test_the_readme_names_files_that_are_there() -> None:
    room = README.parent / "corral" / "policy"
    named = set(re.findall(r"`([a-z]+\.py)`", README.read_text(encoding="utf-8")))
    assert named
    assert {name for name in named if not (room / name).exists()} == set()
