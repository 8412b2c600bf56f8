"""The demo's MCP server: a barn that knows the weather and what animals eat. Run it as a module; it speaks on stdio."""

from __future__ import annotations

from mcp.server import MCPServer

server = MCPServer("barn")

WEATHER = {"today": "dry, 14 °C, wind from the west", "tomorrow": "rain from noon, 9 °C"}
HAY_PER_KG = {"cow": 0.025, "horse": 0.02, "sheep": 0.03}


@server.tool()
def weather(day: str) -> str:
    """The forecast for "today" or "tomorrow"."""
    return WEATHER.get(day, "no forecast for that day")


@server.tool()
def hay_per_kg(species: str) -> float:
    """Kilograms of hay that a species eats in a day, for each kilogram that it weighs."""
    return HAY_PER_KG[species]


if __name__ == "__main__":
    server.run("stdio")
