"""What the demo's model says. It is a script, and reads what it is told only where a line here says so."""

from __future__ import annotations

from typing import Any

from corral.agents.testing import Call, Reply

__all__ = ["code", "recall", "tools"]


def tools(body: dict[str, Any], number: int) -> Reply:
    """A model that calls tools."""
    if number == 0:
        calls = [Call("barn_weather", {"day": "today"}), Call("herd_animals", {"species": "sheep"})]
        return Reply("I look at the weather and at the sheep.", calls)
    if number == 1:
        note = {"text": "Sheep out today, it stays dry."}
        return Reply(
            "Dry enough. I note it, and give Flora away.",
            [Call("herd_note", note), Call("herd_remove", {"name": "flora"})],
        )
    gone = "[error]" not in str(body["messages"][-1]["content"])
    flora = "Flora has left us." if gone else "Giving Flora away is not for me to decide."
    return Reply(f"The sheep can go out, it stays dry. {flora}")


CODE = """\
import socket

need = 0.0
for animal in herd_animals():
    need += animal["weight_kg"] * barn_hay_per_kg(animal["species"])
print(f"computed in {socket.gethostname()}")
SUBMIT(round(need, 1))
"""


def code(body: dict[str, Any], number: int) -> Reply:
    """A model that writes Python."""
    return Reply("I compute it from the weights.", [Call("python", {"code": CODE})])


def recall(body: dict[str, Any], number: int) -> Reply:
    """A model that repeats what memory put before it."""
    asked = str(body["messages"][-1]["content"])
    if "?" not in asked:
        return Reply("Noted.")
    return Reply("On Thursdays, as you told me." if "Thursday" in asked else "I do not know.")
