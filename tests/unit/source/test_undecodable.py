"""BSON that the driver cannot decode costs only its own document or key."""

import struct
from contextlib import suppress
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.errors import BSONError
from hypothesis import given
from hypothesis import strategies as st

from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tests.support.undecodable import WRONG_BINARY, document_of, element
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import BSON_OPTIONS, can_be_stored, typesense_id
from tsync_stream.core.model import UnreadableKey
from tsync_stream.source.undecodable import (
    NOT_DECODED,
    decoded_by_field,
    decoded_one_by_one,
    documents_in,
    elements,
    require_readable,
)
from tsync_stream.state.dead_letters import can_be_queued, record_id


def test_the_driver_cannot_decode_it() -> None:
    with pytest.raises(NOT_DECODED):
        bson.decode(document_of(element("x", WRONG_BINARY)), BSON_OPTIONS)


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=ascii)
def test_fields_of_every_type_are_found_by_their_lengths(key: Any) -> None:
    document = {"_id": "a", "first": key, "deep": {"list": [key, {"x": key}]}, "last": key}
    raw = bson.encode(document, codec_options=BSON_OPTIONS)
    assert [found.name for found in elements(raw)] == [b"_id", b"first", b"deep", b"last"]
    assert same_as_bson(decoded_by_field(raw), bson.decode(raw, BSON_OPTIONS))


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=ascii)
def test_the_key_of_an_undecodable_document_is_known_and_the_others_are_whole(key: Any) -> None:
    whole = bson.encode({"_id": 1, "text": "whole"})
    bad = document_of(bson.encode({"_id": key}, codec_options=BSON_OPTIONS)[4:-1], element("x", WRONG_BINARY))
    first, second, third = decoded_one_by_one(whole + bad + whole)
    assert first == third == {"_id": 1, "text": "whole"}
    assert same_as_bson({"_id": second["_id"]}, {"_id": key})
    require_readable(first)
    with pytest.raises(DocumentRejected, match="unreadable document"):
        require_readable(second)


def test_an_undecodable_key_cannot_be_used() -> None:
    (document,) = decoded_one_by_one(document_of(element("_id", WRONG_BINARY), element("y", b"\x10\x01\0\0\0")))
    key = document["_id"]
    assert key == UnreadableKey(WRONG_BINARY)
    with pytest.raises(DocumentRejected, match="unusable id"):
        typesense_id(key)
    assert not can_be_stored(key)
    assert not can_be_queued(key)
    others = [UnreadableKey(WRONG_BINARY + b"x"), Binary(WRONG_BINARY), "a"]
    assert record_id("r", key) not in {record_id("r", other) for other in others}


@given(st.binary(max_size=200))
def test_bytes_that_are_not_bson_raise_one_kind_of_error(raw: bytes) -> None:
    for parse in (lambda: list(documents_in(raw)), lambda: list(elements(raw)), lambda: decoded_one_by_one(raw)):
        with suppress(*NOT_DECODED):
            parse()


@given(st.binary(max_size=60), st.integers(0, 255))
def test_a_field_of_any_bytes_raises_one_kind_of_error(value: bytes, kind: int) -> None:
    raw = document_of(element("_id", bytes([kind]) + value))
    try:
        (found,) = decoded_one_by_one(raw)
    except NOT_DECODED:
        return
    assert isinstance(found, dict)


def test_a_length_beyond_the_end_is_an_error() -> None:
    with pytest.raises(BSONError):
        list(elements(document_of(b"\x02a\0" + struct.pack("<i", 1000) + b"x\0")))
