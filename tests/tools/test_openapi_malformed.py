"""OpenAPI documents that are malformed somewhere: the rest of them is of use, and why something is not is told."""

from __future__ import annotations

import ast
import copy
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from corral.tools import BadArguments, Toolbox, ToolConfigError, load_openapi

from .test_openapi import V3
from .test_openapi_service import secured

ODD: list[Any] = [
    None,
    True,
    0,
    1.5,
    "x",
    "#",
    [],
    {},
    [1],
    {"a": 1},
    {"$ref": 7},
    {"$ref": "#/paths"},
    ["x"],
    "a" * 300,
]
SWAGGER = {
    "swagger": "2.0",
    "host": "api.example",
    "paths": {
        "/f": {
            "post": {
                "consumes": ["multipart/form-data"],
                "parameters": [{"name": "f", "in": "formData", "type": "file"}],
            }
        },
        "/s": {"put": {"parameters": [{"name": "b", "in": "body", "schema": {"$ref": "#/definitions/T"}}]}},
    },
    "definitions": {
        "T": {"type": "object", "properties": {"a": {"type": "string", "readOnly": True}}, "required": ["a"]}
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def spoil(document: dict[str, Any], dice: random.Random) -> None:
    *above, last = dice.choice(list(places(document))[1:])
    holder: Any = document
    for step in above:
        holder = holder[step]
    holder[last] = copy.deepcopy(dice.choice(ODD))


async def test_whatever_is_wrong_in_a_document_its_tools_are_tools_or_it_is_refused() -> None:
    dice = random.Random(3)
    servers = [{"url": "https://{a}.example", "variables": {"a": {"default": "x", "enum": ["x"]}}}]
    documents = [{**V3, "servers": servers}, {**secured(), "servers": servers}, SWAGGER]
    made = 0
    for number in range(90):
        document = copy.deepcopy(documents[number % 3])
        for _ in range(dice.randint(1, 3)):
            spoil(document, dice)
        given = {"key": "canary"} if "security" in document and number % 2 else None
        with suppress(ToolConfigError):
            source = load_openapi("api", document, security=given)
            assert not set(source.left_out) & set(source._tools)
            for tool in await source.tools():
                made += 1
                json.dumps(tool.input_schema, allow_nan=False)
                ast.parse(tool.signature())
                with suppress(BadArguments):
                    tool.check({})
    assert made > 150


async def test_one_broken_operation_leaves_the_others() -> None:
    def listed(**schema: Any) -> dict[str, Any]:
        return {"get": {"parameters": [{"name": "q", "in": "query", "schema": schema}]}}

    many: dict[str, Any] = {"type": "string"}
    for _ in range(30):
        many = {"type": "object", "properties": {"a": many, "b": many}}
    paths = {
        "/good": listed(type="string"),
        "/type": listed(type="strnig"),
        "/list": {"get": {"parameters": {"name": "q"}}},
        "/text": "none",
        "/many": listed(**many),
    }
    async with Toolbox(load_openapi("api", {"openapi": "3.1.0", "paths": paths}, base_url="https://a.example")) as box:
        assert [tool.name for tool in box] == ["api_get_good"]
        assert box.failures["api/get_type"].startswith("its parameters' schema is broken: ")
        assert box.failures["api/get_list"] == "a reference leads nowhere"
        assert box.failures["api//text"] == "a reference leads nowhere"
        assert box.failures["api/get_many"] == "its schemas have more than 50000 parts"


async def test_a_broken_schema_leaves_out_those_that_use_it() -> None:
    def taking(name: str) -> dict[str, Any]:
        return {"post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": f"#/x/{name}"}}}}}}

    schemas = {
        "Good": {"type": "object"},
        "Bad": {"type": "strnig"},
        "Holder": {"properties": {"a": {"$ref": "#/x/Bad"}}},
    }
    paths = {f"/{name.lower()}": taking(name) for name in ("Bad", "Good", "Holder")}
    document = {"openapi": "3.1.0", "paths": paths, "x": schemas}
    async with Toolbox(load_openapi("api", document, base_url="https://a.example")) as box:
        assert [tool.name for tool in box] == ["api_post_good"]
        assert set(box.failures) == {"api/post_bad", "api/post_holder"}
        for told in box.failures.values():
            assert told.startswith("its schema #/x/Bad is broken: 'strnig'")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"paths": "x"}, "its servers, paths or security can't be read"),
        ({"servers": "x"}, "its servers, paths or security can't be read"),
    ],
)
def test_a_document_that_is_malformed_as_a_whole_is_told(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ToolConfigError, match=problem):
        load_openapi("api", {"openapi": "3.1.0", "paths": {}, "servers": [{"url": "https://a.example"}], **more})


async def test_yaml_has_texts_where_it_means_texts(tmp_path: Path) -> None:
    path = tmp_path / "api.yaml"
    path.write_text(
        """
openapi: 3.1.0
info: {version: 2026-01-01}
servers: [{url: https://api.example}]
paths:
  /cows:
    get:
      operationId: cows
      parameters:
        - {name: since, in: query, schema: {type: string, default: 2026-01-01}}
        - {name: land, in: query, required: true, schema: {type: string, enum: [no, se, on]}}
        - {name: all, in: query, schema: {type: boolean, default: false}}
""",
        encoding="utf-8",
    )
    async with Toolbox(load_openapi("farm", path)) as box:
        schema = json.loads(json.dumps(box["farm_cows"].input_schema))
    assert schema["properties"]["since"]["default"] == "2026-01-01"
    assert schema["properties"]["land"]["enum"] == ["no", "se", "on"]
    assert schema["properties"]["all"]["default"] is False
    assert schema["required"] == ["land"]
