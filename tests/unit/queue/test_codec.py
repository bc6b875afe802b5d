"""What travels through the queue comes out as it went in, whatever the `_id`, and is small."""

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
from tsync_stream.core.model import (
    BEGINNING_OF_TIME,
    Barrier,
    BarrierOrder,
    Entry,
    Operation,
    Position,
    position_from_bson,
    position_to_bson,
)
from tsync_stream.queue.codec import (
    decode_record_batch,
    decode_token,
    encode_record_batch,
    encode_token,
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


entries = st.builds(
    Entry,
    route=st.sampled_from(["listings", "", "ü"]),
    key=keys,
    operation=st.sampled_from("iurdc"),
    cluster_time=st.one_of(st.just(Timestamp(1, 2)), timestamps),
)
barriers = st.builds(Barrier, st.builds(BarrierOrder, counts, counts, counts), positions)


@given(st.lists(st.one_of(entries, barriers), min_size=1, max_size=40))
def test_a_record_batch_decodes_to_what_was_encoded(items: list[Entry | Barrier]) -> None:
    payload = encode_record_batch(items)
    decoded = decode_record_batch(payload)
    assert decoded == items
    assert encode_record_batch(decoded) == payload, "numbers and truth values may be equal and yet another type"


def entry_of(key: Any) -> Entry:
    return Entry("listings", key, Operation.INSERT, Timestamp(1, 2))


def key_that_came_out(key: Any) -> Any:
    (item,) = decode_record_batch(encode_record_batch([entry_of(key)]))
    assert isinstance(item, Entry)
    return item.key


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=repr)
def test_a_key_of_any_type_keeps_its_type_and_value(key: Any) -> None:
    assert same_as_bson(key_that_came_out(key), key)


def test_a_64_bit_integer_keeps_its_type() -> None:
    assert type(key_that_came_out(Int64(5))) is Int64


def test_fields_of_a_key_keep_their_order() -> None:
    for key in ({"a": 1, "b": 2}, {"b": 2, "a": 1}):
        assert list(key_that_came_out(key)) == list(key), "{a, b} and {b, a} are two documents"


@pytest.mark.parametrize(
    "change", [{"route": "other"}, {"cluster_time": Timestamp(1, 3)}, {"operation": Operation.DELETE}]
)
def test_what_entries_do_not_share_stays_apart(change: dict[str, Any]) -> None:
    items = [entry_of(1), entry_of(2), entry_of(3)._replace(**change), entry_of(4)]
    assert decode_record_batch(encode_record_batch(items)) == items


@given(positions)
def test_a_position_is_loaded_as_it_was_stored(position: Position) -> None:
    stored = bson.decode(bson.encode(position_to_bson(position)))
    assert position_from_bson(stored) == position


def test_a_job_may_have_any_name() -> None:
    position = Position(TOKEN, Timestamp(3, 4), {"a.b": {"_id": 1}, "$set": {"phase": "done"}, "": {}})
    stored = bson.decode(bson.encode(position_to_bson(position)))
    assert position_from_bson(stored) == position
    assert all("." not in name and "$" not in name for name in stored), "MongoDB would refuse such field names"


@given(tokens)
def test_a_token_is_decoded_as_it_was_encoded(token: dict[str, str]) -> None:
    assert decode_token(encode_token(token)) == token


BARRIER = Barrier(BarrierOrder(1, 2, 3), Position(TOKEN, BEGINNING_OF_TIME))
RUN = {"r": "listings", "t": Timestamp(1, 2), "o": "iu", "k": [1, 2]}


def test_a_record_batch_that_was_cut_or_extended_is_refused() -> None:
    whole = encode_record_batch([entry_of(1), BARRIER])
    run = len(encode_record_batch([entry_of(1)]))
    for length in range(len(whole)):
        if length != run:  # the entry alone is a record batch, too
            with pytest.raises((BSONError, ValueError)):
                decode_record_batch(whole[:length])
    with pytest.raises(BSONError):
        decode_record_batch(whole + b"x")


@pytest.mark.parametrize(
    "document",
    [
        {"other": 7},
        {**RUN, "k": [1]},
        {**RUN, "o": "i"},
        {**RUN, "o": 2},
        {**RUN, "k": 2},
        {**RUN, "o": "", "k": []},
        {name: value for name, value in RUN.items() if name != "t"},
        {"b": [1, 2, 3]},
        {"b": 7, "p": {}},
    ],
    ids=str,
)
def test_what_we_did_not_write_is_not_skipped(document: dict[str, Any]) -> None:
    decode_record_batch(bson.encode(RUN))
    with pytest.raises((LookupError, TypeError, ValueError)):
        decode_record_batch(bson.encode(document))


@pytest.mark.parametrize("payload", [b"", b"e", b"hello, this is no BSON"])
def test_what_is_no_bson_is_not_skipped(payload: bytes) -> None:
    with pytest.raises((BSONError, ValueError)):
        decode_record_batch(payload)


def test_an_entry_of_an_object_id_takes_20_bytes_among_others() -> None:
    entries = [entry_of(ObjectId()) for _ in range(32)]
    assert len(encode_record_batch(entries)) / 32 < 20
    assert len(encode_record_batch(entries[:1])) < 100
