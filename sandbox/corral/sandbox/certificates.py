"""The authorities that this machine trusts, for code that may reach hosts: a slim image knows none."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi

__all__ = ["authorities"]


def authorities() -> bytes:
    """Their certificates, PEM: the system's, or Mozilla's where it keeps none in a file."""
    path = ssl.get_default_verify_paths().cafile or certifi.where()
    return Path(path).read_bytes()
