"""Wheels that sessions can import: from a list, installed here, seen there and never written."""

import zipfile
from pathlib import Path

import pytest

from corral.sandbox import DockerProvider, Packages, SandboxUnavailable

SOURCE = "answer = 42\n"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with one wheel, made by hand."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "fortytwo-1.0.dist-info"
    with zipfile.ZipFile(folder / "fortytwo-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("fortytwo/__init__.py", SOURCE)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: fortytwo\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in wheel.namelist()))
    return folder


def packages(wheels: Path, *requirements: str) -> Packages:
    options = ["--no-index", "--find-links", str(wheels)]
    return Packages(requirements, ["FortyTwo"], options, wheels.parent / "cache")


@pytest.mark.docker
async def test_a_package_on_the_list_can_be_imported_and_not_changed(docker_image: None, wheels: Path) -> None:
    async with DockerProvider(packages=packages(wheels, "fortytwo>=1")) as provider:
        assert "fortytwo" in provider.instructions
        async with await provider.open() as sandbox:
            execution = await sandbox.execute("import fortytwo\n[fortytwo.answer, fortytwo.__file__]", timeout=5)
            assert execution.error is None, execution
            answer, file = execution.value
            assert answer == 42
            write = await sandbox.execute(f"open({file!r}, 'a')", timeout=5)
            assert write.error is not None


def test_what_was_installed_once_is_taken_from_the_cache(wheels: Path) -> None:
    wanted = packages(wheels, "fortytwo")
    folder = wanted.install("3.11.2", "x86_64")
    next(wheels.glob("*.whl")).unlink()
    assert wanted.install("3.11.9", "x86_64") == folder
    assert (folder / "fortytwo" / "__init__.py").read_text() == SOURCE
    with pytest.raises(SandboxUnavailable):
        wanted.install("3.12.0", "x86_64")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "requirement",
    ["other", "fortytwo @ file:///etc", "--no-deps", "./fortytwo", "-r requirements.txt", "fortytwo; x", "", "a b"],
)
def test_what_is_not_a_name_on_the_list_is_refused_at_once(wheels: Path, requirement: str) -> None:
    with pytest.raises(ValueError, match="not"):
        DockerProvider(packages=packages(wheels, requirement))


def test_names_are_compared_as_indexes_do(wheels: Path) -> None:
    Packages(["Forty_Two[x]==1.0"], ["forty-two"]).check()


def test_a_source_distribution_is_not_built(wheels: Path) -> None:
    next(wheels.glob("*.whl")).unlink()
    (wheels / "fortytwo-1.0.tar.gz").write_bytes(b"")
    with pytest.raises(SandboxUnavailable, match="fortytwo"):
        packages(wheels, "fortytwo").install("3.11.2", "x86_64")
