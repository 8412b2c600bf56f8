"""Answers kept for a while, for those who want it: a run asks anew unless its model was given a cache."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from dspy.lm15 import Request

from corral.agents.codec import request_to_json
from corral.agents.generation import Generation
from corral.policy import Usage

__all__ = ["AnswerCache"]


class AnswerCache:
    """Answers of models in this process, for one tenant; safe from several threads.

    DSPy's own cache leaves the server's address, the key and the engine out of its key, so that two tenants, or two
    servers with one model name, share answers (stanfordnlp/dspy#10006). Here tenant, address and the whole request are
    in it.

    Args:
        tenant: Whose answers these are; two caches with different tenants share nothing.
        ttl: Seconds that an answer is kept.
        max_entries: The least recently used goes first.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        tenant: str,
        *,
        ttl: float = 3600.0,
        max_entries: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tenant = tenant
        self._ttl = ttl
        self._max_entries = max_entries
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, Generation]] = OrderedDict()

    def get(self, endpoint: str, request: Request) -> Generation | None:
        """The answer to exactly this request at this address; it cost nothing this time."""
        key = self._key(endpoint, request)
        with self._lock:
            until, generation = self._kept.get(key, (0.0, None))
            if generation is None:
                return None
            if until <= self._clock():
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
        free = Usage(cost_usd=generation.usage.cost_usd and 0.0)
        return replace(generation, usage=free, seconds=0.0, cached=True, repairs=0)

    def put(self, endpoint: str, request: Request, generation: Generation) -> None:
        """Keep an answer."""
        with self._lock:
            self._kept[self._key(endpoint, request)] = (self._clock() + self._ttl, generation)
            while len(self._kept) > self._max_entries:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all answers."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _key(self, endpoint: str, request: Request) -> str:
        whole = json.dumps([self.tenant, endpoint, request_to_json(request)], sort_keys=True, default=str)
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
