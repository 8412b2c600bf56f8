"""Tools: what models may call, where it comes from, and the one gated way to call it."""

from typing import TYPE_CHECKING

from corral.policy.lazy import lazily
from corral.tools.function import tool

if TYPE_CHECKING:
    from corral.tools.a2a import A2AAgent
    from corral.tools.artifacts import Artifacts
    from corral.tools.calling import Reports, reporting
    from corral.tools.client_identity import PrivateKeyJwt, TokenFile
    from corral.tools.config import load_mcp_config
    from corral.tools.endpoint import Endpoint, Param
    from corral.tools.errors import BadArguments, TokenError, ToolConfigError, ToolError, ToolSourceError
    from corral.tools.grants import AuthorizationCode, ClientCredentials, DeviceCode, Grant, JwtBearer, TokenExchange
    from corral.tools.handlers import Elicitation, Handlers, LogEntry, Progress
    from corral.tools.http_tools import HttpTools
    from corral.tools.identity_assertion import IdentityAssertion
    from corral.tools.keyring_store import KeyringTokenStore, open_token_store
    from corral.tools.langchain import LangChainTools
    from corral.tools.logins import Logins
    from corral.tools.mcp import MCPServer
    from corral.tools.media import Media
    from corral.tools.oauth import OAuthClient, TokenSource, bearer
    from corral.tools.observation import Json, Observation
    from corral.tools.openapi import load_openapi
    from corral.tools.pins import Change, Pins, diff, lock
    from corral.tools.serve import ToolServer
    from corral.tools.served import ClientPerson, ClientSink
    from corral.tools.server_login import ServerLogin
    from corral.tools.servers import HttpServer, PerUser, StdioServer
    from corral.tools.skills import Skill
    from corral.tools.source import FunctionTools, ToolSource
    from corral.tools.token_store import FileTokenStore, TokenStore
    from corral.tools.tool import Effect, Tool
    from corral.tools.toolbox import Toolbox
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "a2a": "A2AAgent",
            "artifacts": "Artifacts",
            "calling": "Reports reporting",
            "client_identity": "PrivateKeyJwt TokenFile",
            "config": "load_mcp_config",
            "endpoint": "Endpoint Param",
            "errors": "BadArguments TokenError ToolConfigError ToolError ToolSourceError",
            "grants": "AuthorizationCode ClientCredentials DeviceCode Grant JwtBearer TokenExchange",
            "handlers": "Elicitation Handlers LogEntry Progress",
            "http_tools": "HttpTools",
            "identity_assertion": "IdentityAssertion",
            "keyring_store": "KeyringTokenStore open_token_store",
            "langchain": "LangChainTools",
            "logins": "Logins",
            "mcp": "MCPServer",
            "media": "Media",
            "oauth": "OAuthClient TokenSource bearer",
            "observation": "Json Observation",
            "openapi": "load_openapi",
            "pins": "Change Pins diff lock",
            "serve": "ToolServer",
            "served": "ClientPerson ClientSink",
            "server_login": "ServerLogin",
            "servers": "HttpServer PerUser StdioServer",
            "skills": "Skill",
            "source": "FunctionTools ToolSource",
            "token_store": "FileTokenStore TokenStore",
            "tool": "Effect Tool",
            "toolbox": "Toolbox",
        },
    )

__all__ = [
    "A2AAgent",
    "Artifacts",
    "AuthorizationCode",
    "BadArguments",
    "Change",
    "ClientCredentials",
    "ClientPerson",
    "ClientSink",
    "DeviceCode",
    "Effect",
    "Elicitation",
    "Endpoint",
    "FileTokenStore",
    "FunctionTools",
    "Grant",
    "Handlers",
    "HttpServer",
    "HttpTools",
    "IdentityAssertion",
    "Json",
    "JwtBearer",
    "KeyringTokenStore",
    "LangChainTools",
    "LogEntry",
    "Logins",
    "MCPServer",
    "Media",
    "OAuthClient",
    "Observation",
    "Param",
    "PerUser",
    "Pins",
    "PrivateKeyJwt",
    "Progress",
    "Reports",
    "ServerLogin",
    "Skill",
    "StdioServer",
    "TokenError",
    "TokenExchange",
    "TokenFile",
    "TokenSource",
    "TokenStore",
    "Tool",
    "ToolConfigError",
    "ToolError",
    "ToolServer",
    "ToolSource",
    "ToolSourceError",
    "Toolbox",
    "bearer",
    "diff",
    "load_mcp_config",
    "load_openapi",
    "lock",
    "open_token_store",
    "reporting",
    "tool",
]
