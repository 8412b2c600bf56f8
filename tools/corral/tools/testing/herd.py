"""The API behind the loopback authorization server: the animals of a farm, kept in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

from corral.tools.testing.refusal import Refusal

__all__ = ["Herd"]


def _animals() -> dict[str, dict[str, Any]]:
    rows = (("bella", "cow", 612.5), ("dusty", "horse", 540.0), ("flora", "sheep", 71.2), ("mo", "sheep", 68.9))
    return {name: {"name": name, "species": species, "weight_kg": weight} for name, species, weight in rows}


@dataclass
class Herd:
    """Animals by name, and notes.

    GET /animals?species=, GET /animals/NAME (scope herd:read); PUT /animals/NAME, DELETE /animals/NAME, POST /notes
    (scope herd:write).
    """

    animals: dict[str, dict[str, Any]] = field(default_factory=_animals)
    notes: list[str] = field(default_factory=list[str])
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @staticmethod
    def scope_of(method: str) -> str:
        """The scope that a request needs."""
        return "herd:read" if method == "GET" else "herd:write"

    def answer(self, method: str, path: str, query: Mapping[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Status and JSON value.

        Raises:
            Refusal: There is no such thing, or the body is wrong.
        """
        with self._lock:
            match (method, [unquote(part) for part in path.strip("/").split("/")]):
                case ("GET", ["animals"]):
                    wanted = query.get("species")
                    return 200, [each for each in self.animals.values() if not wanted or each["species"] in wanted]
                case ("GET", ["animals", name]):
                    return 200, self._find(name)
                case ("PUT", ["animals", name]):
                    self.animals[name] = {"name": name, **_read(body, {"species": str, "weight_kg": float})}
                    return 200, self.animals[name]
                case ("DELETE", ["animals", name]):
                    del self.animals[self._find(name)["name"]]
                    return 204, None
                case ("POST", ["notes"]):
                    self.notes.append(_read(body, {"text": str})["text"])
                    return 201, {"number": len(self.notes)}
                case _:
                    raise Refusal(404, "not_found", f"there is no {method} {path} here")

    def _find(self, name: str) -> dict[str, Any]:
        if name not in self.animals:
            raise Refusal(404, "not_found", f"no animal is called {name!r}")
        return self.animals[name]


def _read(body: bytes, fields: dict[str, type]) -> dict[str, Any]:
    try:
        value: Any = json.loads(body)
    except ValueError:
        raise Refusal(400, "bad_request", "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "bad_request", "the body is not an object")
    said = cast("dict[str, Any]", value)
    for name, kind in fields.items():
        given = said.get(name)
        if not isinstance(given, kind) and not (kind is float and type(given) is int):
            raise Refusal(400, "bad_request", f"{name} must be a {kind.__name__}")
    if said.keys() - fields.keys():
        raise Refusal(400, "bad_request", f"unknown: {', '.join(sorted(said.keys() - fields.keys()))}")
    return said
