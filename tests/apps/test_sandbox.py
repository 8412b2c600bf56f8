import zipfile
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


@pytest.mark.parametrize(
    ("module", "advice"),
    [("matplotlib.pyplot", "--image data"), ("polars", "--package"), ("tkinter", "standard library")],
)
def test_what_is_not_installed_is_told_with_what_to_do(
    corral: Corral, tmp_path: Path, module: str, advice: str
) -> None:
    (tmp_path / "cell.py").write_text(f"import {module}\n")
    done = corral("sandbox", "run", "cell.py", "--sandbox", "monty")
    assert done.returncode == 1
    assert advice in done.stderr.splitlines()[-1]


def test_an_error_that_only_looks_like_it_is_no_advice(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text("raise ValueError(\"ModuleNotFoundError: No module named 'numpy'\")\n")
    assert "--image" not in corral("sandbox", "run", "cell.py", "--sandbox", "monty").stderr


@pytest.mark.docker
def test_a_package_comes_with_a_file_that_needs_it(corral: Corral, tmp_path: Path, docker_image: None) -> None:
    info = "fortytwo-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "fortytwo-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("fortytwo.py", "answer = 42\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: fortytwo\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in wheel.namelist()))
    (tmp_path / "cell.py").write_text("import fortytwo\nfortytwo.answer\n")
    offline = {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(tmp_path)}
    done = corral("sandbox", "run", "cell.py", "--package", "fortytwo", **offline)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ["--image", "data", "--sandbox", "linux"],
        ["--package", "six", "--sandbox", "monty"],
        ["--package", "a @ http://b"],
    ],
)
def test_packages_that_cannot_be_are_bad_input(corral: Corral, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "cell.py").write_text("1\n")
    assert corral("sandbox", "run", "cell.py", *flags).returncode == 2


def test_a_missing_file_is_bad_input(corral: Corral) -> None:
    done = corral("sandbox", "run", "gone.py")
    assert done.returncode == 2
    assert "gone.py: the file can't be read" in done.stderr


def test_a_file_past_its_time_is_stopped_and_says_so_in_a_line(corral: Corral, tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text("while True:\n    pass\n")
    done = corral("sandbox", "run", "cell.py", "--sandbox", "linux", "--timeout", "0.3")
    assert (done.returncode, done.stderr) == (1, "the cell ran past its 0.3 s and was interrupted\n")


def test_a_shell_keeps_names_and_shows_what_fails(corral: Corral) -> None:
    typed = "x = 20\n\ndef f(n):\n    return n + 1\n\nf(x)\nprint('a'); print('b')\n1 / 0\nf(\n21)"
    done = corral("sandbox", "shell", "--sandbox", "linux", stdin=typed)
    assert (done.returncode, done.stdout) == (0, "21\na\nb\n22\n"), done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.startswith("a session in linux ")


def test_there_is_nothing_to_check_in_monty(corral: Corral) -> None:
    assert corral("sandbox", "check", "--sandbox", "monty").returncode == 2


def test_doctor_knows_the_sandbox_without_docker(corral: Corral) -> None:
    assert "linux: runs code" in corral("doctor").stdout
