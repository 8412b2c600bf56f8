"""The examples, as they stand: each prints what its last line says, and is short."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORRAL_MODEL", raising=False)
    runpy.run_path(str(path), run_name="__main__")
    text = path.read_text()
    *_, told = text.splitlines()
    assert told.startswith("# ")
    assert capsys.readouterr().out.strip() == told.removeprefix("# ")
    statements = [line for line in text.splitlines() if line.strip() and not line.startswith(("#", '"""'))]
    assert len(statements) <= 16, "about fifteen lines"


def test_the_page_of_the_examples_names_them_all() -> None:
    page = (EXAMPLES / "README.md").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f"]({path.name})" not in page] == []
