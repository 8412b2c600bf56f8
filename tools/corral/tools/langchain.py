"""LangChain tools as a source; needs the extra `langchain`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from corral.policy import Label
from corral.tools.arguments import broken
from corral.tools.errors import ToolConfigError
from corral.tools.names import check_source_name, spell
from corral.tools.observation import Observation
from corral.tools.source import ReadyTools
from corral.tools.tool import DEFAULT_TIMEOUT, Effect, Tool

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["LangChainTools"]

_NO_OUTPUT: Final = "(no output)"


class LangChainTools(ReadyTools):
    """Tools that were written for LangChain (`@tool`, `StructuredTool`, `BaseTool`), as "tool:NAME/their own name".

    Each call passes the gate; LangChain's callbacks and LangSmith's tracing, which would send arguments elsewhere, are
    left out. Sync tools run in a thread, which can't be stopped when a call's time is over.

    Args:
        read_only: Names of tools that change nothing, by the word of whoever writes this program.
        timeout: Seconds a call may take.

    Raises:
        ToolConfigError: Something is no LangChain tool, two have one name, or a schema is broken.
    """

    def __init__(
        self,
        *tools: BaseTool,
        name: str = "langchain",
        read_only: Collection[str] = (),
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        check_source_name("source", name)
        super().__init__(name)
        self._read_only = frozenset(read_only)
        self._timeout = timeout
        for given in tools:
            raw = _name_of(given)
            if raw in self._tools:
                raise ToolConfigError(f"tool {raw!r}", "two tools have this name")
            self._tools[raw] = self._make(raw, given)
        if missing := self._read_only - set(self._tools):
            raise ToolConfigError(f"source {name!r}", f"read_only names {', '.join(sorted(missing))}, which it has not")

    def _make(self, raw: str, given: Any) -> Tool:
        schema = _schema_of(given)
        if (problem := broken(schema)) is not None:
            raise ToolConfigError(f"tool {raw!r}", f"its input schema is broken: {problem}")
        resource = f"tool:{self.name}/{raw}"
        reads = raw in self._read_only
        label = Label.untrusted(resource)
        return Tool(
            spell(self.name, raw),
            resource,
            partial(_run, given, label),
            description=str(given.description or ""),
            input_schema=schema,
            effect=Effect.READ if reads else Effect.ONCE,
            read_only=reads,
            timeout=self._timeout,
            label=label,
        )


async def _run(given: Any, label: Label, arguments: dict[str, Any]) -> Observation:
    import langsmith  # comes with langchain-core

    without_tracing: Any = cast("Any", langsmith).tracing_context
    with without_tracing(enabled=False):
        said: Any = await given.ainvoke(arguments, config={"callbacks": []})
    if said is None:
        return Observation(_NO_OUTPUT, label=label)
    if isinstance(said, str):
        return Observation(said, label=label)
    from pydantic_core import to_json, to_jsonable_python

    if (blocks := _texts(said)) is not None:
        return Observation("\n".join(blocks), label=label)
    structured: Any = to_jsonable_python(said, fallback=repr)
    return Observation(to_json(structured).decode(), structured, label=label)


def _texts(said: Any) -> list[str] | None:
    """The texts of a list of content blocks; None for anything else."""
    if not isinstance(said, Sequence) or not said:
        return None
    blocks = cast("Sequence[Any]", said)
    texts = [cast("dict[str, Any]", block).get("text") for block in blocks if isinstance(block, dict)]
    whole = len(texts) == len(blocks) and all(isinstance(text, str) for text in texts)
    return [str(text) for text in texts] if whole else None


def _name_of(given: Any) -> str:
    name = getattr(given, "name", None)
    if not isinstance(name, str) or not hasattr(given, "tool_call_schema") or not hasattr(given, "ainvoke"):
        raise ToolConfigError(f"{given!r}", "it is no LangChain tool")
    return name


def _schema_of(given: Any) -> dict[str, Any]:
    schema: Any = given.tool_call_schema  # without what LangChain injects
    found: dict[str, Any] = (
        dict(cast("dict[str, Any]", schema)) if isinstance(schema, dict) else schema.model_json_schema()
    )
    for key in ("title", "description"):
        found.pop(key, None)
    return {"type": "object", **found}
