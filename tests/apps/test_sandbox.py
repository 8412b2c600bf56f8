from pathlib import Path

import pytest

from .conftest import Corral


@pytest.mark.docker
def test_a_file_runs_in_a_container_and_the_audit_knows(corral: Corral, tmp_path: Path, docker_image: None) -> None:
    (tmp_path / "cell.py").write_text("import os\nprint(os.getuid() != 0, os.listdir('/home'))\n6 * 7\n")
    done = corral("sandbox", "run", "cell.py", "--sandbox", "docker")
    assert (done.returncode, done.stdout) == (0, "True []\n42\n"), done.stderr
    assert "execute code:python" in corral("audit", "show").stdout
    assert corral("sandbox", "list").returncode == 0


def test_a_failing_file_ends_with_status_1_and_its_own_frames(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text("1 / 0\n")
    done = corral("sandbox", "run", "cell.py", "--sandbox", "monty")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_missing_file_is_bad_input(corral: Corral) -> None:
    done = corral("sandbox", "run", "gone.py")
    assert done.returncode == 2
    assert "gone.py: the file can't be read" in done.stderr
