"""Authorization servers and APIs that are broken or mean it badly: refused with a reason, and told no secret."""

from __future__ import annotations

import logging
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx
import httpx2
import pytest

from corral.tools import (
    AuthorizationCode,
    HttpServer,
    MCPServer,
    OAuthClient,
    ServerLogin,
    TokenError,
    TokenFile,
    Toolbox,
    ToolConfigError,
    bearer,
)
from corral.tools.challenge import Challenge
from corral.tools.client_identity import ClientIdentity
from corral.tools.discovery import discover_server
from corral.tools.protected_resource import Resource, find_server
from corral.tools.server_metadata import AuthServer
from corral.tools.token import Token
from corral.tools.token_endpoint import TokenEndpoint

from .hostile import Behaviour, Hostile, answer, endless, zipped
from .serving import serving

SECRET = "canary-client-secret"


@pytest.fixture
def server() -> Iterator[Hostile]:
    with serving(Hostile()) as server:
        yield server


PAGE = answer(200, "<html>sign in, please</html>", Content_Type="text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        (PAGE, "this is no token endpoint: it answered with text/html, not a JSON object"),
        (answer(200, '{"access_token": "x'), "it answered with application/json, not a JSON object"),
        (answer(200, "[1]"), "not a JSON object"),
        (answer(200, {"token_type": "Bearer"}), "its answer has no access token"),
        (answer(200, {"access_token": "a\nX-Evil: 1"}), "its answer has no access token"),
        (answer(200, {"access_token": "a", "token_type": "mac"}), "a token of type 'mac', which can't be used"),
        (answer(200, {"access_token": "a", "token_type": "DPoP"}), "bound to a key, which was not asked for"),
        (answer(500, "<html>oops</html>", Content_Type="text/html"), "it answered HTTP 500"),
        (answer(429, {"message": "slow down"}), "it answered HTTP 429"),
        (
            answer(307, {}, Location="https://evil.example/token"),
            "it redirects to https://evil.example/token, where no",
        ),
        (answer(302, {}, Location="/elsewhere"), "where no secret is sent"),
        (answer(400, {"error": f"{SECRET}"}), "it refused: [hidden]"),
        (answer(400, {"error": "x", "error_description": f"no: {SECRET}\n\x1b[2J"}), "it refused: x: no: [hidden]"),
        (endless(), "it did not answer within 0.5 s"),
        (endless(400), "it did not answer within 0.5 s"),
        (endless(chunk=b" " * 300_000, pause=0), "its answer is larger than 1024 KiB and was dropped"),
        (zipped, "its answer is larger than 1024 KiB and was dropped"),
    ],
)
async def test_a_token_endpoint_that_answers_wrongly_is_one_sentence(
    server: Hostile, behaviour: Behaviour, problem: str
) -> None:
    server.behaviour["/token"] = behaviour
    client = OAuthClient(f"{server.url}/token", "me", SECRET, timeout=0.5)
    with anyio.fail_after(5), pytest.raises(TokenError) as caught:
        await client.token()
    text = str(caught.value)
    assert problem in text
    assert SECRET not in text
    assert "\n" not in text
    assert "\x1b" not in text
    assert server.requests == ["POST /token"]


@pytest.mark.parametrize("seconds", ["1e400", "NaN", "-5", '"soon"', "null", "1e18"])
async def test_a_lifetime_that_makes_no_sense_does_no_harm(server: Hostile, seconds: str) -> None:
    server.behaviour["/token"] = answer(200, f'{{"access_token": "a", "expires_in": {seconds}}}')
    assert await OAuthClient(f"{server.url}/token", "me", SECRET).token() == "a"


def test_a_clock_that_was_set_back_does_not_make_a_token_live_for_ever() -> None:
    token = Token.from_response({"access_token": "a", "expires_in": 10**30})
    assert token.expires_at is not None
    assert token.expires_at < time.time() + 11 * 365 * 86400


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"issuer": "https://other.example"}, "its metadata is that of another issuer, https://other.example"),
        ({"issuer": None}, "its metadata is that of another issuer, nobody"),
        (
            {"token_endpoint": "http://auth.example/token"},
            "its token endpoint can't be used: secrets are sent",
        ),
        ({"authorization_endpoint": "javascript:alert(1)"}, "its authorization endpoint can't be used"),
        ({"revocation_endpoint": "http://auth.example/r"}, "its revocation endpoint can't be used"),
        ({"token_endpoint": None}, "its metadata names no token endpoint"),
        ({"token_endpoint": 7}, "its token endpoint can't be used: it is no URL"),
    ],
)
async def test_metadata_that_misleads_is_refused(server: Hostile, metadata: dict[str, Any], problem: str) -> None:
    said = {"issuer": server.url, "token_endpoint": f"{server.url}/token", **metadata}
    server.behaviour["/.well-known/oauth-authorization-server"] = answer(200, said)
    client = OAuthClient(None, "me", SECRET, issuer=server.url)
    with pytest.raises(TokenError) as caught:
        await client.token()
    assert problem in str(caught.value)
    assert not any(SECRET in body for body in server.bodies)


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        (PAGE, "it has no metadata of an authorization server"),
        (answer(302, {}, Location="https://evil.example/"), "it has no metadata of an authorization server (HTTP 302)"),
        (answer(503, {}), "it has no metadata of an authorization server (HTTP 503)"),
        (endless(), "it did not answer within 0.3 s"),
        (endless(chunk=b" " * 300_000, pause=0), "its answer is larger than 1024 KiB"),
    ],
)
async def test_an_issuer_that_is_none_is_one_sentence(server: Hostile, behaviour: Behaviour, problem: str) -> None:
    for kind in ("oauth-authorization-server", "openid-configuration"):
        server.behaviour[f"/.well-known/{kind}"] = behaviour
    with anyio.fail_after(5), pytest.raises(TokenError) as caught:
        await discover_server(server.url, timeout=0.3)
    assert problem in str(caught.value)


async def test_an_issuer_is_not_asked_in_the_clear() -> None:
    for url in ("http://auth.example", "ftp://auth.example", "https://me:secret@auth.example"):
        with pytest.raises(ToolConfigError):
            OAuthClient(None, "me", SECRET, issuer=url)
        with pytest.raises(ToolConfigError):
            await discover_server(url)


@pytest.mark.parametrize(
    ("answer_with", "problem"),
    [
        ({"state": "guessed", "code": "c"}, "the answer to another question (state)"),
        ({"code": "c"}, "the answer to another question (state)"),
        ({"state": None, "code": "c"}, "the answer is of another authorization server (iss)"),
        ({"state": None, "code": "c", "iss": "https://evil.example"}, "the answer is of another authorization server"),
        ({"state": None, "error": "access_denied\x1b[2J"}, "consent was not given (access_denied"),
    ],
)
async def test_a_browser_that_comes_back_with_something_else_gets_no_code_redeemed(
    server: Hostile, answer_with: dict[str, str | None], problem: str
) -> None:
    def show(url: str) -> None:
        asked = httpx.URL(url).params
        said = {
            name: asked["state"] if name == "state" and value is None else value for name, value in answer_with.items()
        }
        if "iss" not in said and "error" in said:
            said["iss"] = server.url
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(f"{asked['redirect_uri']}?{urlencode(said)}", timeout=5).close()

    grant = AuthorizationCode(f"{server.url}/authorize", show, issuer=server.url)
    client = OAuthClient(f"{server.url}/token", "me", grant=grant)
    with anyio.fail_after(5), pytest.raises(TokenError) as caught:
        await client.login()
    assert problem in str(caught.value)
    assert server.requests == []


async def test_a_server_that_is_being_restarted_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    late = Hostile(bind_and_activate=False)
    late.server_bind()
    late.url = f"http://127.0.0.1:{late.server_address[1]}"
    late.behaviour["/token"] = answer(200, {"access_token": "a", "expires_in": 60})
    client = OAuthClient(f"{late.url}/token", "me", SECRET)
    with pytest.raises(TokenError, match=r"can't be reached \(ConnectError\)"):
        await client.token()
    caplog.set_level(logging.DEBUG, "httpcore2.connection")

    def start() -> None:
        end = time.monotonic() + 10
        while "connect_tcp.failed" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)
        late.server_activate()
        late.serve_forever(0.02)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    try:
        with anyio.fail_after(10):
            assert await client.token() == "a"
        assert late.requests == ["POST /token"]
    finally:
        late.shutdown()
        late.server_close()


async def test_a_server_that_binds_no_codes_to_who_asked_is_not_asked(server: Hostile) -> None:
    said = {
        "issuer": server.url,
        "token_endpoint": f"{server.url}/token",
        "code_challenge_methods_supported": ["plain"],
    }
    said |= {"authorization_endpoint": f"{server.url}/authorize"}
    server.behaviour["/.well-known/oauth-authorization-server"] = answer(200, said)
    client = OAuthClient(None, "me", issuer=server.url, grant=AuthorizationCode(show=pytest.fail))
    with pytest.raises(TokenError, match="it takes codes with plain only, which others could redeem"):
        await client.login()


@pytest.mark.parametrize(
    ("server_url", "metadata", "problem"),
    [
        (
            "https://mcp.example/mcp",
            {"authorization_servers": ["http://auth.example"]},
            "secrets are sent over https only",
        ),
        ("https://mcp.example/mcp", {"authorization_servers": ["http://127.0.0.1:8080"]}, "it is inside this network"),
        (
            "https://mcp.example/mcp",
            {"authorization_servers": ["https://169.254.169.254"]},
            "clouds keep the credentials of machines",
        ),
        ("https://mcp.example/mcp", {"authorization_servers": ["https://[::1]/x"]}, "it is inside this network"),
        ("https://mcp.example/mcp", {"authorization_servers": ["file:///etc/passwd"]}, "begins with https"),
        ("https://mcp.example/mcp", {"resource": "https://other.example/mcp"}, "that of another resource"),
        ("https://mcp.example/mcp", {"resource": "https://mcp.example/mcpx"}, "that of another resource"),
    ],
)
def test_a_server_can_not_lead_where_nobody_should_be_led(
    server_url: str, metadata: dict[str, Any], problem: str
) -> None:
    said = {"resource": server_url, "authorization_servers": ["https://auth.example"], **metadata}
    with pytest.raises(TokenError) as caught:
        Resource.from_json(said, server_url)
    assert problem in str(caught.value)


async def test_a_name_that_leads_inside_is_not_asked_for_a_stranger(server: Hostile) -> None:
    port = server.url.rpartition(":")[2]
    issuer = f"https://127.1:{port}"
    led = Resource("https://mcp.example/mcp", issuer)
    with pytest.raises(
        TokenError, match=r"refused: 127\.1 leads to 127\.0\.0\.1, which is inside this machine or network"
    ):
        await find_server("https://mcp.example/mcp", led)
    client = ClientIdentity("me", SECRET, "client_secret_post")
    endpoint = TokenEndpoint(AuthServer("", f"{issuer}/token"), client, "", None, 5.0, allow_private=False)
    with pytest.raises(TokenError, match=r"refused: 127\.1 leads to 127\.0\.0\.1"):
        await endpoint.ask("client_credentials")
    assert server.requests == []


def test_a_server_inside_may_lead_inside() -> None:
    said = {"resource": "https://10.0.0.1/", "authorization_servers": ["https://10.0.0.2"]}
    assert Resource.from_json(said, "https://10.0.0.1/mcp") is not None


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_without_end_holds_up_nothing(server: Hostile, library: Any, status: int) -> None:
    """An API refuses the first token in a body that does not end."""
    tokens = iter(("first", "second", "third"))
    refusal = endless(status, WWW_Authenticate='Bearer error="insufficient_scope", scope="more"')

    def give(handler: BaseHTTPRequestHandler) -> None:
        answer(200, {"access_token": next(tokens), "expires_in": 600})(handler)

    def api(handler: BaseHTTPRequestHandler) -> None:
        (refusal if handler.headers["Authorization"] == "Bearer first" else answer(200, {"ok": True}))(handler)

    server.behaviour |= {"/token": give, "/api": api}
    client = OAuthClient(f"{server.url}/token", "me", SECRET, step_up=True)
    with anyio.fail_after(5):
        async with library.AsyncClient(auth=bearer(client), trust_env=False) as http:
            assert (await http.get(f"{server.url}/api")).json() == {"ok": True}
    assert server.requests == ["POST /token", "GET /api", "POST /token", "GET /api"]


async def test_a_challenge_of_any_length_is_read_quickly() -> None:
    texts = [
        'Bearer scope="' + "a\\" * 100_000,
        "Bearer " + 'a="" ' * 50_000,
        "x=" * 100_000,
        'DPoP error="x", Bearer ,=,',
    ]
    start = time.perf_counter()
    for text in texts:
        response = httpx.Response(401, headers={"WWW-Authenticate": text})
        assert Challenge.read(response, httpx.Request("GET", "https://x")) is not None
    assert time.perf_counter() - start < 1


async def test_an_mcp_server_that_wants_a_login_at_a_liar_is_one_sentence(server: Hostile) -> None:
    about = {"resource": f"{server.url}/mcp", "authorization_servers": [f"{server.url}/as"]}
    server.behaviour |= {
        "/mcp": answer(401, {}, WWW_Authenticate="Bearer"),
        "/.well-known/oauth-protected-resource/mcp": answer(200, about),
        "/.well-known/oauth-authorization-server/as": answer(
            200, {"issuer": "https://good.example", "token_endpoint": f"{server.url}/token"}
        ),
    }
    async with Toolbox(MCPServer("farm", HttpServer(f"{server.url}/mcp", auth=ServerLogin(pytest.fail)))) as box:
        assert "its metadata is that of another issuer, https://good.example" in box.failures["farm"]
    assert "POST /token" not in server.requests


@pytest.mark.parametrize("content", ["", "two words", "x" * 70_000, "\xff"])
def test_a_workloads_token_file_without_a_token_is_one_sentence(tmp_path: Any, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(TokenError, match="there is no token in"):
        TokenFile(path)()
    with pytest.raises(TokenError, match="can't be read: No such file"):
        TokenFile(tmp_path / "none")()


def test_metadata_that_was_kept_by_hand_is_read_as_none() -> None:
    for data in (None, {}, {"issuer": "x"}, {"auth_methods": 1, "scopes": []}, [1], "x"):
        assert AuthServer.from_json(data) is None
