"""Manifests: what a server's tools do, what their arguments mean, and which fields of their output can be relied on.

They are data, written once per server and never per task. A tool that no manifest mentions is treated as one that
could do anything: its output is untrusted, and each of its arguments counts as a target.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from corral.policy.errors import PolicyFileError
from corral.policy.label import Integrity

__all__ = ["EffectClass", "Manifest", "Manifests", "Role", "ToolManifest", "schema_hash"]


class EffectClass(StrEnum):
    """The worst that a call does."""

    READ = "read"
    EGRESS_READ = "egress_read"
    """A read that tells someone outside something by what is asked for, such as fetching a URL."""
    WRITE = "write"
    SEND = "send"
    """It shows something to someone else."""
    COMMIT = "commit"
    """It binds the user: money, bookings, orders."""
    DESTROY = "destroy"
    ADMIN = "admin"
    """It changes who may do what: members, passwords, settings."""


class Role(StrEnum):
    """What an argument decides."""

    TARGET = "target"
    """To whom or where."""
    OBJECT = "object"
    """Which of the user's things, by its id."""
    SECRET = "secret"
    AMOUNT = "amount"
    TITLE = "title"
    """A short text that people act on without opening the thing."""
    CONTENT = "content"


Level = Literal["user", "directory", "attested", "untrusted"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OutputManifest(_Strict):
    """What the fields of a tool's output are worth.

    Attributes:
        default: Of fields that are not mentioned, and of output that has none.
        fields: Levels by field name, wherever in the output it stands. "attested" is what the service itself filled in
            and other people's free text can't; it says who or which, and authorises nothing.
        id: Fields that hold the id of the thing beside them.
        names: Fields that hold what a person calls it: where the user's text does, the thing is the user's choice.
        private: Fields that leave only to `readers`; of others a person is asked. "*" is all.
        readers: Who may see the private fields: addresses, "@example.org" for all there, "//www.example.org".
    """

    default: Level = "untrusted"
    fields: dict[str, Level] = {}
    id: list[str] = []
    names: list[str] = []
    private: list[str] = []
    readers: list[str] = []

    def level(self, field: str) -> Integrity:
        return Integrity[self.fields.get(field, self.default).upper()]


class ToolManifest(_Strict):
    """What one tool does.

    Attributes:
        arguments: Their roles; those not mentioned decide nothing, unless they hold a mail address or an account.
        floors: The least integrity of an argument, where it differs from what its role asks for.
        intents: English words and phrases, "delet*" for a word's beginning, of which the user's text has one when it
            asks for such a call; none is no opinion.
        schema_hash: `schema_hash` of the tool as it was read when this was written; another tool has no manifest.
    """

    effect: EffectClass
    arguments: dict[str, Role] = {}
    floors: dict[str, Level] = {}
    output: OutputManifest = OutputManifest()
    intents: list[str] = []
    schema_hash: str | None = None

    @property
    def read_only(self) -> bool:
        return self.effect in (EffectClass.READ, EffectClass.EGRESS_READ)


class Manifest(_Strict):
    """The tools of one kind of server, by their raw names."""

    version: Literal[1] = 1
    about: str = ""
    output: OutputManifest | None = None
    tools: dict[str, ToolManifest] = Field(default_factory=dict[str, ToolManifest])

    @field_validator("tools")
    @classmethod
    def _floors_are_of_arguments(cls, tools: dict[str, ToolManifest]) -> dict[str, ToolManifest]:
        for name, tool in tools.items():
            if unknown := tool.floors.keys() - tool.arguments.keys():
                raise ValueError(f"{name}: floors of {sorted(unknown)}, which arguments does not mention")
        return tools

    @classmethod
    def load(cls, path: str | Path) -> Manifest:
        """Read one from a .yaml, .yml or .toml file.

        Raises:
            PolicyFileError: It can't be read, or something in it is unknown or wrong; it has the line.
        """
        from corral.policy.files import read  # keeps the YAML reader out of start-up

        return read(Path(path), cls)

    @classmethod
    def builtin(cls, name: str) -> Manifest:
        """One that comes with Corral; `builtin_names` says which there are.

        Raises:
            PolicyFileError: There is none of that name.
        """
        if name not in cls.builtin_names():
            known = ", ".join(cls.builtin_names())
            raise PolicyFileError(Path(name), None, f"there is no built-in manifest {name!r}; there are {known}")
        return cls.load(Path(str(files("corral.policy") / "manifests" / f"{name}.toml")))

    @classmethod
    def builtin_names(cls) -> list[str]:
        folder = files("corral.policy") / "manifests"
        return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))

    def missing(self, names: set[str]) -> list[str]:
        """Tools that this manifest describes and a server with the tools `names` does not have."""
        return sorted(self.tools.keys() - names)


class Manifests:
    """Manifests by the name under which a server is configured: `tool:NAME/raw` is looked up in `servers[NAME]`."""

    def __init__(self, servers: Mapping[str, Manifest] | None = None) -> None:
        self._tools = {
            f"tool:{server}/{name}": _with_output(tool, manifest)
            for server, manifest in (servers or {}).items()
            for name, tool in manifest.tools.items()
        }

    def of(self, resource: str, schema: str = "") -> ToolManifest | None:
        """What is known of a tool; None for one that is not mentioned, or is no longer what was described.

        Args:
            schema: Its `schema_hash` now; "" where the caller does not know it.
        """
        tool = self._tools.get(resource)
        if tool is not None and tool.schema_hash is not None and tool.schema_hash != schema:
            return None
        return tool


def _with_output(tool: ToolManifest, manifest: Manifest) -> ToolManifest:
    if manifest.output is None or "output" in tool.model_fields_set:
        return tool
    return tool.model_copy(update={"output": manifest.output})


def schema_hash(definition: Mapping[str, Any]) -> str:
    """A hash of what a server says about a tool, hex SHA-256: it changes when the tool does.

    Args:
        definition: JSON values: "description", "input_schema", and "output_schema" and "annotations" if there are any.
    """
    text = json.dumps(dict(definition), sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
