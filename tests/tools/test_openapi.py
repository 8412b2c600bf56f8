"""Operations of OpenAPI documents as tools, called against a live server that shows what arrives."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from corral.tools import BadArguments, Effect, Observation, Tool, Toolbox, ToolConfigError, load_openapi

from .plain import plain

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
NODE_REF = "#/components/schemas/Node"
NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": NODE_REF}},
    "required": ["value"],
}
PET = {
    "oneOf": [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}],
    "discriminator": {"propertyName": "kind"},
}
V3: dict[str, Any] = {
    "openapi": "3.0.3",
    "paths": {
        "/pets/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
            "get": {
                "operationId": "getPet",
                "summary": "One pet.",
                "tags": ["pets"],
                "parameters": [
                    {"$ref": "#/components/parameters/Fields"},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                    {"name": "theme", "in": "cookie", "schema": {"type": "string"}},
                    {"name": "id", "in": "query", "schema": {"type": "string", "nullable": True}},
                    {
                        "name": "filter",
                        "in": "query",
                        "style": "deepObject",
                        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                ],
            },
            "put": {
                "operationId": "putPet",
                "tags": ["pets"],
                "requestBody": {"$ref": "#/components/requestBodies/Pet"},
            },
        },
        "/tree": {
            "post": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}
            }
        },
        "/photo": {
            "post": {
                "operationId": "upload photo!",
                "requestBody": {
                    "content": {
                        "multipart/form-data": {
                            "schema": {
                                "type": "object",
                                "properties": {
                                    "file": {"type": "string", "format": "binary"},
                                    "note": {"type": "string"},
                                },
                                "required": ["file"],
                            }
                        }
                    }
                },
            }
        },
        "/xml": {"post": {"operationId": "xml", "requestBody": {"content": {"application/xml": {}}}}},
        "/far": {"get": {"operationId": "far", "parameters": [{"$ref": "http://127.0.0.1:9/x.json"}]}},
        "/lost": {
            "get": {
                "operationId": "lost",
                "parameters": [{"name": "a", "in": "query", "schema": {"$ref": "#/components/schemas/None"}}],
            }
        },
        "/else": {"get": {"operationId": "else", "servers": [{"url": "https://evil.example"}]}},
    },
    "components": {
        "parameters": {
            "Fields": {
                "name": "fields",
                "in": "query",
                "explode": False,
                "description": "What to show.",
                "schema": {"type": "array", "items": {"type": "string", "enum": ["name", "age"]}},
            }
        },
        "requestBodies": {"Pet": {"required": True, "content": {"application/json; charset=utf-8": {"schema": PET}}}},
        "schemas": {
            "Node": NODE,
            "Cat": {
                "type": "object",
                "properties": {
                    "kind": {"enum": ["cat"]},
                    "lives": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                },
                "required": ["kind", "lives"],
            },
            "Dog": {
                "type": "object",
                "properties": {"kind": {"enum": ["dog"]}, "owner": {"type": "string", "nullable": True}},
                "required": ["kind", "owner"],
            },
        },
    },
}


async def test_parameters_of_every_place_arrive(perform: Perform) -> None:
    with plain() as server:
        async with Toolbox(load_openapi("pets", V3, base_url=f"{server.url}/v1")) as box:
            tool = box["pets_getPet"]
            assert (tool.effect, tool.read_only, tool.description) == (Effect.READ, True, "One pet.")
            assert tool.input_schema["required"] == ["id"]
            assert tool.input_schema["properties"]["fields"]["description"] == "What to show."
            arguments = {
                "id": 7,
                "fields": ["name", "age"],
                "X-Trace": "t",
                "theme": "dark blue",
                "id_query": None,
                "filter": {"owner": "a&b"},
            }
            assert not (await perform(tool, arguments)).is_error
            with pytest.raises(BadArguments, match="missing argument 'id'"):
                tool.check({})
            with pytest.raises(BadArguments, match="unknown argument 'Authorization'"):
                tool.check({"id": 7, "Authorization": "x"})
    (asked,) = server.asked
    assert asked.path == "/v1/pets/7?fields=name%2Cage&filter%5Bowner%5D=a%26b"
    assert (asked.headers["x-trace"], asked.headers["cookie"]) == ("t", "theme=dark%20blue")


async def test_bodies_are_checked_and_arrive(perform: Perform) -> None:
    with plain() as server:
        async with Toolbox(load_openapi("pets", V3, base_url=server.url)) as box:
            put, post = box["pets_putPet"], box["pets_post_tree"]
            assert (put.effect, post.effect) == (Effect.IDEMPOTENT, Effect.ONCE)
            assert not (await perform(put, {"id": 1, "body": {"kind": "dog", "owner": None}})).is_error
            for wrong in ({"kind": "cat", "lives": 0}, {"kind": "dog"}, {"kind": "cow"}):
                with pytest.raises(BadArguments):
                    put.check({"id": 1, "body": wrong})
            tree = {"value": 1, "next": {"value": 2, "next": {"value": 3}}}
            assert not (await perform(post, {"body": tree})).is_error
            with pytest.raises(BadArguments, match=r"next\.next"):
                post.check({"body": {"value": 1, "next": {"value": 2, "next": {}}}})
            compile(post.signature(), "stub", "exec")
    assert [json.loads(asked.body) for asked in server.asked] == [{"kind": "dog", "owner": None}, tree]


async def test_a_file_is_uploaded(perform: Perform) -> None:
    with plain() as server:
        async with Toolbox(load_openapi("pets", V3, base_url=server.url)) as box:
            file = {"filename": 'a".png', "content": "iVBORw==", "base64": True}
            assert not (await perform(box["pets_upload_photo"], {"file": file, "note": "ü"})).is_error
            broken = await perform(box["pets_upload_photo"], {"file": {**file, "content": "?"}})
            assert "its content is not base64" in broken.text
    (asked,) = server.asked
    assert asked.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="file"; filename="a%22.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n' in asked.body
    assert 'name="note"\r\n\r\nü\r\n'.encode() in asked.body


async def test_what_cannot_be_a_tool_is_told() -> None:
    async with Toolbox(load_openapi("pets", V3, base_url="https://api.example")) as box:
        assert [each.name for each in box] == [
            "pets_getPet",
            "pets_putPet",
            "pets_post_tree",
            "pets_upload_photo",
            "pets_xml",
        ]
        assert box.failures == {
            "pets/far": "'http://127.0.0.1:9/x.json' is outside the document",
            "pets/lost": "'#/components/schemas/None' names nothing",
            "pets/else": "it has a server of its own, 'https://evil.example', which is not called",
        }


async def test_swagger_2_documents_work(perform: Perform, tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    with plain() as server:
        path.write_text(
            f"""
swagger: "2.0"
host: {server.url.removeprefix("http://")}
basePath: /old
schemes: [http]
paths:
  /find:
    get:
      operationId: find
      parameters:
        - {{name: ids, in: query, type: array, items: {{type: integer}}, required: true}}
        - {{name: tags, in: query, type: array, items: {{type: string}}, collectionFormat: multi}}
  /form:
    post:
      operationId: form
      parameters: [{{name: text, in: formData, type: string, required: true}}]
  /save:
    put:
      operationId: save
      parameters: [{{name: thing, in: body, required: true, schema: {{$ref: "#/definitions/Thing"}}}}]
definitions:
  Thing: {{type: object, properties: {{size: {{type: number, x-nullable: true}}}}, required: [size]}}
""",
            encoding="utf-8",
        )
        async with Toolbox(load_openapi("old", path)) as box:
            assert not (await perform(box["old_find"], {"ids": [1, 2], "tags": ["a", "b"]})).is_error
            assert not (await perform(box["old_form"], {"text": "a b"})).is_error
            assert not (await perform(box["old_save"], {"body": {"size": None}})).is_error
            with pytest.raises(BadArguments):
                box["old_save"].check({"body": {"size": "x"}})
    assert [(asked.path, asked.body) for asked in server.asked] == [
        ("/old/find?ids=1%2C2&tags=a&tags=b", b""),
        ("/old/form", b"text=a+b"),
        ("/old/save", b'{"size": null}'),
    ]


async def test_schemas_of_3_1_are_taken_as_they_are(perform: Perform) -> None:
    schema = {
        "$ref": "#/components/schemas/Name",
        "maxLength": 3,
        "description": "Short.",
    }
    document = {
        "openapi": "3.1.0",
        "servers": [{"url": "https://{place}.example/api", "variables": {"place": {"default": "eu"}}}],
        "paths": {"/a": {"get": {"operationId": "a", "parameters": [{"name": "q", "in": "query", "schema": schema}]}}},
        "components": {"schemas": {"Name": {"type": ["string", "null"], "minLength": 2}}},
    }
    async with Toolbox(load_openapi("new", document)) as box:
        tool = box["new_a"]
        assert tool.check({"q": None}) == {"q": None}
        assert tool.check({"q": "abc"})
        for wrong in ("a", "abcd", 1):
            with pytest.raises(BadArguments):
                tool.check({"q": wrong})


async def test_operations_are_chosen_by_name_path_tag_and_method() -> None:
    async def names(**options: Any) -> list[str]:
        async with Toolbox(load_openapi("p", V3, base_url="https://x.example", **options)) as box:
            return [each.resource.partition("/")[2] for each in box]

    assert await names(tags=["pets"]) == ["getPet", "putPet"]
    assert await names(methods=["get"]) == ["getPet"]
    assert await names(include=["/pets/*"], exclude=["put*"]) == ["getPet"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "neither JSON nor YAML"),
        ("[]", "this is no OpenAPI document"),
        ('{"openapi": "2.1"}', "this is no OpenAPI document of version 3"),
        ('{"openapi": "3.0.0", "paths": {}}', "it names no server with a host; give base_url"),
        ('{"openapi": "3.0.0", "servers": [{"url": "/v1"}]}', "it names no server with a host; give base_url"),
        ('{"swagger": "2.0", "paths": {}}', "it names no host; give base_url"),
    ],
)
def test_a_document_that_cannot_be_used_is_told(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "api.json"
    path.write_text(text)
    with pytest.raises(ToolConfigError, match=r"api\.json") as caught:
        load_openapi("api", path)
    assert problem in str(caught.value)
