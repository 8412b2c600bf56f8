"""What failed several times in a row is left alone for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from corral.tools import Endpoint, HttpTools, Observation, Tool, Toolbox
from corral.tools.breaker import Breaker

from .plain import Answer, plain

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]


def test_it_opens_after_failures_in_a_row_and_each_time_for_longer() -> None:
    now = 0.0
    breaker = Breaker(threshold=2, pause=3.0, clock=lambda: now)
    breaker.failed()
    breaker.worked()
    breaker.failed()
    assert breaker.time_left == 0
    breaker.failed()
    assert breaker.time_left == 3
    now = 3.0
    assert breaker.time_left == 0
    breaker.failed()
    assert breaker.time_left == 6
    breaker.worked()
    assert breaker.time_left == 0


async def test_a_host_that_breaks_off_each_call_is_left_alone(perform: Perform) -> None:
    with plain(Answer(breaks=True)) as server:
        async with Toolbox(HttpTools("api", server.url, Endpoint("note", "POST", "/"), tries=2)) as box:
            seen = [await perform(box["api_note"], {}) for _ in range(5)]
    assert len(server.asked) == 4
    assert "is left alone for 2 s more; nothing was sent" in seen[-1].text


async def test_a_host_that_does_not_answer_in_time_is_left_alone(perform: Perform) -> None:
    came = 0

    async def hang(stream: SocketStream) -> None:
        nonlocal came
        came += 1
        async with stream:
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, hang)
        url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        async with Toolbox(HttpTools("api", url, Endpoint("get", "GET", "/", timeout=0.3), tries=1)) as box:
            seen = [await perform(box["api_get"], {}) for _ in range(3)]
        group.cancel_scope.cancel()
    assert came <= 2
    assert [each.text for each in seen[:2]] == ["api_get ran past its limit of 0.3 s and was given up"] * 2
    assert "is left alone for 2 s more; nothing was sent" in seen[2].text


@pytest.mark.parametrize(("status", "asked"), [(502, 4), (503, 4), (504, 4), (500, 6), (429, 6)])
async def test_a_host_that_says_it_is_down_is_left_alone_and_one_that_refuses_is_not(
    perform: Perform, status: int, asked: int
) -> None:
    with plain(Answer(status)) as server:
        async with Toolbox(HttpTools("api", server.url, Endpoint("note", "POST", "/"), tries=2)) as box:
            seen = [await perform(box["api_note"], {}) for _ in range(6)]
    assert len(server.asked) == asked
    assert ("is left alone" in seen[-1].text) is (asked < 6)
