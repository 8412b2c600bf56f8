"""Tools: what models may call, where it comes from, and the one gated way to call it."""

from corral.tools.config import load_mcp_config
from corral.tools.errors import BadArguments, ToolConfigError, ToolError, ToolSourceError
from corral.tools.function import tool
from corral.tools.mcp import MCPServer, StdioServer
from corral.tools.observation import Json, Observation
from corral.tools.source import FunctionTools, ToolSource
from corral.tools.tool import Effect, Tool
from corral.tools.toolbox import Toolbox

__all__ = [
    "BadArguments",
    "Effect",
    "FunctionTools",
    "Json",
    "MCPServer",
    "Observation",
    "StdioServer",
    "Tool",
    "ToolConfigError",
    "ToolError",
    "ToolSource",
    "ToolSourceError",
    "Toolbox",
    "load_mcp_config",
    "tool",
]
