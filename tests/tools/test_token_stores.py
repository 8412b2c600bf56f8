"""Logins at rest: the same contract for encrypted files and for a keyring, and what each of them protects."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keyrings.alt.file import PlaintextKeyring
from pydantic import SecretStr

from corral.tools import AuthorizationCode, FileTokenStore, KeyringTokenStore, OAuthClient, TokenError, TokenStore
from corral.tools.login import Login
from corral.tools.server_metadata import AuthServer
from corral.tools.testing import LoopbackOAuth
from corral.tools.token import Token

Open = Callable[[], TokenStore]
ONE = threading.RLock()
SECRETS = ("canary-access", "canary-refresh", "canary-key", "canary-client")
LOGIN = Login(
    Token("canary-access", "canary-refresh", 1.0, 2.0, "herd:read", "DPoP"),
    {"kty": "EC", "d": "canary-key"},
    AuthServer("https://auth.example", "https://auth.example/token", scopes=("herd:read",)),
    {"client_id": "me", "client_secret": "canary-client", "redirect_uris": ["http://127.0.0.1:1/callback"]},
    {"resource": "https://mcp.example/mcp", "authorization_servers": ["https://auth.example"]},
)


class Good(PlaintextKeyring):
    """As a desktop's would be judged."""

    priority = 5


class OneAtATime(PlaintextKeyring):
    """Its file is not replaced as a whole; systems' keyrings do better."""

    def get_password(self, service: str, username: str) -> str | None:
        with ONE:
            return super().get_password(service, username)

    def set_password(self, service: str, username: str, password: str) -> None:
        with ONE:
            super().set_password(service, username, password)

    def delete_password(self, service: str, username: str) -> None:
        with ONE:
            super().delete_password(service, username)


def logins_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


def keyring_in(folder: Path) -> Any:
    """A real backend of the package `keyring`, which writes to a file of the test's own."""
    backend = OneAtATime()
    backend.file_path = str(folder / "keyring.cfg")
    return backend


@pytest.fixture(params=["file", "passphrase", "keyring"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the store as a new process would."""
    folder = tmp_path / "logins"
    match request.param:
        case "file":
            return lambda: FileTokenStore(folder)
        case "passphrase":
            return lambda: FileTokenStore(folder, SecretStr("a horse"))
        case _:
            return lambda: KeyringTokenStore(folder, keyring_in(tmp_path))


def test_a_login_is_kept_as_a_whole_and_forgotten_as_a_whole(open_store: Open) -> None:
    assert open_store().load("one") is None
    open_store().save("one", LOGIN)
    open_store().save("two", Login(Token("other")))
    assert open_store().load("one") == LOGIN
    open_store().save("one", Login(Token("newer")))
    assert open_store().load("one") == Login(Token("newer"))
    open_store().delete("one")
    open_store().delete("one")
    assert open_store().load("one") is None
    assert open_store().load("two") == Login(Token("other"))


def test_a_login_of_many_kilobytes_is_kept_too(open_store: Open) -> None:
    big = Login(Token("t" * 20_000, "r" * 9_000))
    open_store().save("one", big)
    open_store().save("one", big)
    assert open_store().load("one") == big


def test_who_reads_meanwhile_finds_one_login_or_the_other(open_store: Open) -> None:
    logins = [Login(Token(name * 3000)) for name in "ab"]
    open_store().save("one", logins[0])
    reader, seen = open_store(), set[str]()

    def write() -> None:
        store = open_store()
        for number in range(6):
            store.save("one", logins[number % 2])

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        login = reader.load("one")
        seen.add("none" if login is None or login.token is None else login.token.access[:1] * (login in logins))
    writer.join()
    assert seen <= {"a", "b"}


def test_nothing_secret_is_readable_in_the_folder(open_store: Open, tmp_path: Path) -> None:
    open_store().save("one", LOGIN)
    folder = tmp_path / "logins"
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert not any(secret in path.read_text() for secret in SECRETS), path
    assert not folder.exists() or stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any(secret in repr((open_store(), LOGIN)) for secret in SECRETS)


def test_another_passphrase_or_a_lost_key_is_told_and_no_login_is_overwritten_unseen(tmp_path: Path) -> None:
    FileTokenStore(tmp_path, SecretStr("a horse")).save("one", LOGIN)
    with pytest.raises(TokenError, match="encrypted with another passphrase; log in again"):
        FileTokenStore(tmp_path, SecretStr("a mule")).load("one")
    FileTokenStore(tmp_path).save("two", LOGIN)
    (tmp_path / "store.key").unlink()
    with pytest.raises(TokenError, match="encrypted with another key, which is gone; log in again"):
        FileTokenStore(tmp_path).load("two")
    (tmp_path / "store.key").write_text("{}")
    with pytest.raises(TokenError, match=r"store\.key is damaged; remove it"):
        FileTokenStore(tmp_path).load("two")


@pytest.mark.parametrize("change", [lambda text: text[:-9], lambda text: text.replace(".", "!"), lambda text: "{"])
def test_a_damaged_login_is_as_good_as_none(tmp_path: Path, change: Callable[[str], str]) -> None:
    FileTokenStore(tmp_path).save("one", LOGIN)
    path = tmp_path / "one.json"
    path.write_text(change(path.read_text()))
    assert FileTokenStore(tmp_path).load("one") is None


def test_a_login_of_a_newer_corral_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps({"version": 2, "token": {"access": "x", "shape": "new"}}))
    with pytest.raises(TokenError, match="a newer Corral wrote what is kept there"):
        FileTokenStore(tmp_path).load("one")


OLD_CLIENT = {
    "access": "canary-access",
    "refresh": "canary-refresh",
    "obtained_at": 1.0,
    "expires_at": 2.0,
    "scope": "herd:read",
}
OLD_SERVER = {
    "tokens": {"access_token": "canary-access", "token_type": "Bearer", "refresh_token": "canary-refresh"},
    "metadata": {
        "issuer": "https://auth.example",
        "authorization_endpoint": "https://auth.example/authorize",
        "token_endpoint": "https://auth.example/token",
    },
    "resource": {"resource": "https://mcp.example/mcp", "authorization_servers": ["https://auth.example/"]},
    "client": {"client_id": "me", "redirect_uris": ["http://127.0.0.1:1/callback"]},
    "expires_at": 2.0,
    "server": "https://auth.example/",
}


@pytest.mark.parametrize("old", [OLD_CLIENT, OLD_SERVER])
@pytest.mark.parametrize("keyring", [False, True])
def test_what_an_older_corral_kept_in_the_clear_is_read_once_and_no_longer_clear(
    tmp_path: Path, old: dict[str, Any], keyring: bool
) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(old))
    store = KeyringTokenStore(tmp_path, keyring_in(tmp_path)) if keyring else FileTokenStore(tmp_path)
    for _ in range(2):
        login = store.load("one")
        assert login is not None
        assert login.token is not None
        assert (login.token.access, login.token.refresh, login.token.expires_at) == (
            "canary-access",
            "canary-refresh",
            2.0,
        )
        if old is OLD_SERVER:
            assert login.server is not None
            assert login.server.token_url == "https://auth.example/token"
    assert not path.exists() or "canary" not in path.read_text()


async def test_a_login_in_a_keyring_is_shared_by_clients(tmp_path: Path) -> None:
    def browse(url: str) -> None:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()

    with LoopbackOAuth() as server:
        first, second = (
            OAuthClient(
                server.token_url,
                server.public_id,
                grant=AuthorizationCode(server.authorize_url, browse),
                store=KeyringTokenStore(tmp_path, keyring_in(tmp_path)),
            )
            for _ in range(2)
        )
        await first.login()
        old = await second.token()
        newer = await second.token(refused=old)
        assert await first.token(refused=old) == newer != old
        assert server.tokens_issued == 2
    assert not logins_in(tmp_path)


def test_a_keyring_that_is_locked_is_one_sentence(tmp_path: Path) -> None:
    class Locked:
        def get_password(self, service: str, name: str) -> str:
            raise RuntimeError(f"locked, and {name} is canary-access")

    with pytest.raises(TokenError) as caught:
        KeyringTokenStore(tmp_path, Locked()).load("one")
    assert "the system's keyring can't be used (RuntimeError); unlock it, or set a passphrase" in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("backend", "passphrase", "store"),
    [
        ("keyring.backends.fail.Keyring", "None", "FileTokenStore"),
        ("keyrings.alt.file.PlaintextKeyring", "None", "FileTokenStore"),  # a plain file is no keyring
        ("tests.tools.test_token_stores.Good", "None", "KeyringTokenStore"),
        ("tests.tools.test_token_stores.Good", "SecretStr('x')", "FileTokenStore"),
    ],
)
def test_the_systems_keyring_is_taken_where_there_is_one(
    tmp_path: Path, backend: str, passphrase: str, store: str
) -> None:
    code = (
        "from pydantic import SecretStr; from corral.tools import open_token_store;"
        f"print(type(open_token_store({str(tmp_path)!r}, {passphrase})).__name__)"
    )
    environ = os.environ | {"PYTHON_KEYRING_BACKEND": backend, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environ, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{store}\n", done.stderr
