import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Corral


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(corral: Corral, shell: str) -> None:
    done = corral("completion", shell)
    assert done.returncode == 0
    assert "_CORRAL_COMPLETE" in done.stdout


def test_bash_completes_commands_and_flags(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "corral.bash").write_text(corral("completion", "bash").stdout)
    script = """
        source corral.bash
        complete_words() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _corral_completion corral
            echo "${COMPREPLY[@]}"
        }
        complete_words corral comp
        complete_words corral run --max-s
        complete_words corral run --kind co
    """
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == ["completion", "--max-steps", "codeact"], done.stderr
