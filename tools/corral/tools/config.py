"""The `mcpServers` file that MCP clients share, as sources of tools."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from corral.tools.address import carries_secrets
from corral.tools.errors import ToolConfigError
from corral.tools.handlers import Handlers
from corral.tools.logins import LoginEntry, Logins, OAuthEntry
from corral.tools.mcp import MCPServer
from corral.tools.servers import HttpServer, ServerConfig, StdioServer, find_fault_of_http
from corral.tools.token_store import FileTokenStore
from corral.tools.tool import DEFAULT_TIMEOUT

__all__ = ["load_mcp_config"]

# What other clients write into an entry that has no meaning here: their approvals are no policy of ours.
_OTHERS_KEYS: Final = frozenset(("alwaysAllow", "autoApprove", "description", "icon", "name"))
_KINDS: Final = {
    "http": "http",
    "streamable-http": "http",
    "streamableHttp": "http",
    "streamable_http": "http",
    "sse": "sse",
    "stdio": "stdio",
}


class _Filter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include: list[str] = ["*"]
    exclude: list[str] = []


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    trust: bool = False
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_TIMEOUT
    connect_timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    disabled: bool = False
    required: bool = False
    roots: list[str] = []
    tools: _Filter = _Filter()


class _StdioEntry(_Entry):
    command: Annotated[str, Field(min_length=1)]
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None

    def config(self, environ: Mapping[str, str] | None, logins: Logins | None, name: str) -> StdioServer:
        filters = tuple(self.tools.include), tuple(self.tools.exclude)
        return StdioServer(self.command, tuple(self.args), self.env, self.cwd, self.trust, self.timeout, *filters)


class _HttpEntry(_Entry):
    url: Annotated[str, Field(min_length=1)]
    headers: dict[str, str] = {}
    oauth: OAuthEntry | None = None
    login: bool | LoginEntry = False
    allow_private: bool = False
    sse: bool = False

    def config(self, environ: Mapping[str, str] | None, logins: Logins | None, name: str) -> HttpServer:
        filters = tuple(self.tools.include), tuple(self.tools.exclude)
        login = LoginEntry() if self.login is True else self.login
        auth = None if isinstance(login, bool) else login.make(environ, logins, name)
        if self.oauth is not None:
            auth = self.oauth.make(environ, logins, name)
        made = HttpServer(self.url, self.headers, auth, self.sse, self.trust, self.timeout, *filters)
        return replace(made, allow_private=self.allow_private)


def load_mcp_config(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] | None = None,
    connect_timeout: float = 30.0,
    logins: Logins | str | os.PathLike[str] | None = None,
) -> list[MCPServer]:
    """The servers under the file's `mcpServers`, in its order and without those disabled; none is started.

    An entry has `command`, and may have `args`, `env` and `cwd`; or it has `url`, and may have `type` ("http" or
    "sse"), `headers`, and `login` or `oauth`. `login` is true where the server says itself where a person consents, or
    an object with `client_id`, `client_secret`, `client_metadata_url`, `private_key_file`, `token_file`, `grant`,
    `dpop`, `port`. `oauth` names the client: `client_id`, with `token_url` or `issuer`, and perhaps `client_secret`,
    `private_key_file`, `token_file`, `scopes`, `resource`, `auth_method`, `dpop`, `step_up`, and `grant`:
    "client_credentials", "person", "jwt_bearer" or "token_exchange". `allow_private` is true where the url's name leads
    into this network. Both may have `timeout` (seconds of a call), `connect_timeout` (seconds until its tools are
    listed), `disabled`, `required` (nothing runs without it), `roots` (folders that the server is told of, from this
    file's own), `trust` (its annotations are believed) and `tools` with `include` and `exclude`, globs on its tools'
    own names. What stands beside `mcpServers` is other programs' business.

    Args:
        connect_timeout: Of the entries that don't say.
        environ: Where `${VAR}` (or `${env:VAR}`) is looked up when a server is opened; this process's environment when
            None.
        logins: Keeps logins that were begun elsewhere, or a folder for that; then a run asks nobody. With None, a
            browser is opened when a server wants a login, and what it gave is forgotten with the process.

    Raises:
        ToolConfigError: The file can't be read, or an entry is wrong: says the file, the server and the key.
    """
    place = str(Path(path).name)
    kept = logins if isinstance(logins, Logins | None) else Logins(partial(FileTokenStore, logins))
    servers: list[MCPServer] = []
    for name, entry in _read_servers(Path(path), place).items():
        parsed = _parse(f"{place}: server {name!r}", entry)
        if parsed.disabled:
            continue
        config = _configure(f"{place}: server {name!r}", parsed, environ, kept, name)
        options: dict[str, Any] = {"required": parsed.required, "handlers": _handlers(parsed, Path(path))}
        options["connect_timeout"] = parsed.connect_timeout or connect_timeout
        servers.append(MCPServer(name, config, environ=environ, **options))
    return servers


def _handlers(entry: _Entry, file: Path) -> Handlers | None:
    folders = [file.parent.resolve() / Path(root).expanduser() for root in entry.roots]
    return Handlers(roots=tuple(folder.resolve().as_uri() for folder in folders)) if folders else None


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


def _parse(place: str, entry: Any) -> _StdioEntry | _HttpEntry:
    if not isinstance(entry, dict):
        raise ToolConfigError(place, "expected an object with a command or a url")
    said = {key: value for key, value in cast("dict[str, Any]", entry).items() if key not in _OTHERS_KEYS}
    if "serverUrl" in said:
        said.setdefault("url", said.pop("serverUrl"))
    given = said.pop("type", None) or said.pop("transport", None) or ("http" if "url" in said else "stdio")
    kind = _KINDS.get(given) if isinstance(given, str) else None
    if kind is None:
        raise ToolConfigError(f"{place}: type", f"expected 'stdio', 'http' or 'sse', not {given!r}")
    model = _StdioEntry if kind == "stdio" else _HttpEntry
    try:
        return model.model_validate(said | {"sse": True} if kind == "sse" else said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(step) for step in first["loc"])
        raise ToolConfigError(f"{place}: {key}", _say(key, first, list(model.model_fields))) from None


def _configure(
    place: str, entry: _StdioEntry | _HttpEntry, environ: Mapping[str, str] | None, logins: Logins | None, name: str
) -> ServerConfig:
    try:
        config = entry.config(environ, logins, name)
    except ToolConfigError as error:
        raise ToolConfigError(f"{place}: oauth.{error.place}", error.problem) from None
    if isinstance(config, HttpServer) and "${" not in config.url:
        fault = find_fault_of_http(config, config.url)
        if fault is not None:
            raise ToolConfigError(f"{place}: url", fault)
    return config


def _say(key: str, problem: Any, known: list[str]) -> str:
    if problem["type"] == "missing":
        return "it is required"
    if problem["type"] != "extra_forbidden":
        if key.startswith(("env.", "headers.")) or carries_secrets(key, ""):
            return str(problem["msg"])  # the value may be a secret
        return f"{problem['msg']}, not {json.dumps(problem['input'], default=_name_type)[:80]}"
    near = get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known are {', '.join(known)}"


def _name_type(value: object) -> str:
    return type(value).__name__
