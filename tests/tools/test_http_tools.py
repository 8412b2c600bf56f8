"""Declared HTTP endpoints as tools, against live servers on loopback that check what arrives."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import httpx
import httpx2
import pytest
from pydantic import BaseModel, Field

from corral.tools import (
    BadArguments,
    Effect,
    Endpoint,
    HttpTools,
    OAuthClient,
    Observation,
    Param,
    Tool,
    Toolbox,
    ToolConfigError,
)
from corral.tools.testing import LoopbackOAuth

from .plain import Answer, plain

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
ANIMALS = Endpoint("animals", "GET", "/animals", "All animals.", {"species": str | None})
ANIMAL = Endpoint("animal", "GET", "/animals/{name}", "One animal.", {"name": str})
WEIGH = Endpoint("weigh", "PUT", "/animals/{name}", params={"name": str, "species": str, "weight_kg": float})
NOTE = Endpoint("note", "POST", "/notes", params={"text": str})


async def test_an_api_behind_oauth_is_called_with_path_query_and_body(perform: Perform) -> None:
    with LoopbackOAuth() as server:
        auth = OAuthClient(server.token_url, server.client_id, server.client_secret)
        async with Toolbox(HttpTools("herd", server.api_url, ANIMALS, ANIMAL, WEIGH, NOTE, auth=auth)) as box:
            sheep = await perform(box["herd_animals"], {"species": "sheep"})
            assert isinstance(sheep.structured, list)
            assert len(sheep.structured) == 2
            weighed = await perform(box["herd_weigh"], {"name": "a/../b ü?", "species": "cow", "weight_kg": 5})
            assert weighed.structured == {"name": "a/../b ü?", "species": "cow", "weight_kg": 5}
            seen = await perform(box["herd_animal"], {"name": "a/../b ü?"})
            assert seen.structured == weighed.structured
            assert json.loads(seen.text) == seen.structured
            assert seen.label.sources == {"tool:herd/animal"}
            lost = await perform(box["herd_animal"], {"name": "nobody"})
            assert (lost.is_error, lost.text.partition(":")[0]) == (True, "HTTP 404 Not Found")
            assert (await perform(box["herd_note"], {"text": "hay"})).structured == {"number": 1}
        assert server.tokens_issued == 1


async def test_a_wrong_secret_is_one_sentence_without_it(perform: Perform) -> None:
    with LoopbackOAuth() as server:
        wrong = OAuthClient(server.token_url, server.client_id, "canary-secret")
        async with Toolbox(HttpTools("herd", server.api_url, ANIMALS, auth=wrong)) as box:
            seen = await perform(box["herd_animals"], {})
        assert server.requests == ["POST /oauth/token 401"]
    assert seen.is_error
    assert seen.text.startswith("no access token from 127.0.0.1")
    assert "canary" not in repr(seen)


def test_the_method_says_whether_a_call_may_be_repeated() -> None:
    def effects(endpoint: Endpoint) -> tuple[Effect, bool]:
        tool = HttpTools("api", "https://api.example", endpoint)._tools["x"]
        return tool.effect, tool.read_only

    assert effects(Endpoint("x", "GET", "/")) == (Effect.READ, True)
    assert effects(Endpoint("x", "put", "/")) == (Effect.IDEMPOTENT, False)
    assert effects(Endpoint("x", "DELETE", "/")) == (Effect.IDEMPOTENT, False)
    assert effects(Endpoint("x", "POST", "/")) == (Effect.ONCE, False)
    assert effects(Endpoint("x", "POST", "/", effect="read")) == (Effect.READ, True)
    assert effects(Endpoint("x", "GET", "/", effect="once")) == (Effect.ONCE, False)


async def test_parameters_have_a_schema_and_go_where_they_are_said_to(perform: Perform) -> None:
    class Size(BaseModel):
        width: float

    endpoint = Endpoint(
        "build",
        "POST",
        "/farms/{farm}/barns",
        params={
            "farm": int,
            "size": Size,
            "colour": Literal["red", "white"],
            "tags": Param({"type": "array", "items": {"type": "string"}}, "query", required=False, wire="tag"),
            "trace": Param(str, "header", wire="X-Trace", required=False),
            "note": Annotated[str | None, Field(description="Free text.")],
        },
    )
    with plain() as server:
        async with Toolbox(HttpTools("farm", server.url, endpoint)) as box:
            tool = box["farm_build"]
            assert tool.input_schema["required"] == ["farm", "size", "colour", "note"]
            given = {
                "farm": 7,
                "size": {"width": 2.5},
                "colour": "red",
                "tags": ["a b", "c&d"],
                "trace": "t1",
                "note": None,
            }
            assert not (await perform(tool, given)).is_error
            with pytest.raises(BadArguments, match="'colour' must be one of"):
                tool.check({**given, "colour": "blue"})
            assert "printable ASCII" in (await perform(tool, {**given, "trace": "x\r\nHost: evil"})).text
    asked = server.asked[0]
    assert (asked.method, asked.path) == ("POST", "/farms/7/barns?tag=a+b&tag=c%26d")
    assert asked.headers["x-trace"] == "t1"
    assert json.loads(asked.body) == {"size": {"width": 2.5}, "colour": "red", "note": None}
    assert len(server.asked) == 1


async def test_an_argument_cannot_leave_its_place_in_the_path(perform: Perform) -> None:
    with plain() as server:
        async with Toolbox(HttpTools("api", f"{server.url}/v1", ANIMAL)) as box:
            for name in (".", "..", ""):
                seen = await perform(box["api_animal"], {"name": name})
                assert "it is a part of the path" in seen.text
            await perform(box["api_animal"], {"name": "../../admin#x"})
    assert [asked.path for asked in server.asked] == ["/v1/animals/..%2F..%2Fadmin%23x"]


async def test_redirects_stay_on_the_host(perform: Perform) -> None:
    with plain() as other:
        away = Answer(302, headers={"Location": f"{other.url}/x?token=canary"})
        with plain(Answer(307, headers={"Location": "/moved"}), Answer(body=b'"here"'), away) as server:
            async with Toolbox(HttpTools("api", server.url, ANIMALS)) as box:
                assert (await perform(box["api_animals"], {})).text == "here"
                seen = await perform(box["api_animals"], {})
    assert (seen.is_error, seen.text) == (True, f"it redirects to {other.url}/x, which is not followed")
    assert other.asked == []


async def test_what_may_be_repeated_is_tried_again_and_nothing_else(perform: Perform) -> None:
    busy = Answer(503, headers={"Retry-After": "0"})
    for endpoint, broken, tries in (
        (ANIMALS, busy, 2),
        (ANIMALS, Answer(breaks=True), 2),
        (WEIGH, busy, 2),
        (NOTE, busy, 1),
        (NOTE, Answer(breaks=True), 1),
    ):
        with plain(broken, Answer(body=b'"fine"')) as server:
            async with Toolbox(HttpTools("api", server.url, endpoint)) as box:
                arguments = {"name": "a", "species": "b", "weight_kg": 1} if endpoint is WEIGH else {}
                arguments = {"text": "a"} if endpoint is NOTE else arguments
                seen = await perform(next(iter(box)), arguments)
        assert len(server.asked) == tries
        assert seen.is_error is (tries == 1)
        if endpoint is NOTE and broken.breaks:
            assert seen.text.endswith("broke off (RemoteProtocolError); whether the call took effect is unknown")


async def test_a_long_retry_after_is_told_and_not_waited_for(perform: Perform) -> None:
    with plain(Answer(429, b"slow down", "text/plain", {"Retry-After": "3600"})) as server:
        start = time.perf_counter()
        async with Toolbox(HttpTools("api", server.url, ANIMALS)) as box:
            seen = await perform(box["api_animals"], {})
    assert time.perf_counter() - start < 2
    assert len(server.asked) == 1
    assert seen.text == "HTTP 429 Too Many Requests: slow down"


@pytest.mark.parametrize(
    ("answer", "text", "structured"),
    [
        (Answer(body=b'{"a": [1, null]}'), '{"a": [1, null]}', {"a": [1, None]}),
        (Answer(body=b'{"a": NaN}'), '{"a": NaN}', None),
        (Answer(body=b"[" * 100_000), "[" * 100_000, None),
        (Answer(kind="application/problem+json", body=b'"x"'), "x", "x"),
        (Answer(kind="text/plain; charset=latin-1", body="für".encode("latin-1")), "für", None),
        (Answer(kind="text/plain; charset=no-such", body="für".encode()), "für", None),
        (Answer(kind="image/png", body=b"\x89PNG" * 4), "[image image/png, 16 B]", None),
        (Answer(status=204, body=b""), "(no output)", None),
    ],
)
async def test_each_kind_of_answer_is_shown(perform: Perform, answer: Answer, text: str, structured: Any) -> None:
    with plain(answer) as server:
        async with Toolbox(HttpTools("api", server.url, ANIMALS)) as box:
            seen = await perform(box["api_animals"], {})
    assert (seen.is_error, seen.text, seen.structured) == (False, text, structured)


async def test_a_huge_answer_is_cut(perform: Perform) -> None:
    with plain(Answer(kind="text/plain", body=b"x" * 3_000_000)) as server:
        async with Toolbox(HttpTools("api", server.url, ANIMALS, max_bytes=1000)) as box:
            seen = await perform(box["api_animals"], {})
    assert seen.text == "x" * 1000 + "\n[cut: the answer is longer than 1000 B]"


async def test_secrets_that_an_api_sends_back_are_hidden(perform: Perform) -> None:
    body = json.dumps({"you sent": "canary-key", "list": ["Bearer canary-key"]}).encode()
    with plain(Answer(body=body)) as server:
        api = HttpTools("api", server.url, ANIMALS, headers={"X-Api-Key": "${KEY}"}, environ={"KEY": "canary-key"})
        async with Toolbox(api) as box:
            seen = await perform(box["api_animals"], {})
    assert server.asked[0].headers["x-api-key"] == "canary-key"
    assert seen.structured == {"you sent": "[hidden]", "list": ["Bearer [hidden]"]}
    assert "canary" not in repr(seen)


async def test_a_cookie_of_one_call_is_not_sent_with_the_next_which_may_be_anothers(perform: Perform) -> None:
    with plain(Answer(headers={"Set-Cookie": "session=canary; Path=/"}), Answer()) as server:
        async with Toolbox(HttpTools("api", server.url, ANIMALS)) as box:
            for _ in range(2):
                assert not (await perform(box["api_animals"], {})).is_error
    assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]


async def test_an_argument_does_not_stand_beside_a_header_that_was_configured(perform: Perform) -> None:
    endpoint = Endpoint("a", "GET", "/a", params={"key": Param(str, "header", wire="x-api-key")})
    with plain() as server:
        async with Toolbox(HttpTools("api", server.url, endpoint, headers={"X-Api-Key": "canary"})) as box:
            await perform(box["api_a"], {"key": "forged"})
    assert server.asked[0].all("x-api-key") == ["canary"]


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_a_client_of_either_library_is_used_and_left_open(perform: Perform, library: Any) -> None:
    with plain(Answer(breaks=True), Answer()) as server:
        async with library.AsyncClient(headers={"X-Mine": "yes"}) as client:
            async with Toolbox(HttpTools("api", server.url, ANIMALS, client=client)) as box:
                assert not (await perform(box["api_animals"], {})).is_error
            assert not client.is_closed
    assert [asked.headers["x-mine"] for asked in server.asked] == ["yes", "yes"]


async def test_a_server_that_is_not_there_is_told(perform: Perform) -> None:
    async with Toolbox(HttpTools("api", "http://127.0.0.1:9", NOTE)) as box:
        seen = await perform(box["api_note"], {"text": "x"})
        kept = box["api_note"]
    assert seen.text == "http://127.0.0.1:9 can't be reached; nothing was sent"
    assert "the API 'api' is closed" in (await perform(kept, {"text": "x"})).text


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: HttpTools("a/b", "https://x"), "a source's name is printable"),
        (lambda: HttpTools("a", "file:///etc"), "expected a URL that begins with https://"),
        (lambda: HttpTools("a", "https://x?a=1"), "its base URL has a query"),
        (lambda: HttpTools("a", "http://x.org", headers={"X-Key": "1"}), "over https only"),
        (lambda: HttpTools("a", "https://x", ANIMAL, ANIMAL), "two endpoints have this name"),
        (lambda: HttpTools("a", "https://x", Endpoint("x", "FETCH", "/")), "the method 'FETCH' is none of GET"),
        (lambda: HttpTools("a", "https://x", Endpoint("x", "GET", "//evil/")), "a path begins with one '/'"),
        (lambda: HttpTools("a", "https://x", Endpoint("x", "GET", "/{id}")), "don't fit"),
        (lambda: HttpTools("a", "https://x", Endpoint("x", "GET", "/", params={"a": object()})), "has no JSON Schema"),
        (lambda: HttpTools("a", "https://x", Endpoint("x", "GET", "/", params={"a": {"type": "strnig"}})), "'strnig'"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_told(make: Callable[[], HttpTools], problem: str) -> None:
    with pytest.raises(ToolConfigError) as caught:
        make()
    assert problem in str(caught.value)
