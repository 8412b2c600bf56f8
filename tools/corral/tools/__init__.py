"""Tools: what models may call, where it comes from, and the one gated way to call it."""

from corral.tools.config import load_mcp_config
from corral.tools.endpoint import Endpoint, Param
from corral.tools.errors import BadArguments, TokenError, ToolConfigError, ToolError, ToolSourceError
from corral.tools.function import tool
from corral.tools.http_tools import HttpTools
from corral.tools.mcp import MCPServer
from corral.tools.oauth import OAuthClient, TokenSource, bearer
from corral.tools.observation import Json, Observation
from corral.tools.servers import HttpServer, StdioServer
from corral.tools.source import FunctionTools, ToolSource
from corral.tools.tool import Effect, Tool
from corral.tools.toolbox import Toolbox

__all__ = [
    "BadArguments",
    "Effect",
    "Endpoint",
    "FunctionTools",
    "HttpServer",
    "HttpTools",
    "Json",
    "MCPServer",
    "OAuthClient",
    "Observation",
    "Param",
    "StdioServer",
    "TokenError",
    "TokenSource",
    "Tool",
    "ToolConfigError",
    "ToolError",
    "ToolSource",
    "ToolSourceError",
    "Toolbox",
    "bearer",
    "load_mcp_config",
    "tool",
]
