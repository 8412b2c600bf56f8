"""Corral's ReAct with the text protocol, for models that can't call functions."""

MODE, IMPORT, VENV = "async", "from corral.agents import ReAct", "corral"

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from corral_native import make


def setup(base_url):
    return make(base_url, native=False)
