"""The house's walls: where code may stand, what it may import, and that importing costs next to nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("apps", "agents", "tools", "memory", "sandbox", "policy")
HEAVY = {"dspy", "mem0", "docker", "mcp", "litellm", "openai", "httpx", "numpy", "jsonschema", "yaml", "pydantic_monty"}


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60, env=environment or None
    )
    return done.stdout


def test_the_namespace_has_no_init_that_would_hide_the_other_rooms() -> None:
    assert [str(path) for room in ROOMS if (path := ROOT / room / "corral" / "__init__.py").exists()] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_typed_and_says_what_it_is_for(room: str) -> None:
    assert (ROOT / room / "corral" / room / "py.typed").exists()
    assert (ROOT / room / "README.md").read_text().startswith("# ")


def test_the_lower_rooms_import_nothing_heavy() -> None:
    loaded = run(
        "import sys\n"
        "from corral.policy import *\n"
        "from corral.tools import *\n"
        "from corral.sandbox import *\n"
        "from corral.memory import *\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    assert not HEAVY & set(loaded.split())


def test_importing_reads_no_environment_and_opens_nothing(tmp_path: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('not at import')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "os.mkdir = os.makedirs = refuse\n"
        "from corral.policy import *\n"
        "from corral.tools import *\n"
        "from corral.sandbox import *\n"
        "from corral.memory import *\n"
        "from corral.agents import *\n"
        "import corral.apps.main\n"
        "print('corral.apps.run' in sys.modules)"
    )
    # DSPy itself makes its cache folder when it is imported; ours must not add to it.
    allowed = "import dspy\n" + code
    assert run(allowed, HOME=str(tmp_path), PATH="/usr/bin:/bin", DSPY_CACHEDIR=str(tmp_path)).strip() == "False"


def test_public_names_are_sorted_and_exist() -> None:
    code = (
        "import importlib\n"
        f"for room in {ROOMS!r}:\n"
        "    module = importlib.import_module('corral.' + room)\n"
        "    names = getattr(module, '__all__', [])\n"
        "    assert len(set(names)) == len(names), room\n"
        "    assert [n for n in names if not hasattr(module, n)] == [], room\n"
    )
    run(code)


def test_rooms_import_downwards_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_help_is_quick() -> None:
    code = (
        "import os, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'corral.apps', '--help'], check=True, stdout=subprocess.DEVNULL)\n"
        "used = os.times()\n"
        "print(used.children_user + used.children_system)"
    )
    assert float(run(code)) < 0.25
