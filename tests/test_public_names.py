"""What is public stays: a name that goes is a decision, made in public_names.txt."""

import importlib
from pathlib import Path

NAMES = Path(__file__).with_name("public_names.txt").read_text().split()


def test_every_public_name_is_still_there() -> None:
    missing = [name for name in NAMES if not _is_public(*name.rsplit(".", 1))]
    assert missing == []


def test_every_name_that_is_exported_is_listed() -> None:
    modules = sorted({name.rsplit(".", 1)[0] for name in NAMES})
    exported = {f"{module}.{name}" for module in modules for name in importlib.import_module(module).__all__}
    assert sorted(exported - set(NAMES)) == []


def _is_public(module: str, name: str) -> bool:
    found = importlib.import_module(module)
    return name in found.__all__ and hasattr(found, name)
