"""What travels through the queue comes out as it went in, whatever the `_id`, and is small."""

import struct
from collections.abc import Sequence
from typing import Any

import bson
import pytest
from bson.errors import BSONError
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tsync_stream.model import BEGINNING_OF_TIME, Barrier, BarrierOrder, Entry, Operation, Position, Reason
from tsync_stream.queue.format import (
    decode_item,
    decode_pack,
    decode_token,
    encode_barrier,
    encode_entry,
    encode_pack,
    encode_token,
    position_from_bson,
    position_to_bson,
)

TOKEN = {"_data": "8265A1B2C3000000012B0229296E04"}

timestamps = st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=40),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    timestamps,
)
field_names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
keys = st.one_of(scalars, st.dictionaries(field_names, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4))
tokens = st.fixed_dictionaries({"_data": st.text("0123456789ABCDEF", min_size=2)})
cursors = st.dictionaries(st.text(), st.dictionaries(field_names, scalars, max_size=3), max_size=3)
positions = st.builds(Position, tokens, timestamps, cursors)
counts = st.integers(0, 2**63 - 1)


@given(
    route=st.text(),
    key=keys,
    operation=st.sampled_from("iurdc"),
    cluster_time=timestamps,
    reason=st.sampled_from(["change", "reconcile", "recheck"]),
)
def test_an_entry_comes_out_as_it_went_in(
    route: str, key: Any, operation: str, cluster_time: Timestamp, reason: str
) -> None:
    entry = Entry(route, key, operation, cluster_time, reason)
    item = decode_item(encode_entry(entry))
    assert item == entry
    assert isinstance(item, Entry)
    assert encode_entry(item) == encode_entry(entry), "numbers and truth values may be equal and yet another type"


PACKED: list[Entry | Barrier] = [
    Entry("listings", ObjectId("65a000000000000000000001"), Operation.INSERT, Timestamp(1, 2), Reason.CHANGE),
    Barrier(BarrierOrder(4, 5, 6), Position(TOKEN, Timestamp(7, 8))),
    Entry("listings", "ü" * 500, Operation.DELETE, Timestamp(3, 4), Reason.RECONCILE),
]


def encoded(items: Sequence[Entry | Barrier]) -> list[bytes]:
    return [encode_barrier(item) if isinstance(item, Barrier) else encode_entry(item) for item in items]


@given(st.lists(st.sampled_from(PACKED), min_size=1, max_size=300))
def test_a_pack_comes_out_as_it_went_in(items: list[Entry | Barrier]) -> None:
    assert decode_pack(encode_pack(encoded(items))) == items


def test_one_alone_needs_no_pack() -> None:
    for item in encoded(PACKED):
        assert encode_pack([item]) == item


def test_a_damaged_pack_is_no_pack() -> None:
    pack = encode_pack(encoded(PACKED))
    for length in range(len(pack)):
        with pytest.raises((BSONError, ValueError, struct.error)):
            decode_pack(pack[:length])
    for damaged in (pack + b"x", b"p\0\0", b"p\0\1\0\0\0\0"):
        with pytest.raises(ValueError, match=r"neither|length"):
            decode_pack(damaged)


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=repr)
def test_a_key_of_any_type_keeps_its_type_and_value(key: Any) -> None:
    item = decode_item(encode_entry(Entry("listings", key, Operation.INSERT, Timestamp(1, 2), Reason.CHANGE)))
    assert isinstance(item, Entry)
    assert same_as_bson(item.key, key)


def test_a_64_bit_integer_stays_one() -> None:
    item = decode_item(encode_entry(Entry("listings", Int64(5), Operation.INSERT, Timestamp(1, 2), Reason.CHANGE)))
    assert isinstance(item, Entry)
    assert type(item.key) is Int64


def test_fields_of_a_key_keep_their_order() -> None:
    for key in ({"a": 1, "b": 2}, {"b": 2, "a": 1}):
        item = decode_item(encode_entry(Entry("listings", key, Operation.INSERT, Timestamp(1, 2), Reason.CHANGE)))
        assert isinstance(item, Entry)
        assert list(item.key) == list(key), "{a, b} and {b, a} are two documents"


@given(st.builds(Barrier, st.builds(BarrierOrder, counts, counts, counts), positions))
def test_a_barrier_comes_out_as_it_went_in(barrier: Barrier) -> None:
    assert decode_item(encode_barrier(barrier)) == barrier


@given(positions)
def test_a_position_comes_out_of_the_database_as_it_went_in(position: Position) -> None:
    stored = bson.decode(bson.encode(position_to_bson(position)))
    assert position_from_bson(stored) == position


def test_a_job_may_have_any_name() -> None:
    position = Position(TOKEN, Timestamp(3, 4), {"a.b": {"_id": 1}, "$set": {"phase": "done"}, "": {}})
    stored = bson.decode(bson.encode(position_to_bson(position)))
    assert position_from_bson(stored) == position
    assert all("." not in name and "$" not in name for name in stored), "MongoDB would refuse such field names"


@given(tokens)
def test_a_token_comes_out_as_it_went_in(token: dict[str, str]) -> None:
    assert decode_token(encode_token(token)) == token


GOOD_ENTRY = encode_entry(Entry("r", 1, "i", BEGINNING_OF_TIME, "change"))
GOOD_BARRIER = encode_barrier(Barrier(BarrierOrder(1, 2, 3), Position(TOKEN, BEGINNING_OF_TIME)))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"e",
        b"hello, this is longer than a header",
        bson.encode({"r": "listings", "k": 1}),
        GOOD_ENTRY[:-1],
        GOOD_ENTRY + b"x",
        GOOD_ENTRY.replace(b"x", b"y"),
        GOOD_BARRIER[:-1],
        b"b" + bson.encode({"b": [1, 2, 3]}),
    ],
    ids=[
        "nothing",
        "half a header",
        "another text",
        "another kind",
        "an entry cut short",
        "an entry and more",
        "a key of another kind",
        "a barrier cut short",
        "half a barrier",
    ],
)
def test_what_we_did_not_write_is_not_skipped(payload: bytes) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, BSONError)):
        decode_item(payload)


def test_an_entry_of_an_object_id_takes_less_than_50_bytes() -> None:
    entry = Entry("listings", ObjectId(), Operation.UPDATE, Timestamp(1_704_067_200, 1), Reason.CHANGE)
    assert len(encode_entry(entry)) < 50
