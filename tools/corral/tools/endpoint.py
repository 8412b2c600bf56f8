"""HTTP endpoints as their users declare them: a method, a path and typed parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Final, Literal, NotRequired, Protocol, cast, get_args

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from corral.tools.body import Body
from corral.tools.errors import ToolConfigError
from corral.tools.hints import Untitled
from corral.tools.route import NAMED, Place, Placement, Route
from corral.tools.tool import DEFAULT_TIMEOUT, Effect

__all__ = ["METHODS", "Endpoint", "HttpEndpoint", "Param"]

METHODS: Final[dict[str, Effect]] = {
    "GET": Effect.READ,
    "HEAD": Effect.READ,
    "PUT": Effect.IDEMPOTENT,
    "DELETE": Effect.IDEMPOTENT,
    "POST": Effect.ONCE,
    "PATCH": Effect.ONCE,
}
"""What RFC 9110 §9.2 says of each method."""
_IN_BODY: Final = frozenset(("POST", "PUT", "PATCH"))


class HttpEndpoint(Protocol):
    """What becomes a tool of an HTTP API."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def read_only(self) -> bool | None: ...
    @property
    def output_schema(self) -> dict[str, Any] | None: ...

    def route(self) -> Route:
        """Where each argument is sent."""
        ...

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        ...

    def effect_of_call(self) -> Effect:
        """Whether a call may be repeated."""
        ...


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of an endpoint.

    Attributes:
        kind: A type, or a JSON Schema.
        where: Where it is sent; None means the path if it is named there, else the JSON body of POST, PUT and PATCH,
            else the query. "content" sends it as the whole JSON body.
        wire: What it is called there, if not by its own name.
    """

    kind: Any = str
    where: Place | None = None
    required: bool = True
    description: str = ""
    wire: str | None = None

    @property
    def has_schema(self) -> bool:
        return isinstance(self.kind, dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of an API, which becomes one tool.

    Attributes:
        name: The tool's own name within its source.
        method: GET, HEAD, PUT, DELETE, POST or PATCH.
        path: Below the API's base URL; "{id}" stands for the parameter `id`, and is sent escaped.
        params: By name a type, a JSON Schema or a `Param`; a type that takes None makes the parameter optional.
        effect: Whether a call may be repeated; by the method when None (GET reads, PUT and DELETE are idempotent).
        read_only: Declared to change nothing; by the effect when None.
        body: How parameters in the body are written.
        output_schema: Of the JSON that it answers.
    """

    name: str
    method: str
    path: str
    description: str = ""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    effect: Effect | Literal["read", "idempotent", "once"] | None = None
    read_only: bool | None = None
    timeout: float = DEFAULT_TIMEOUT
    body: Literal["json", "form"] = "json"
    output_schema: dict[str, Any] | None = None

    def effect_of_call(self) -> Effect:
        return Effect(self.effect) if self.effect is not None else METHODS[self.method.upper()]

    def route(self) -> Route:
        """Where each argument is sent.

        Raises:
            ToolConfigError: The method is unknown, or path and parameters don't fit together.
        """
        method = self.method.upper()
        if method not in METHODS:
            raise self._fault(f"the method {self.method!r} is none of {', '.join(METHODS)}")
        if not self.path.startswith("/") or self.path.startswith("//") or "?" in self.path or "#" in self.path:
            raise self._fault(f"a path begins with one '/' and has no query, not {self.path!r}")
        params = {name: _as_param(param) for name, param in self.params.items()}
        named = NAMED.findall(self.path)
        placements = tuple(
            Placement(name, param.where or self._place(name, named, method), param.wire or name)
            for name, param in params.items()
        )
        in_path = [each.wire for each in placements if each.where == "path"]
        if sorted(in_path) != sorted(set(named)):
            raise self._fault(f"the path {self.path!r} and its parameters {in_path} don't fit")
        return Route(method, self.path, placements, Body(self.body))

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments.

        Raises:
            ToolConfigError: A type has no schema.
        """
        params = {name: _as_param(param) for name, param in self.params.items()}
        schema = self._schema_of_types({name: param for name, param in params.items() if not param.has_schema})
        properties = schema["properties"]
        for name, param in params.items():
            if param.has_schema:
                part = dict(cast("dict[str, Any]", param.kind))
                for key in ("$defs", "definitions"):
                    if key in part:  # references are read from the root
                        schema.setdefault(key, {}).update(part.pop(key))
                properties[name] = part
            if param.description:
                properties[name] = {**properties[name], "description": param.description}
        schema["properties"] = {name: properties[name] for name in params}
        required = [name for name, param in params.items() if param.required]
        return schema | ({"required": required} if required else {})

    def _schema_of_types(self, params: dict[str, Param]) -> dict[str, Any]:
        fields = {name: param.kind if param.required else NotRequired[param.kind] for name, param in params.items()}
        shape = cast("Any", TypedDict)(f"{self.name}_parameters", fields)
        shape.__pydantic_config__ = ConfigDict(extra="forbid")
        try:
            schema = TypeAdapter[Any](shape).json_schema(schema_generator=Untitled)
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            raise self._fault(f"a parameter's type has no JSON Schema: {error.message}") from error
        schema.pop("title", None)
        schema.pop("required", None)
        return schema

    def _place(self, name: str, named: list[str], method: str) -> Place:
        return "path" if name in named else "body" if method in _IN_BODY else "query"

    def _fault(self, problem: str) -> ToolConfigError:
        return ToolConfigError(f"endpoint {self.name!r}", problem)


def _as_param(value: Any) -> Param:
    if isinstance(value, Param):
        return value
    return Param(value, required=NoneType not in get_args(value))
