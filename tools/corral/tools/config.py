"""The `mcpServers` file that MCP clients share, as sources of tools."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corral.tools.errors import ToolConfigError
from corral.tools.mcp import MCPServer, StdioServer
from corral.tools.tool import DEFAULT_TIMEOUT

__all__ = ["load_mcp_config"]

# What other clients write into an entry that has no meaning here: their approvals are no policy of ours.
_OTHERS_KEYS: Final = frozenset(("alwaysAllow", "autoApprove", "description", "icon", "name"))
_HTTP_KINDS: Final = frozenset(("http", "sse", "streamable-http", "streamableHttp", "ws"))


class _Filter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include: list[str] = ["*"]
    exclude: list[str] = []


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    command: Annotated[str, Field(min_length=1)]
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    trust: bool = False
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_TIMEOUT
    disabled: bool = False
    tools: _Filter = _Filter()


def load_mcp_config(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None, connect_timeout: float = 30.0
) -> list[MCPServer]:
    """The servers under the file's `mcpServers`, in its order and without those disabled; none is started.

    An entry has `command`, and may have `args`, `env`, `cwd`, `timeout` (seconds of a call), `disabled`, `trust` (its
    annotations are believed) and `tools` with `include` and `exclude`, globs on its tools' own names. What stands
    beside `mcpServers` is other programs' business.

    Args:
        environ: Where `${VAR}` is looked up when a server is opened; this process's environment when None.

    Raises:
        ToolConfigError: The file can't be read, or an entry is wrong: says the file, the server and the key.
    """
    place = str(Path(path).name)
    servers: list[MCPServer] = []
    for name, entry in _read_servers(Path(path), place).items():
        parsed = _parse(f"{place}: server {name!r}", entry)
        if parsed.disabled:
            continue
        config = StdioServer(
            parsed.command,
            tuple(parsed.args),
            parsed.env,
            parsed.cwd,
            parsed.trust,
            parsed.timeout,
            tuple(parsed.tools.include),
            tuple(parsed.tools.exclude),
        )
        servers.append(MCPServer(name, config, connect_timeout=connect_timeout, environ=environ))
    return servers


def _read_servers(path: Path, place: str) -> dict[str, Any]:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ToolConfigError(str(path), f"the file can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ToolConfigError(place, "the file is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ToolConfigError(f"{place}:{error.lineno}", f"this is not JSON: {error.msg}") from error
    servers: Any = cast("dict[str, Any]", data).get("mcpServers") if isinstance(data, dict) else None
    if not isinstance(servers, dict):
        raise ToolConfigError(place, 'expected {"mcpServers": {NAME: {"command": ...}}}')
    return cast("dict[str, Any]", servers)


def _parse(place: str, entry: Any) -> _Entry:
    if not isinstance(entry, dict):
        raise ToolConfigError(place, "expected an object with a command")
    said = {key: value for key, value in cast("dict[str, Any]", entry).items() if key not in _OTHERS_KEYS}
    kind = said.pop("type", None) or said.pop("transport", None) or "stdio"
    if "url" in said or "serverUrl" in said or kind in _HTTP_KINDS:
        raise ToolConfigError(f"{place}: url", "HTTP servers are not supported yet by this version; only 'command' is")
    if kind != "stdio":
        raise ToolConfigError(f"{place}: type", f"expected 'stdio', not {kind!r}")
    try:
        return _Entry.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(step) for step in first["loc"])
        raise ToolConfigError(f"{place}: {key}", _say(key, first)) from None


def _say(key: str, problem: Any) -> str:
    if problem["type"] == "missing":
        return "it is required"
    if problem["type"] != "extra_forbidden":
        return f"{problem['msg']}, not {json.dumps(problem['input'], default=str)[:80]}"
    near = get_close_matches(key, _Entry.model_fields, n=1)
    return (
        f"unknown key; did you mean {near[0]!r}?"
        if near
        else f"unknown key; known are {', '.join(_Entry.model_fields)}"
    )
