"""Modules that every session has without importing them."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys

__all__ = ["preimport"]

# fmt: off
PREIMPORTED = (
    "array", "base64", "bisect", "calendar", "cmath", "collections", "concurrent.futures", "contextlib", "copy",
    "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "fnmatch", "fractions", "functools", "glob",
    "hashlib", "heapq", "hmac", "html", "html.parser", "inspect", "io", "itertools", "json", "logging", "math",
    "numbers", "operator", "pathlib", "pprint", "queue", "random", "re", "secrets", "shutil", "statistics", "string",
    "struct", "subprocess", "tempfile", "textwrap", "time", "typing", "unicodedata", "urllib.parse", "uuid",
    "xml.etree.ElementTree", "zlib",
)
# fmt: on

PREIMPORTED_IF_THERE = ("numpy", "pandas", "PIL")
"""Of the data image, where a session would take half a second for them."""


def preimport(without: str | None) -> None:
    """Import them, but nothing from the folder `without`: this process is not confined yet."""
    for name in PREIMPORTED:
        importlib.import_module(name)
    path = [folder for folder in sys.path if folder != without]
    for name in PREIMPORTED_IF_THERE:
        if importlib.machinery.PathFinder.find_spec(name, path):
            importlib.import_module(name)
