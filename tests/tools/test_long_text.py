"""Texts that are too long to be held twice: in files, looked at in parts, and the same whatever stands in them."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from corral.tools import long_strings
from corral.tools.lines import LineSplitter
from corral.tools.long_events import sifted
from corral.tools.long_strings import LongStrings, Sieve
from corral.tools.long_text import LongText

LETTERS = ["a", "b", '"', "\\", "\n", "\x7f", "é", "€", "😀", "u", "d", "8", "/"]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 40 characters on a string is long."""
    monkeypatch.setattr(long_strings, "LONG", 40)


def values(dice: random.Random) -> Iterator[Any]:
    def text(*lengths: int) -> str:
        return "".join(dice.choices(LETTERS, k=dice.choice(lengths)))

    for _ in range(500):
        yield {text(0, 3, 60): [text(0, 5, 38, 39, 40, 41, 42, 100), 3, {"k": text(90)}, None] for _ in range(3)}


@pytest.mark.usefixtures("short")
def test_however_a_json_text_is_cut_its_long_strings_are_found_and_it_stays_the_same() -> None:
    dice = random.Random(5)
    for value in values(dice):
        data = json.dumps(value, ensure_ascii=dice.random() < 0.5).encode()
        sieve, at = Sieve(), 0
        while at < len(data):
            size = dice.randint(1, 30)
            sieve.feed(data[at : at + size])
            at += size
        skeleton = sieve.end()
        assert len(sieve.found) >= sum(len(text) > 40 for text in value)
        assert len(skeleton) < len(data)
        got, waiting = LongStrings().message(skeleton, sieve.found)
        assert (got, waiting) == (value, False)


def test_a_text_in_a_file_is_read_as_it_was_written() -> None:
    text = "aé€😀\ud800" * 100_000
    long = LongText([text[:7], text[7:]])
    assert str(long) == text
    assert len(long) == len(text)
    assert (long.head(6), long.tail(4)) == (text[:6], text[-4:])
    assert (LongText(["é"]).head(5), LongText(["é"]).tail(5), LongText().tail(5)) == ("é", "é", "")


def test_what_is_replaced_is_found_also_where_two_parts_meet() -> None:
    for before in range((1 << 20) - 12, (1 << 20) + 2):
        long = LongText(["x" * before + "secret" + "y" * 100 + "secret"])

        def find(part: str) -> Iterator[tuple[int, int, str]]:
            return ((found.start(), found.end(), "[hidden]") for found in re.finditer("secret", part))

        changed = long.rewritten(find, 6)
        assert changed.tail(116) == "[hidden]" + "y" * 100 + "[hidden]"
        assert len(changed) == before + 116
    plain = LongText(["x" * 10])
    assert plain.rewritten(lambda part: (), 6) is plain


def test_its_file_goes_with_it() -> None:
    before = len(os.listdir("/proc/self/fd"))
    long = LongText(["x"])
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del long
    assert len(os.listdir("/proc/self/fd")) == before


async def events(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def refusal(request_id: int | str, problem: str) -> bytes:
    return json.dumps([request_id, problem]).encode()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1009, 400_000])
async def test_events_are_the_same_but_for_what_is_long_in_a_tools_result(end: bytes, size: int) -> None:
    block = {"type": "text", "text": "x" * 300_000}
    result = {"jsonrpc": "2.0", "id": 3, "result": {"content": [block], "other": "y" * 50}}
    lines = [
        b"event: message",
        b"id: 4",
        b"data: " + json.dumps(result).encode(),
        b"",
        b": waiting",
        b"data: {}",
        b"",
        b"",
    ]
    long, out = LongStrings(), b""
    async for piece in sifted(events(end.join(lines), size), long, 1_000_000, refusal):
        out += piece
    got = out.split(b"\n")
    assert [*got[:2], *got[3:]] == [*lines[:2], *lines[3:]]
    message = json.loads(got[2].removeprefix(b"data:"))
    name = message["result"]["content"][0]["text"]
    assert str(long.take(name)) == block["text"]
    assert long.take(name) is None
    message["result"]["content"][0]["text"] = block["text"]
    assert message == result


async def test_of_an_event_that_can_not_be_taken_its_request_hears() -> None:
    begin = b'data: {"jsonrpc":"2.0","id":3,"result":{"a":"'
    for data, problem in ((b"x" * 1_100_000, "is longer than 0.953674 MiB"), (b"x" * 400_000 + b"\xff", "is no JSON")):
        out = b""
        async for piece in sifted(events(begin + data + b'"}}\n\n', 65536), LongStrings(), 1_000_000, refusal):
            out += piece
        assert out == b"data:" + refusal(3, problem) + b"\n\n"
    lines = b"data: {" + b" " * 300_000 + b'"a":\ndata: 1}\n\n'
    out = b""
    async for piece in sifted(events(lines, 65536), LongStrings(), 1_000_000, refusal):
        out += piece
    assert out.replace(b"data: ", b"data:") == lines.replace(b"data: ", b"data:")


def test_a_text_that_only_looks_like_a_name_is_a_text() -> None:
    assert LongStrings().take("long-text-0123456789abcdef") is None
    assert next(LineSplitter(100).feed(b'{"text": "long-text-00"}\n')) == b'{"text": "long-text-00"}'
