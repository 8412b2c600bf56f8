"""Words that mean the same of tools: what people say, and what descriptions say instead."""

from __future__ import annotations

from typing import Final

__all__ = ["GROUPS"]

GROUPS: Final = tuple(
    tuple(line.split())
    for line in (
        "create add new make insert register generate begin",
        "list show all every which browse see display enumerate index",
        "get read fetch retrieve view look open see show load details",
        "update edit change modify set correct fix adjust patch alter",
        "delete remove erase drop discard destroy clear rid",
        "search find query lookup filter locate discover",
        "send post submit mail message deliver publish",
        "export download dump save spreadsheet csv excel",
        "import upload load attach",
        "share invite grant access permission collaborate",
        "rename title name call label",
        "count number many total sum amount",
        "copy duplicate clone replicate",
        "move transfer relocate put",
        "archive store shelve",
        "run execute start launch trigger invoke",
        "stop end cancel kill terminate halt abort",
        "log history audit record journal",
        "user person people member account",
        "file document attachment",
        "picture photo image",
        "folder directory",
        "meeting event appointment calendar",
        "money payment charge invoice bill",
        "weather forecast temperature",
    )
)
