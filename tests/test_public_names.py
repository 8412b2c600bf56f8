"""What is public stays: a name that goes is a decision, made in public_names.txt."""

import importlib
from pathlib import Path

NAMES = Path(__file__).with_name("public_names.txt").read_text().split()


def test_every_public_name_is_still_there() -> None:
    missing = [name for name in NAMES if not _is_public(*name.rsplit(".", 1))]
    assert missing == []


def _is_public(module: str, name: str) -> bool:
    found = importlib.import_module(module)
    return name in found.__all__ and hasattr(found, name)
