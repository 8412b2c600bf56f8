"""A program that has no secret of its own: the place where it runs vouches for it, by a token in a file."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from pydantic import SecretStr

from corral.tools import IdentityAssertion, JwtBearer, OAuthClient, PrivateKeyJwt, TokenError, TokenExchange, TokenFile

from ..oidc import OIDC, install
from .serving import serving

KIND = "urn:ietf:params:oauth:grant-type:"
TYPE = "urn:ietf:params:oauth:token-type:"


class Federation(ThreadingHTTPServer):
    """A token endpoint that believes one cluster: checks its tokens' signature, subject, audience and end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/token"
        self.cluster = ECKey.generate_key("P-256")
        self.forms: list[dict[str, str]] = []

    def vouch(self, audience: str = "the farm", seconds: int = 60) -> str:
        claims = {"sub": "pod:herder", "aud": audience, "exp": int(time.time()) + seconds, "jti": secrets.token_hex(4)}
        return jwt.encode({"alg": "ES256"}, claims, self.cluster)

    def judge(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.forms.append(form)
        shown = form.get("assertion") or form.get("subject_token") or ""
        try:
            claims = jwt.decode(shown, self.cluster).claims
        except (JoseError, ValueError):
            return 400, {"error": "invalid_grant", "error_description": f"not signed by the cluster: {shown}"}
        if claims["aud"] != "the farm" or claims["exp"] < time.time():
            return 400, {"error": "invalid_grant", "error_description": "for somebody else, or too old"}
        if form.get("requested_token_type") == f"{TYPE}id-jag":
            vouched = self.vouch(), f"{TYPE}id-jag"
            return 200, {"access_token": vouched[0], "issued_token_type": vouched[1], "token_type": "N_A"}
        return 200, {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "expires_in": 600}


class _Handler(BaseHTTPRequestHandler):
    server: Federation

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        status, value = self.server.judge(form)
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def federation() -> Iterator[Federation]:
    with serving(Federation()) as server:
        yield server


async def test_a_clusters_token_stands_for_a_consent_and_is_read_anew_each_time(
    federation: Federation, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(federation.vouch() + "\n")
    client = OAuthClient(federation.url, "herder", grant=JwtBearer(TokenFile(path)), scopes=["herd:read"])
    first = await client.token()
    path.write_text(federation.vouch())
    second = await client.token(refused=first)
    assert first != second
    assert [form["grant_type"] for form in federation.forms] == [f"{KIND}jwt-bearer"] * 2
    assert federation.forms[0]["assertion"] != federation.forms[1]["assertion"] == path.read_text()
    assert federation.forms[0]["scope"] == "herd:read"


async def test_a_clusters_token_is_exchanged_for_one_of_the_api(federation: Federation, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(federation.vouch())
    grant = TokenExchange(TokenFile(path), audience="herd")
    assert await OAuthClient(federation.url, "herder", grant=grant, resource="https://api.example").token()
    form = federation.forms[0]
    assert (form["grant_type"], form["subject_token_type"]) == (f"{KIND}token-exchange", f"{TYPE}jwt")
    assert (form["audience"], form["resource"], form["client_id"]) == ("herd", "https://api.example", "herder")


async def test_a_companys_word_becomes_a_token_without_a_person(federation: Federation) -> None:
    word = federation.vouch()
    grant = IdentityAssertion(federation.url, "at-the-company", lambda: word)
    assert await OAuthClient(federation.url, "herder", grant=grant).token()
    assert [form["client_id"] for form in federation.forms] == ["at-the-company", "herder"]
    assert word not in repr(grant)


@pytest.mark.parametrize(
    ("audience", "seconds", "problem"),
    [("another farm", 60, "for somebody else, or too old"), ("the farm", -60, "for somebody else, or too old")],
)
async def test_a_token_that_is_not_believed_is_one_sentence(
    federation: Federation, tmp_path: Path, audience: str, seconds: int, problem: str
) -> None:
    path = tmp_path / "token"
    path.write_text(federation.vouch(audience, seconds))
    for grant in (JwtBearer(TokenFile(path)), TokenExchange(TokenFile(path))):
        with pytest.raises(TokenError) as caught:
            await OAuthClient(federation.url, "herder", grant=grant).token()
        assert problem in str(caught.value)


async def test_a_refusal_that_repeats_the_clusters_token_does_not_show_it(
    federation: Federation, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    forged = jwt.encode({"alg": "ES256"}, {"sub": "x"}, ECKey.generate_key("P-256"))
    path.write_text(forged)
    with pytest.raises(TokenError) as caught:
        await OAuthClient(federation.url, "herder", grant=JwtBearer(TokenFile(path))).token()
    assert "not signed by the cluster: [hidden]" in str(caught.value)
    assert forged not in str(caught.value)


@pytest.mark.node
async def test_a_workloads_file_says_who_a_client_is(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """RFC 7523 §2.2 at npm's oidc-provider: the file has the client's assertion, as a cloud would write it."""
    folder = Path(request.config.cache.mkdir("oidc-provider"))
    install(folder)
    oidc = OIDC(folder, "http://127.0.0.1:9/mcp")
    path = tmp_path / "token"
    with oidc.process:
        now = int(time.time())
        claims = {"iss": "signer", "sub": "signer", "aud": oidc.url, "iat": now, "exp": now + 60, "jti": "1"}
        path.write_text(jwt.encode({"alg": "ES256", "kid": "signer-1"}, claims, oidc.key))
        client = OAuthClient(
            None, "signer", issuer=oidc.url, assertion=TokenFile(path), scopes=["herd:read"], resource=oidc.api
        )
        assert await client.token()
        wrong = PrivateKeyJwt(SecretStr(ECKey.generate_key("P-256").as_pem(private=True).decode()), key_id="signer-1")
        other = OAuthClient(None, "signer", issuer=oidc.url, assertion=wrong, scopes=["herd:read"], resource=oidc.api)
        with pytest.raises(TokenError, match="refused the client's id or secret"):
            await other.token()


@pytest.mark.parametrize(
    "key", ["no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", '{"kty": 1}']
)
async def test_a_key_that_is_none_is_one_sentence_without_the_key(federation: Federation, key: str) -> None:
    client = OAuthClient(federation.url, "herder", assertion=PrivateKeyJwt(SecretStr(key)))
    with pytest.raises(TokenError, match="its private key is neither PEM nor a JWK") as caught:
        await client.token()
    assert key not in str(caught.value)
