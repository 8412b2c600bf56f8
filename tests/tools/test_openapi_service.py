"""OpenAPI documents as services: from a URL, with a choice of servers, with security schemes, in pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from corral.tools import OAuthClient, Observation, Tool, Toolbox, ToolConfigError, load_openapi
from corral.tools.testing import LoopbackOAuth

from .plain import Answer, plain

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]


def document(**more: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": {"/cows": {"get": {"operationId": "cows"}}}, **more}


async def test_a_document_is_fetched_and_its_server_is_found_from_there(perform: Perform) -> None:
    spec = document(servers=[{"url": "../v2"}])
    with plain(Answer(body=json.dumps(spec).encode())) as server:
        async with Toolbox(load_openapi("farm", f"{server.url}/docs/openapi.json")) as box:
            assert not (await perform(box["farm_cows"], {})).is_error
    assert [asked.path for asked in server.asked] == ["/docs/openapi.json", "/v2/cows"]


def test_what_can_not_be_fetched_is_told() -> None:
    with plain(Answer(404)) as server, pytest.raises(ToolConfigError, match="HTTP 404, not with a document"):
        load_openapi("farm", f"{server.url}/openapi.json")
    with plain(Answer(body=b"<html>")) as server, pytest.raises(ToolConfigError, match="no OpenAPI document"):
        load_openapi("farm", f"{server.url}/openapi.json")
    with plain(Answer(302, headers={"Location": "http://127.0.0.1:9/"})) as server:
        with pytest.raises(ToolConfigError, match="HTTP 302"):
            load_openapi("farm", f"{server.url}/openapi.json")
        port = server.url.rpartition(":")[2]
        with pytest.raises(ToolConfigError, match=r"127\.1 leads to 127\.0\.0\.1, which is inside this machine"):
            load_openapi("farm", f"http://127.1:{port}/openapi.json")
        assert len(server.asked) == 1


async def test_one_of_several_servers_is_chosen_and_its_variables_are_filled_in() -> None:
    place = {"default": "eu", "enum": ["eu", "us"]}
    spec = document(
        servers=[
            {"url": "https://{place}.farm.example", "description": "production", "variables": {"place": place}},
            {"url": "https://test.farm.example", "description": "for tests"},
        ]
    )

    def base_url(**options: Any) -> str:
        return load_openapi("farm", spec, **options)._base_url

    assert base_url() == "https://eu.farm.example"
    assert base_url(variables={"place": "us"}) == "https://us.farm.example"
    assert base_url(server=1) == base_url(server="tests") == "https://test.farm.example"
    for options, problem in (
        ({"server": 2}, "it has 2 servers, and no number 2"),
        ({"server": "farm"}, "'farm' names 2 of its servers"),
        ({"variables": {"place": "mars"}}, "its server takes no place='mars'"),
        ({"variables": {"port": "1"}}, "its server takes no port='1'"),
    ):
        with pytest.raises(ToolConfigError, match=problem):
            base_url(**options)


SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
    "param": {"type": "apiKey", "in": "query", "name": "api_key"},
    "biscuit": {"type": "apiKey", "in": "cookie", "name": "session"},
    "login": {"type": "http", "scheme": "basic"},
    "tokens": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://x.example", "scopes": {}}}},
    "mutual": {"type": "mutualTLS"},
}


def secured() -> dict[str, Any]:
    paths = {f"/{name}": {"get": {"operationId": name, "security": [{name: []}]}} for name in SCHEMES}
    paths["/both"] = {"get": {"operationId": "both", "security": [{"mutual": []}, {"key": [], "login": []}]}}
    paths["/open"] = {"get": {"operationId": "open", "security": []}}
    paths["/usual"] = {
        "get": {
            "operationId": "usual",
            "parameters": [{"name": "theme", "in": "cookie", "schema": {"type": "string"}}],
        }
    }
    return document(paths=paths, components={"securitySchemes": SCHEMES}, security=[{"biscuit": []}])


async def test_each_operation_gets_the_credentials_that_it_names_and_no_others(
    perform: Perform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEY", "PARAM", "BISCUIT", "LOGIN"):
        monkeypatch.setenv(name, f"canary-{name.lower()}:x")
    with LoopbackOAuth() as oauth, plain(Answer(body=b'"canary-key:x and canary-param:x"')) as server:
        security: dict[str, Any] = {
            "key": "${KEY}",
            "param": "${PARAM}",
            "biscuit": "${BISCUIT}",
            "login": "${LOGIN}",
            "tokens": OAuthClient(oauth.token_url, oauth.client_id, oauth.client_secret),
        }
        source = load_openapi("api", secured(), base_url=server.url, security=security)
        assert "canary" not in repr(source._credentials)
        async with Toolbox(source) as box:
            assert box.failures == {"api/mutual": "it needs credentials for mutual; give them in security"}
            for name in ("key", "param", "biscuit", "login", "tokens", "both", "open"):
                seen = await perform(box[f"api_{name}"], {})
                assert "canary" not in repr(seen)
            await perform(box["api_usual"], {"theme": "dark"})
            token = await security["tokens"].token()
    asked = {one.path.partition("?")[0].strip("/"): one for one in server.asked}
    basic = "Basic " + base64.b64encode(b"canary-login:x").decode()
    sent = {
        name: (
            one.headers.get("x-key"),
            one.path.partition("?")[2],
            one.headers.get("cookie"),
            one.headers.get("authorization"),
        )
        for name, one in asked.items()
    }
    assert sent == {
        "key": ("canary-key:x", "", None, None),
        "param": (None, "api_key=canary-param%3Ax", None, None),
        "biscuit": (None, "", "session=canary-biscuit%3Ax", None),
        "login": (None, "", None, basic),
        "tokens": (None, "", None, f"Bearer {token}"),
        "both": ("canary-key:x", "", None, basic),
        "open": (None, "", None, None),
        "usual": (None, "", "theme=dark; session=canary-biscuit%3Ax", None),
    }


def test_credentials_that_do_not_fit_the_document_are_told() -> None:
    for security, problem in (
        ({"kee": "x"}, "it has no scheme 'kee'; it has key, param"),
        ({"mutual": "x"}, "schemes such as 'mutual' can't be used"),
        ({"key": OAuthClient("https://a.example", "me", "s3cret")}, "'key' is no scheme of tokens; give a text"),
    ):
        with pytest.raises(ToolConfigError, match=problem):
            load_openapi("api", secured(), base_url="https://api.example", security=security)
    with pytest.raises(ToolConfigError, match="over https only"):
        load_openapi("api", secured(), base_url="http://api.example", security={"key": "x"})


def paged(*names: str) -> dict[str, Any]:
    kind = {"page": "integer", "offset": "integer"}
    given = [{"name": name, "in": "query", "schema": {"type": kind.get(name, "string")}} for name in names]
    return document(paths={"/cows": {"get": {"operationId": "cows", "parameters": given}}})


@pytest.mark.parametrize(
    ("names", "given", "answer", "headers", "changed"),
    [
        (["cursor"], {}, {"cows": [], "next_cursor": "b2"}, {}, '{"cursor": "b2"}'),
        (["page_token"], {}, {"nextPageToken": "t"}, {}, '{"page_token": "t"}'),
        (["page"], {"page": 2}, [], {"Link": '</cows?page=1>; rel="prev", </cows?page=3>; rel="next"'}, '{"page": 3}'),
        (["page", "q"], {"q": "a"}, {"next": "https://x.example/cows?page=2&q=a"}, {}, '{"page": 2, "q": "a"}'),
        (["page"], {}, {"has_more": True}, {}, '{"page": 2}'),
        (["offset"], {"offset": 2}, {"cows": [1, 2, 3], "hasMore": True}, {}, '{"offset": 5}'),
        (["after"], {}, {"paging": {"next_cursor": "z"}}, {}, '{"after": "z"}'),
        (["cursor"], {}, {"next_cursor": ""}, {}, None),
        (["cursor"], {"cursor": "b2"}, {"next_cursor": "b2"}, {}, None),
        (["q"], {}, {"next_cursor": "b2"}, {}, None),
        (["cursor"], {}, {"next_cursor": 7, "paging": "odd", "links": None}, {}, None),
    ],
)
async def test_how_to_ask_for_the_next_page_is_told(
    perform: Perform, names: list[str], given: dict[str, Any], answer: Any, headers: dict[str, str], changed: str | None
) -> None:
    with plain(Answer(body=json.dumps(answer).encode(), headers=headers)) as server:
        async with Toolbox(load_openapi("farm", paged(*names), base_url=server.url)) as box:
            seen = await perform(box["farm_cows"], given)
    assert seen.structured == answer
    told = f"\n[there is more: call it again, changing {changed}]" if changed else ""
    assert seen.text == json.dumps(answer) + told
