"""The client that the official MCP conformance suite drives: Corral's own MCP source, with little around it.

    python benchmarks/tools_conformance.py URL

The suite appends the server's URL, and says in the environment which scenario it plays.
`conformance_suite.py` runs them all.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from pydantic import SecretStr

from corral.policy import Action, Gate, Policy, SecurityPolicy
from corral.tools import (
    ClientCredentials,
    Elicitation,
    Grant,
    Handlers,
    HttpServer,
    IdentityAssertion,
    MCPServer,
    PrivateKeyJwt,
    ServerLogin,
    Tool,
    Toolbox,
)

EMPTY: dict[str, Any] = {"string": "x", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": []}


async def elicit(elicitation: Elicitation) -> dict[str, Any]:
    """Accept, with the defaults that the form has."""
    fields = (elicitation.schema or {}).get("properties", {})
    filled = {name: field["default"] for name, field in fields.items() if "default" in field}
    return filled | {name: True for name, field in fields.items() if field.get("type") == "boolean"} | filled


def browse(url: str) -> None:
    """A browser whose person consents at once."""
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10).close()


def fill(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    return {name: EMPTY.get(properties.get(name, {}).get("type"), "x") for name in schema.get("required", [])}


@dataclass(frozen=True)
class Play:
    """One scenario, as the suite describes it."""

    scenario: str
    context: dict[str, Any]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Play:
        context = json.loads(environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
        return cls(environ.get("MCP_CONFORMANCE_SCENARIO", ""), context)

    async def act(self, url: str) -> None:
        """Do what the scenario wants of a client."""
        gate = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))
        auth = self._auth() if self.scenario.startswith("auth/") else None
        source = MCPServer("suite", HttpServer(url, auth=auth, timeout=30.0), handlers=Handlers(elicit=elicit))
        async with Toolbox(source, strict=True) as box:
            if self.scenario.startswith("sep-2640"):
                for skill in await source.skills():
                    if "no-prefetch" not in self.scenario:
                        action = Action(f"tool:suite/skills/{skill.name}", "call")
                        await gate.perform(action, lambda admission, skill=skill: source.load_skill(skill, admission))
                return
            tools = {tool.resource.partition("/")[2]: tool for tool in box}
            for name, arguments in self._calls(tools):
                tool = tools[name]
                action = Action(tool.resource, "call", arguments=arguments)
                seen = await gate.perform(
                    action, lambda admission, tool=tool, given=arguments: tool.call(given, admission)
                )
                if seen.is_error:
                    print(name, seen.text, file=sys.stderr)  # noqa: T201 - the suite keeps what its client says

    def _auth(self) -> ServerLogin:
        """The way in that the scenario is about."""
        context = self.context
        secret = context.get("client_secret")
        assertion = context.get("valid_jwt")
        key = context.get("private_key_pem")
        return ServerLogin(
            browse,
            client_id=context.get("client_id"),
            client_secret=None if secret is None else SecretStr(secret),
            assertion=None if assertion is None else lambda: assertion,
            client_assertion=None if key is None else PrivateKeyJwt(SecretStr(key)),
            grant=self._grant(),
            dpop=self.scenario.startswith("auth/dpop"),
            client_metadata_url="https://conformance-test.local/client-metadata.json",
        )

    def _grant(self) -> Grant | None:
        context = self.context
        if self.scenario.startswith("auth/client-credentials"):
            return ClientCredentials()
        if "idp_id_token" in context:
            where, who = context["idp_token_endpoint"], context["idp_client_id"]
            return IdentityAssertion(where, who, lambda: context["idp_id_token"])
        return None

    def _calls(self, tools: dict[str, Tool]) -> list[tuple[str, dict[str, Any]]]:
        if "toolCalls" in self.context:
            calls = [(call["name"], call.get("arguments") or {}) for call in self.context["toolCalls"]]
            return [(name, arguments) for name, arguments in calls if name in tools]
        if "json_schema_echo" in tools:
            return [("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})]
        if "add_numbers" in tools:
            return [("add_numbers", {"a": 5, "b": 3})]
        chosen = list(tools)[:1] if self.scenario.startswith("auth/") else list(tools)
        return [(name, fill(tools[name].input_schema)) for name in chosen]


if __name__ == "__main__":
    anyio.run(Play.of(os.environ).act, sys.argv[-1])
