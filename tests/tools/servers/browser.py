"""A browser, as the variable BROWSER names one: `python browser.py URL`, with a person who consents."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.oidc import browse

browse(sys.argv[1])
