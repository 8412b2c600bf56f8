"""How the arguments of OpenAPI operations are written in requests: what the documents say arrives at a live server."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from corral.tools import BadArguments, Observation, Tool, Toolbox, load_openapi

from .plain import Answer, Asked, plain

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
LIST = {"type": "array", "items": {"type": "string"}}
COW = {"type": "object", "properties": {"age": {"type": "integer"}, "name": {"type": "string"}}}
BYTES = {"type": "string", "format": "binary"}
MO = {"age": 4, "name": "mo"}
PNG = {"filename": "mo.png", "content": "iVBORw==", "base64": True}


async def send(perform: Perform, operation: dict[str, Any], arguments: dict[str, Any], **more: Any) -> Asked:
    method, path = more.pop("method", "post"), more.pop("path", "/x")
    document = {"openapi": "3.0.3", "paths": {path: {method: {"operationId": "x", **operation}}}, **more}
    with plain() as server:
        async with Toolbox(load_openapi("api", document, base_url=server.url)) as box:
            assert box.failures == {}
            seen = await perform(box["api_x"], arguments)
    assert not seen.is_error, seen.text
    return server.asked[0]


@pytest.mark.parametrize(
    ("options", "value", "path"),
    [
        ({}, ["a", "b c"], "/x/a,b%20c"),
        ({}, MO, "/x/age,4,name,mo"),
        ({"explode": True}, MO, "/x/age=4,name=mo"),
        ({"style": "label"}, ["a", "b"], "/x/.a,b"),
        ({"style": "label", "explode": True}, ["a", "b"], "/x/.a.b"),
        ({"style": "matrix"}, ["a", "b/"], "/x/;p=a,b%2F"),
        ({"style": "matrix", "explode": True}, ["a", "b"], "/x/;p=a;p=b"),
        ({"style": "matrix", "explode": True}, MO, "/x/;age=4;name=mo"),
        ({"style": "matrix"}, 5, "/x/;p=5"),
    ],
)
async def test_lists_and_objects_in_a_path(perform: Perform, options: dict[str, Any], value: Any, path: str) -> None:
    parameter = {"name": "p", "in": "path", "required": True, "schema": {}, **options}
    asked = await send(perform, {"parameters": [parameter]}, {"p": value}, method="get", path="/x/{p}")
    assert asked.path == path


async def test_a_part_of_a_path_that_nobody_declared_is_asked_for_all_the_same(perform: Perform) -> None:
    asked = await send(perform, {}, {"cow": "mo", "day": "a/b"}, method="get", path="/cows/{cow}/{day}")
    assert asked.path == "/cows/mo/a%2Fb"


@pytest.mark.parametrize(
    ("options", "value", "query"),
    [
        ({"schema": LIST}, ["a", "b"], "p=a&p=b"),
        ({"schema": LIST, "explode": False}, ["a", "b"], "p=a%2Cb"),
        ({"schema": LIST, "style": "pipeDelimited"}, ["a", "b"], "p=a%7Cb"),
        ({"schema": LIST, "style": "spaceDelimited"}, ["a", "b"], "p=a+b"),
        ({"schema": COW}, MO, "age=4&name=mo"),
        ({"schema": COW, "explode": False}, MO, "p=age%2C4%2Cname%2Cmo"),
        (
            {"schema": {}, "style": "deepObject"},
            {"cow": {"age": 4}, "in": ["a", "b"]},
            "p%5Bcow%5D%5Bage%5D=4&p%5Bin%5D=a&p%5Bin%5D=b",
        ),
        ({"content": {"application/json": {"schema": COW}}}, {"age": 4}, "p=%7B%22age%22%3A+4%7D"),
        ({"content": {"application/json": {"schema": {"type": "string"}}}}, "a", "p=%22a%22"),
    ],
)
async def test_lists_and_objects_in_a_query(perform: Perform, options: dict[str, Any], value: Any, query: str) -> None:
    parameter = {"name": "p", "in": "query", **options}
    asked = await send(perform, {"parameters": [parameter]}, {"p": value}, method="get")
    assert asked.path == f"/x?{query}"


async def test_lists_and_objects_in_headers_and_cookies(perform: Perform) -> None:
    places = [("X-Ids", "header", LIST), ("X-Cow", "header", COW), ("crumbs", "cookie", LIST)]
    parameters = [{"name": name, "in": where, "schema": schema} for name, where, schema in places]
    given = {"X-Ids": ["a", "b"], "X-Cow": MO, "crumbs": ["a", "b;"]}
    asked = await send(perform, {"parameters": parameters}, given, method="get")
    assert (asked.headers["x-ids"], asked.headers["x-cow"]) == ("a,b", "age,4,name,mo")
    assert asked.headers["cookie"] == "crumbs=a,b%3B"


@pytest.mark.parametrize(
    ("collected", "query"), [("csv", "a%2Cb"), ("ssv", "a+b"), ("tsv", "a%09b"), ("pipes", "a%7Cb")]
)
async def test_lists_of_swagger_2_are_collected_as_it_says(perform: Perform, collected: str, query: str) -> None:
    parameter = {
        "name": "p",
        "in": "query",
        "type": "array",
        "items": {"type": "string"},
        "collectionFormat": collected,
    }
    paths = {"/x": {"get": {"operationId": "x", "parameters": [parameter]}}}
    with plain() as server:
        async with Toolbox(load_openapi("api", {"swagger": "2.0", "paths": paths}, base_url=server.url)) as box:
            await perform(box["api_x"], {"p": ["a", "b"]})
    assert server.asked[0].path == f"/x?p={query}"


@pytest.mark.parametrize(
    ("kind", "schema", "body", "said", "content"),
    [
        ("application/merge-patch+json", COW, {"age": 4}, "application/merge-patch+json", b'{"age": 4}'),
        ("application/vnd.api+json; v=1", COW, {"age": 4}, "application/vnd.api+json", b'{"age": 4}'),
        ("text/csv", {}, "a,b", "text/csv; charset=utf-8", b"a,b"),
        ("application/xml", {}, "<a/>", "application/xml; charset=utf-8", b"<a/>"),
        ("application/octet-stream", BYTES, {"content": "AAE=", "base64": True}, "application/octet-stream", b"\0\1"),
        ("image/*", BYTES, PNG, "image/png", b"\x89PNG"),
        ("application/pdf", BYTES, {"content": "%PDF"}, "application/pdf", b"%PDF"),
    ],
)
async def test_a_body_of_each_kind_is_sent_as_that_kind(
    perform: Perform, kind: str, schema: dict[str, Any], body: Any, said: str, content: bytes
) -> None:
    asked = await send(perform, {"requestBody": {"content": {kind: {"schema": schema}}}}, {"body": body})
    assert (asked.headers["content-type"], asked.body) == (said, content)


async def test_a_form_repeats_the_values_of_a_list(perform: Perform) -> None:
    form = {"type": "object", "properties": {"tags": LIST, "cow": COW}}
    content = {"application/x-www-form-urlencoded": {"schema": form}}
    asked = await send(perform, {"requestBody": {"content": content}}, {"tags": ["a", "b"], "cow": {"age": 4}})
    assert asked.body == b"tags=a&tags=b&cow=%7B%22age%22%3A+4%7D"


async def test_a_form_with_several_files_and_an_object_of_parts_that_say_what_they_are(perform: Perform) -> None:
    files = {"type": "object", "properties": {"files": {"type": "array", "items": BYTES}}, "required": ["files"]}
    form = {"allOf": [files, {"type": "object", "properties": {"about": {"$ref": "#/components/schemas/Cow"}}}]}
    given = {"files": [PNG, {"filename": "a.txt", "content": "hay"}], "about": MO}
    operation = {"requestBody": {"content": {"multipart/form-data": {"schema": form}}}}
    asked = await send(perform, operation, given, components={"schemas": {"Cow": COW}})
    head = b'Content-Disposition: form-data; name="'
    assert head + b'files"; filename="mo.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n' in asked.body
    assert head + b'files"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhay\r\n' in asked.body
    assert head + b'about"\r\nContent-Type: application/json\r\n\r\n' + json.dumps(MO).encode() in asked.body


async def test_a_form_of_swagger_2_is_written_as_it_is_consumed(perform: Perform) -> None:
    parameters = [{"name": "text", "in": "formData", "type": "string"}]
    operation = {"operationId": "x", "consumes": ["multipart/form-data"], "parameters": parameters}
    with plain() as server:
        document = {"swagger": "2.0", "paths": {"/x": {"post": operation}}}
        async with Toolbox(load_openapi("api", document, base_url=server.url)) as box:
            await perform(box["api_x"], {"text": "hay"})
    assert server.asked[0].headers["content-type"].startswith("multipart/form-data; boundary=")


async def test_what_the_server_alone_sets_is_not_asked_of_a_model() -> None:
    key = {"type": "integer", "readOnly": True}
    made = {
        "type": "object",
        "required": ["id", "at", "name"],
        "properties": {"id": key, "at": {"$ref": "#/x-at"}, **COW["properties"]},
    }
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Made"}}}}
    document = {
        "openapi": "3.1.0",
        "paths": {"/x": {"post": {"operationId": "x", "requestBody": body}}},
        "components": {"schemas": {"Made": made}},
        "x-at": key,
    }
    async with Toolbox(load_openapi("api", document, base_url="https://api.example")) as box:
        assert box["api_x"].check({"body": {"name": "mo"}})
        with pytest.raises(BadArguments, match="missing 'name'"):
            box["api_x"].check({"body": {"age": 4}})
        assert "id" not in json.dumps(box["api_x"].input_schema)


async def test_documents_of_3_2_are_read_as_those_of_3_1() -> None:
    schema = {"$ref": "#/components/schemas/Name", "maxLength": 3}
    document = {
        "openapi": "3.2.0",
        "paths": {"/a": {"get": {"operationId": "a", "parameters": [{"name": "q", "in": "query", "schema": schema}]}}},
        "components": {"schemas": {"Name": {"type": ["string", "null"]}}},
    }
    async with Toolbox(load_openapi("api", document, base_url="https://api.example")) as box:
        assert box["api_a"].check({"q": None})
        with pytest.raises(BadArguments):
            box["api_a"].check({"q": "abcd"})


async def test_swagger_2_without_a_host_is_served_where_it_came_from(perform: Perform) -> None:
    document = {"swagger": "2.0", "basePath": "/v1", "paths": {"/cows": {"get": {"operationId": "cows"}}}}
    with plain(Answer(body=json.dumps(document).encode())) as server:
        async with Toolbox(load_openapi("farm", f"{server.url}/docs/swagger.json")) as box:
            assert not (await perform(box["farm_cows"], {})).is_error
    assert server.asked[1].path == "/v1/cows"


async def test_credentials_that_were_given_are_used_where_an_operation_could_do_without(perform: Perform) -> None:
    schemes = {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}}
    operation = {"operationId": "x", "security": [{}, {"key": []}]}
    document = {"openapi": "3.1.0", "paths": {"/x": {"get": operation}}, "components": schemes}
    with plain() as server:
        async with Toolbox(load_openapi("api", document, base_url=server.url, security={"key": "canary"})) as box:
            await perform(box["api_x"], {})
    assert server.asked[0].headers["x-key"] == "canary"


async def test_credentials_are_hidden_in_each_form_in_which_they_come_back(perform: Perform) -> None:
    schemes = {"login": {"type": "http", "scheme": "basic"}, "param": {"type": "apiKey", "in": "query", "name": "k"}}
    operation = {"operationId": "x", "security": [{"login": [], "param": []}]}
    document = {"openapi": "3.1.0", "paths": {"/x": {"get": operation}}, "components": {"securitySchemes": schemes}}
    security = {"login": "canary:p/w+canary", "param": "k/e y=canary"}
    told = ["canary:p/w+canary", "wrong password p/w+canary", base64.b64encode(b"canary:p/w+canary").decode()]
    told += ["/x?k=k%2Fe+y%3Dcanary", "k%2Fe%20y%3Dcanary", "k/e y=canary"]
    with plain(Answer(400, body="; ".join(told).encode(), kind="text/plain")) as server:
        async with Toolbox(load_openapi("api", document, base_url=server.url, security=security)) as box:
            seen = await perform(box["api_x"], {})
    hidden = "[hidden]; wrong password [hidden]; [hidden]; /x?k=[hidden]; [hidden]; [hidden]"
    assert seen.text == f"HTTP 400 Bad Request: {hidden}"


async def test_keys_are_not_in_the_logs_of_the_libraries_below(
    perform: Perform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scheme = {"type": "apiKey", "in": "query", "name": "k"}
    operation = {"operationId": "x", "security": [{"key": []}]}
    document = {
        "openapi": "3.1.0",
        "paths": {"/x": {"get": operation}},
        "components": {"securitySchemes": {"key": scheme}},
    }
    away = Answer(302, headers={"Location": "/y?k=canary%2Fkey&x=1", "X-Echo": "canary/key"})
    with plain(away, Answer()) as server:
        async with Toolbox(load_openapi("api", document, base_url=server.url, security={"key": "canary/key"})) as box:
            assert not (await perform(box["api_x"], {})).is_error
        assert f'GET {server.url}/x?k=[hidden] "HTTP/1.1 302 Found"' in caplog.text
        assert f'GET {server.url}/y?k=[hidden]&x=1 "HTTP/1.1 200 OK"' in caplog.text
    assert "canary" not in caplog.text


async def test_a_picture_is_kept_as_one(perform: Perform) -> None:
    document = {"openapi": "3.1.0", "paths": {"/x": {"get": {"operationId": "x"}}}}
    with plain(Answer(kind="image/png", body=b"\x89PNG")) as server:
        async with Toolbox(load_openapi("api", document, base_url=server.url)) as box:
            seen = await perform(box["api_x"], {})
    assert seen.text == "[image image/png, 4 B]"
    (media,) = seen.media
    assert (media.media_type, media.data) == ("image/png", "iVBORw==")
