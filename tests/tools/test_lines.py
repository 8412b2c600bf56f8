"""Lines out of a stream: in linear time, and with a cap."""

from __future__ import annotations

import random
import time

import pytest

from corral.tools.lines import LineSplitter, Oversized, Sieved, Unreadable


def split(data: bytes, cap: int, sizes: list[int]) -> list[bytes | Oversized]:
    lines = LineSplitter(cap)
    found: list[bytes | Oversized] = []
    place = 0
    for size in [*sizes, len(data)]:
        found += lines.feed(data[place : place + size])
        place += size
    return found


def test_however_it_is_cut_the_lines_are_the_same() -> None:
    dice = random.Random(3)
    for _ in range(200):
        parts = [bytes(dice.choices(b"ab", k=dice.choice((0, 1, 5, 700, 2000)))) for _ in range(6)]
        sizes = [dice.randint(1, 900) for _ in range(dice.randint(0, 20))]
        found = split(b"\n".join(parts), 1000, sizes)
        assert len(found) == 5
        for line, part in zip(found, parts, strict=False):
            if len(part) <= 1000:
                assert line == part
            else:
                assert line == Oversized(len(part), part[:512], part[-512:])


def test_a_long_line_takes_linear_time() -> None:
    lines = LineSplitter(64 * 1024 * 1024)
    chunk = b"x" * 65536
    start = time.perf_counter()
    for _ in range(800):
        assert not list(lines.feed(chunk))
    [line] = lines.feed(b"\n")
    assert isinstance(line, Sieved)
    assert line.length == 800 * 65536
    assert time.perf_counter() - start < 2


FILL = b"x" * 3000


@pytest.mark.parametrize(
    ("line", "request_id"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":{"a":"' + FILL + b'"}}', 7),
        (b'{"id": "q-1", "jsonrpc": "2.0", "result": "' + FILL + b'"}', "q-1"),
        (b'{"result":"' + FILL + b'","jsonrpc":"2.0","id":12}', 12),
        (b'{"result":"' + FILL + b'","id":12,"jsonrpc":"2.0"} ', 12),
        (b'{"result":{"id":3,"a":"' + FILL + b'"}}', None),
        (FILL, None),
    ],
)
def test_the_ends_of_an_oversized_answer_say_whose_it_was(line: bytes, request_id: int | str | None) -> None:
    [found] = split(line + b"\n", 1000, [100, 100])
    assert isinstance(found, Oversized)
    assert found.request_id() == request_id


def test_a_line_that_is_not_taken_for_a_message_must_begin_like_one() -> None:
    noise, message = b'{"id": 7, "level": "info"', b'{"jsonrpc": "2.0", "id": 7, "result": '
    assert Oversized(9, noise, noise).request_id(is_message=False) is None
    assert Oversized(9, message, message).request_id(is_message=False) == 7


@pytest.mark.parametrize("problem", [b'{"a": "\xff', b'{"a": "\\x', b'{"a": "'])
def test_a_long_line_that_is_no_json_is_told_from_one(problem: bytes) -> None:
    long = problem + b"x" * 3000
    found = list(LineSplitter(10_000, sieve_from=1000).feed(long + b'\n{"a": "' + b"y" * 3000 + b'"}\n'))
    assert isinstance(found[0], Unreadable)
    assert (found[0].problem, found[0].length) == ("is no JSON", len(long))
    assert isinstance(found[1], Sieved)
    assert found[1].restored() == b'{"a": "' + b"y" * 3000 + b'"}'
