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
import httpx2
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import SecretStr

from corral.policy import Action, Gate, Policy, SecurityPolicy
from corral.tools import Elicitation, Handlers, HttpServer, MCPServer, ServerLogin, Tool, Toolbox

EMPTY: dict[str, Any] = {"string": "x", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": []}


async def elicit(elicitation: Elicitation) -> dict[str, Any]:
    """Accept, with the defaults that the form has."""
    fields = (elicitation.schema or {}).get("properties", {})
    filled = {name: field["default"] for name, field in fields.items() if "default" in field}
    return filled | {name: True for name, field in fields.items() if field.get("type") == "boolean"} | filled


def browse(url: str) -> None:
    """A browser whose person consents at once."""
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10).close()


class Forgetful:
    """The storage of the SDK's providers, for one run."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def issuer_of(url: str) -> str:
    where = httpx2.URL(url)
    found = httpx2.get(where.copy_with(path=f"/.well-known/oauth-protected-resource{where.path}")).json()
    return str(found["authorization_servers"][0])


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
        auth = self._auth(url) if self.scenario.startswith("auth/") else None
        source = MCPServer("suite", HttpServer(url, auth=auth, timeout=30.0), handlers=Handlers(elicit=elicit))
        async with Toolbox(source, strict=True) as box:
            if self.scenario.startswith("sep-2640"):
                for skill in await source.skills():
                    if "no-prefetch" not in self.scenario:
                        await source.load_skill(skill)
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

    def _auth(self, url: str) -> Any:
        """The way in that the scenario is about; three extensions for machines are the SDK's own."""
        context = self.context
        if self.scenario == "auth/client-credentials-basic":
            return ClientCredentialsOAuthProvider(url, Forgetful(), context["client_id"], context["client_secret"])
        if self.scenario == "auth/client-credentials-jwt":
            signer = SignedJWTParameters(
                issuer=context["client_id"],
                subject=context["client_id"],
                signing_algorithm=context.get("signing_algorithm", "ES256"),
                signing_key=context["private_key_pem"],
            )
            return PrivateKeyJWTOAuthProvider(
                url, Forgetful(), context["client_id"], signer.create_assertion_provider()
            )
        if "idp_id_token" in context:
            return IdentityAssertionOAuthProvider(
                url,
                Forgetful(),
                context["client_id"],
                context["client_secret"],
                issuer_of(url),
                self._exchange_at_the_companys,
                token_endpoint_auth_method="client_secret_basic",
            )
        secret = context.get("client_secret")
        assertion = context.get("valid_jwt")
        return ServerLogin(
            browse,
            client_id=context.get("client_id"),
            client_secret=None if secret is None else SecretStr(secret),
            assertion=None if assertion is None else lambda: assertion,
            dpop=self.scenario.startswith("auth/dpop"),
            client_metadata_url="https://conformance-test.local/client-metadata.json",
        )

    async def _exchange_at_the_companys(self, audience: str, resource: str) -> str:
        """The identity provider's word for this person at another server (RFC 8693)."""
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
            "subject_token": self.context["idp_id_token"],
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "audience": audience,
            "resource": resource,
            "client_id": self.context["idp_client_id"],
        }
        async with httpx2.AsyncClient() as client:
            answer = await client.post(self.context["idp_token_endpoint"], data=form)
        return str(answer.raise_for_status().json()["access_token"])

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
