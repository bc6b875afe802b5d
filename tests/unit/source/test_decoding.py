"""The memory that a reply takes is estimated before it is decoded, and large replies are decoded in portions."""

import sys
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.source import decoding
from tsync_stream.source.decoding import MOST_BYTES_PER_BYTE, DenseDocuments, decode, decoded_bytes, portions

SHAPES: dict[str, Any] = {
    "subdocuments": [{"a": 1}] * 20_000,
    "empty subdocuments": [{}] * 20_000,
    "deep subdocuments": [{"a": {"b": {"c": {}}}}] * 10_000,
    "the shortest subdocuments": [{"": {"": {"": {"": {}}}}}] * 10,
    "numbers": [1.5] * 50_000,
    "large numbers": [2**40] * 50_000,
    "texts": ["ab"] * 50_000,
    "ids": [bson.ObjectId()] * 50_000,
    "binaries": [bson.Binary(b"", 5)] * 50_000,
    "lists": [[]] * 50_000,
    "one text": "x" * 1_000_000,
}


def size_of(value: Any) -> int:
    """What a decoded value takes, with all that is in it."""
    own = sys.getsizeof(value) + sys.getsizeof(getattr(value, "__dict__", None) or 0)
    if isinstance(value, dict):
        return own + sum(size_of(name) + size_of(item) for name, item in value.items())
    if isinstance(value, list):
        return own + sum(map(size_of, value))
    return own


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_takes_more_memory_than_estimated(shape: str) -> None:
    raw = bson.encode({"_id": 1, "field": SHAPES[shape]})
    assert size_of(bson.decode(raw)) <= decoded_bytes(raw)
    assert size_of(bson.decode(raw)) <= MOST_BYTES_PER_BYTE * len(raw)


def test_a_large_text_is_not_dense_and_many_subdocuments_are() -> None:
    assert [portion.dense for portion in portions(bson.encode({"text": "x" * 15_000_000}))] == [False]
    assert [portion.dense for portion in portions(bson.encode({"list": [{"a": 1}] * 650_000}))] == [True]


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 3_000))
def test_portions_hold_all_documents_in_order_and_are_small_or_single(counts: list[int], most: int) -> None:
    documents = [{"_id": number, "list": [{}] * count} for number, count in enumerate(counts)]
    raw = b"".join(map(bson.encode, documents))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "DECODE_INLINE_BYTES", 0)
        patch.setattr(decoding, "PORTION_BYTES", most)
        patch.setattr(decoding, "MOST_BYTES_PER_BYTE", most + 1)
        found = [bson.decode_all(portion.raw) for portion in portions(raw)]
        assert [document for portion in found for document in portion] == documents
        assert all(len(portion) == 1 or decoded_bytes(b"".join(map(bson.encode, portion))) <= most for portion in found)


async def test_dense_documents_are_marked() -> None:
    (dense,) = portions(bson.encode({"list": [{"a": 1}] * 650_000}))
    (text,) = portions(bson.encode({"text": "x" * 2_000_000}))
    assert isinstance(await decode(dense), DenseDocuments)
    assert not isinstance(await decode(text), DenseDocuments)
