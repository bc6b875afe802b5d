"""Keys of every BSON type that MongoDB accepts as `_id`, in the order of its `_id` index, and how to compare them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import bson
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from tsync_stream.core.keys import BSON_OPTIONS, canonical_key
from tsync_stream.core.model import Key

KEYS_OF_EVERY_TYPE: list[Any] = [
    MinKey(),
    None,
    float("-inf"),
    -7,
    1,
    2.5,
    Decimal128("10.25"),
    Int64(2**60),
    "a",
    "a b/c?,[`]",
    "z" * 500,
    "ünïcode-☃",
    {},
    {"a": 1},
    {"a": 1, "b": "two"},
    {"b": "two", "a": 1},
    b"\x00\x01\xff",
    Binary(bytes(range(16)), 4),
    ObjectId("65a000000000000000000001"),
    ObjectId("65a000000000000000000002"),
    False,
    True,
    datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    DatetimeMS(2**52),
    Timestamp(1_704_067_200, 1),
    Code("x"),
    MaxKey(),
]


def same_as_bson(one: Any, other: Any) -> bool:
    """Whether two values have the same type and the same bytes: in Python 1 == 1.0 == True."""
    return type(one) is type(other) and _encoded(one) == _encoded(other)


def _encoded(value: Any) -> bytes:
    return bson.encode({"": value}, codec_options=BSON_OPTIONS)


def assert_same_keys(found: Sequence[Key], expected: Sequence[Key]) -> None:
    """The same keys in the same order, with the same types."""
    assert [canonical_key(key) for key in found] == [canonical_key(key) for key in expected]
    assert all(same_as_bson(one, other) for one, other in zip(found, expected, strict=True))
