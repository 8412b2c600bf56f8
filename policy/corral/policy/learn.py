"""Proposals for a person to edit: rules from the actions of a recorded run, a manifest from a server's tools.

Both are guesses by name and by what happened once; nothing of them is in force before a person has put it into a file.
"""

from __future__ import annotations

import json
import posixpath
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, cast

from corral.policy.action import Action
from corral.policy.addresses import Undecidable, host_of, mail_domain, path_of
from corral.policy.manifest import EffectClass, Role

__all__ = ["as_yaml", "propose_manifest", "propose_rules"]

_ROLES = {
    Role.TARGET: ("to", "cc", "bcc", "recipient", "recipients", "url", "uri", "host", "path", "channel", "email",
                  "user", "attendees", "participants", "destination", "address", "repo", "query", "command"),
    Role.SECRET: ("password", "secret", "token", "key", "api_key"),
    Role.AMOUNT: ("amount", "price", "quantity", "total"),
    Role.TITLE: ("title", "summary"),
    Role.CONTENT: ("body", "content", "text", "message", "subject", "description"),
}  # fmt: skip
_EFFECTS = (
    (EffectClass.DESTROY, ("delete", "remove", "drop", "clear", "purge", "overwrite", "reset", "move")),
    (EffectClass.COMMIT, ("pay", "buy", "book", "order", "reserve", "transfer", "transaction", "money")),
    (EffectClass.SEND, ("send", "post", "share", "reply", "forward", "publish", "upload", "invite", "push")),
    (EffectClass.ADMIN, ("password", "permission", "role", "member", "admin", "execute", "eval", "run", "exec")),
    (EffectClass.EGRESS_READ, ("fetch", "navigate", "browse", "download", "open_url", "webpage")),
    (EffectClass.WRITE, ("create", "write", "update", "edit", "add", "set", "append", "insert", "draft", "schedule")),
    (EffectClass.READ, ("get", "list", "read", "search", "find", "show", "describe", "status", "view", "query")),
)


def propose_rules(actions: Iterable[Action]) -> str:
    """A policy as TOML that asks for each kind of call in `actions`, and allows those that were declared read-only.

    Addresses and paths that were seen become conditions, so that the rule is about no more than what happened.
    `as_yaml` makes a YAML file of it.
    """
    seen: dict[tuple[str, str, str], list[Action]] = {}
    for action in actions:
        seen.setdefault((action.resource, action.verb, action.principal), []).append(action)
    lines = ["# Proposed from a recorded run; read each rule before you keep it.", "version = 1", 'default = "deny"']
    for (resource, verb, principal), calls in sorted(seen.items()):
        effect = "allow" if all(call.read_only for call in calls) or resource.startswith("model:") else "ask"
        times = "once" if len(calls) == 1 else f"{len(calls)} times"
        lines += ["", f"[[rules]] # seen {times}", f"resource = {_text(resource)}", f"actions = [{_text(verb)}]"]
        lines += [f"principals = [{_text(principal)}]", f"effect = {_text(effect)}"]
        conditions = _conditions(calls)
        if effect == "allow" and all(call.read_only for call in calls):
            conditions = {"read_only": "true", **conditions}
        if conditions:
            inner = ", ".join(f"{_text(key)} = {value}" for key, value in conditions.items())
            lines.append(f"conditions = {{ {inner} }}")
    return "\n".join(lines) + "\n"


def propose_manifest(tools: Iterable[tuple[str, str, Mapping[str, Any], bool]]) -> str:
    """A manifest as TOML for tools given as (raw name, schema hash, input schema, declared read-only).

    What no name gives away counts as `admin`; every output stays untrusted.
    """
    lines = ["# Proposed by names alone; read each tool's documentation before you keep it.", "version = 1"]
    lines.append('about = "proposed"')
    for name, pinned, schema, read_only in tools:
        properties = cast("dict[str, Any]", schema.get("properties") or {})
        roles = {argument: role for argument in properties if (role := _role(argument)) is not None}
        lines += ["", f"[tools.{_text(name)}]", f"effect = {_text(_effect(name, read_only=read_only))}"]
        if roles:
            inner = ", ".join(f"{_text(argument)} = {_text(role)}" for argument, role in roles.items())
            lines.append(f"arguments = {{ {inner} }}")
        lines.append(f"schema_hash = {_text(pinned)}")
    return "\n".join(lines) + "\n"


def _effect(name: str, *, read_only: bool) -> EffectClass:
    words = name.replace("-", "_").lower().split("_")
    for effect, hints in _EFFECTS:
        if any(word.startswith(hint) for word in words for hint in hints):
            if effect is EffectClass.READ and not read_only:
                return EffectClass.ADMIN  # it is called a read, and nobody vouches for it
            return effect
    return EffectClass.READ if read_only else EffectClass.ADMIN


def _role(argument: str) -> Role | None:
    plain = argument.lower()
    for role, names in _ROLES.items():
        if plain in names:
            return role
    return Role.OBJECT if plain.endswith(("id", "ids", "_name")) else None


def _conditions(calls: list[Action]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in calls[0].arguments:
        values = [call.arguments.get(name) for call in calls]
        if (condition := _common(values)) is not None:
            found[f"args.{name}"] = condition
    return found


def _common(values: list[Any]) -> str | None:
    """The narrowest condition that all values fulfil and that a rule can state."""
    for operator, parse in (("host", host_of), ("mail_domain", mail_domain)):
        try:
            return f"{{ {operator} = {_text(sorted({parse(value) for value in values}))} }}"
        except Undecidable:
            continue
    try:
        folders = {posixpath.dirname(path_of(value)) for value in values}
    except Undecidable:
        return None
    common = posixpath.commonpath(sorted(folders))
    return f"{{ under = {_text(common)} }}" if common != "/" else None


def _text(value: Any) -> str:
    """A TOML string or list of strings: the escapes that JSON uses for ASCII are TOML's too."""
    return json.dumps(str(value) if isinstance(value, str) else value)


def as_yaml(proposal: str) -> str:
    """A proposal as YAML."""
    import yaml  # keeps the YAML writer out of start-up

    head = next((line for line in proposal.splitlines() if line.startswith("#")), "")
    return f"{head}\n{yaml.safe_dump(tomllib.loads(proposal), sort_keys=False, allow_unicode=True)}"
