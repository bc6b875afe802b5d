"""What a review found: keys, lines and answers that are stranger than the usual ones, without a server."""

from collections.abc import AsyncIterator
from typing import Any

import bson
import pymongo.errors
import pytest
from bson.binary import Binary
from bson.timestamp import Timestamp

from tsync_stream.core.errors import DependencyUnavailable, PositionLost
from tsync_stream.core.keys import BSON_OPTIONS, MAX_KEY_BYTES
from tsync_stream.core.model import Entry
from tsync_stream.queue.codec import encode_pack
from tsync_stream.queue.redis_tier import _NOT_OURS, _pack
from tsync_stream.sink.answers import read_import_answer
from tsync_stream.sink.exports import split_lines
from tsync_stream.source.documents import query_chunks
from tsync_stream.source.errors import from_mongo
from tsync_stream.state import dead_letters
from tsync_stream.state.database import DEAD_LETTERS
from tsync_stream.state.dead_letters import DeadLetters

MAX_COMMAND_BYTES = 16 << 20


# MongoDB


def test_a_query_is_never_too_long_and_no_group_is_torn() -> None:
    longest = "k" * (MAX_KEY_BYTES - 5)
    groups = [[f"{longest}{number}", number] for number in range(20_000)]
    chunks = list(query_chunks(groups))
    assert [key for chunk in chunks for key in chunk] == [key for group in groups for key in group]
    assert len(chunks) > 4
    for chunk in chunks:
        assert len(bson.encode({"_id": {"$in": chunk}})) < MAX_COMMAND_BYTES / 3
        assert len(chunk) % 2 == 0
    assert list(query_chunks([])) == []


def test_a_stream_that_says_it_is_not_resumable_is_lost() -> None:
    details = {"code": 4711, "errorLabels": ["NonResumableChangeStreamError"]}
    assert isinstance(from_mongo(pymongo.errors.OperationFailure("x", 4711, details)), PositionLost)


def test_a_read_is_never_doubtful() -> None:
    for error in (pymongo.errors.NetworkTimeout("x"), pymongo.errors.DocumentTooLarge("x")):
        translated = from_mongo(error)
        assert isinstance(translated, DependencyUnavailable)
        assert not translated.doubtful


# Dead letters

UNSTORABLE: list[Any] = [
    "abc\udcff",
    "\ud800",
    {"a": "\udcff"},
    {"\udcff": 1},
    {"a": ["\udcff"]},
    2**70,
    {"a\0": 1},
    NotImplemented,
]


@pytest.mark.parametrize("key", UNSTORABLE, ids=ascii)
def test_every_key_can_be_recorded(key: Any) -> None:
    record = {"_id": dead_letters.record_id("r", key), "key": dead_letters._storable(key)}
    assert bson.encode(record, codec_options=BSON_OPTIONS)


def test_keys_that_are_not_text_have_records_of_their_own() -> None:
    keys = ["\udcff", "\udcfe", {"a": "\udcff"}, {"a": "\udcfe"}, {"a": "b"}]
    assert len({dead_letters.record_id("r", key) for key in keys}) == len(keys)
    assert dead_letters._storable("a\udcff") == Binary(b"\x02a\xff")


def test_a_usual_key_is_recorded_as_it_is() -> None:
    assert dead_letters.record_id("r", 12.0) == dead_letters.record_id("r", 12)
    assert dead_letters.record_id("r", 12) != dead_letters.record_id("r", "12")
    # Where the route ends is part of it.
    assert dead_letters.record_id("r", "\0a") != dead_letters.record_id("r\0", "a")
    assert dead_letters._storable({"a": 1}) == {"a": 1}


def test_a_key_that_fills_a_document_still_fits_a_record() -> None:
    key = "k" * 15_000_000
    record = {"_id": dead_letters.record_id("r", key), "key": dead_letters._storable(key)}
    assert len(bson.encode(record)) < 1_000


async def test_a_letter_that_is_added_while_one_looks_is_seen() -> None:
    class Collection:
        async def find_one(self, *_: Any) -> None:
            await letters.add([])  # another task's, after the server has looked

        async def bulk_write(self, *_: Any, **__: Any) -> None:
            """Nothing is kept."""

    database: Any = {DEAD_LETTERS: Collection()}
    letters = DeadLetters(database)
    assert await letters._any_open()


# The queue


@pytest.mark.parametrize(
    ("pack_id", "fields"),
    [
        (b"1700000000000-0", [b"e", None]),
        (b"1-5", [b"x", None]),
        (b"1-5", [b"e", None, b"more", b"m"]),
        (b"1-5", [b"e", b"no bson"]),
        (b"1-5", [b"e", bson.encode({"b": 7})]),
        (b"1-5", [b"e", bson.encode({"other": 7})]),
        (b"1-5", [b"e", bson.encode({"b": [1, 2, 3], "p": 1})]),
    ],
)
def test_what_nobody_of_us_appended_is_no_entry(pack_id: bytes, fields: list[bytes | None]) -> None:
    good = encode_pack([Entry("r", "k", "u", Timestamp(1, 1), "change")])
    with pytest.raises(_NOT_OURS):
        _pack(pack_id, [good if field is None else field for field in fields])


# Typesense


async def chunked(text: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_only_a_line_feed_ends_a_line(size: int) -> None:
    lines = ["a\u2028b", "\x0b\x0c\x1c\x85", "", "c\rd", "last"]
    text = "\n".join(lines).encode()
    expected = [line.encode() for line in lines if line]
    assert [line async for line in split_lines(chunked(text, size))] == expected
    assert [line async for line in split_lines(chunked(text + b"\n", size))] == expected


@pytest.mark.parametrize("line", ["<html>", "[]", "7", '{"success":false,"code":"x"}', '{"success":false,"code":null}'])
def test_an_answer_that_is_none_is_an_outage(line: str) -> None:
    with pytest.raises(DependencyUnavailable):
        read_import_answer(line.encode(), 1)
