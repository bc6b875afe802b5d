"""Dead letters without a server: every key has a record of its own that MongoDB can store."""

from typing import Any

import bson
import pytest
from bson.binary import Binary

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.state import dead_letters
from tsync_stream.state.database import DEAD_LETTERS
from tsync_stream.state.dead_letters import DeadLetters, record_id

# Keys as the driver decodes them leniently, and values that no driver accepts.
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
    record = {"_id": record_id("r", key), "key": dead_letters._storable(key)}
    assert bson.encode(record, codec_options=BSON_OPTIONS)


def test_keys_that_are_not_valid_text_have_records_of_their_own() -> None:
    keys = ["\udcff", "\udcfe", {"a": "\udcff"}, {"a": "\udcfe"}, {"a": "b"}]
    assert len({record_id("r", key) for key in keys}) == len(keys)
    assert dead_letters._storable("a\udcff") == Binary(b"\x02a\xff")


def test_an_ordinary_key_is_recorded_unchanged() -> None:
    assert record_id("r", 12.0) == record_id("r", 12)
    assert record_id("r", 12) != record_id("r", "12")
    # The boundary between route and key is part of the id.
    assert record_id("r", "\0a") != record_id("r\0", "a")
    assert dead_letters._storable({"a": 1}) == {"a": 1}


def test_a_key_that_fills_a_whole_document_still_fits_a_record() -> None:
    key = "k" * 15_000_000
    record = {"_id": record_id("r", key), "key": dead_letters._storable(key)}
    assert len(bson.encode(record)) < 1_000


async def test_a_letter_added_while_open_letters_are_looked_up_is_not_missed() -> None:
    class Collection:
        async def find_one(self, *_: Any) -> None:
            await letters.add([])  # by another task, after the server has answered

        async def bulk_write(self, *_: Any, **__: Any) -> None:
            """Nothing is kept."""

    database: Any = {DEAD_LETTERS: Collection()}
    letters = DeadLetters(database)
    assert await letters._any_open()
