"""Keys of every type: their Typesense ids, the way back, and MongoDB's idea of equality and order.

What MongoDB takes for one `_id` was found out by inserting every pair of the values below into MongoDB 6.0.5.
"""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Any
from uuid import UUID

import bson
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.key_candidates import bson_order, candidate_keys
from tsync_stream.core.keys import BSON_OPTIONS, MAX_KEY_BYTES, canonical_key, typesense_id

HEX = "65a1b2c3d4e5f60718293a4b"
DIGITS = "507191919191919191919191"
UUID_TEXT = "12345678-9abc-4def-8123-456789abcdef"
A_UUID = Binary(UUID(UUID_TEXT).bytes, 4)
NOT_UTF8 = "a\udcff"

ONE_ID_TO_MONGODB: list[list[Any]] = [
    [12, Int64(12), 12.0, Decimal128("12"), Decimal128("12.0"), Decimal128("1.2E1")],
    [1, 1.0],
    [True],
    [False],
    [0, 0.0, -0.0, Decimal128("0"), Decimal128("-0"), Decimal128("0E+30")],
    [0.1],
    [Decimal128("0.1"), Decimal128("0.10")],
    [Decimal128("0.1000000000000000055511151231257827")],
    [0.5, Decimal128("0.5")],
    [2.0**-20, Decimal128("9.5367431640625E-7")],
    [float("nan"), Decimal128("NaN"), Decimal128("-NaN"), Decimal128("sNaN")],
    [float("inf"), Decimal128("Infinity")],
    [float("-inf"), Decimal128("-Infinity")],
    [2.0**53, 2**53],
    [Int64(2**53 + 1), Decimal128(str(2**53 + 1))],
    [2.0**63, Decimal128(str(2**63))],
    [Int64(2**63 - 1)],
    [-(2.0**63), Int64(-(2**63))],
    [1e22, Decimal128("1E22")],
    [1e23],
    [Decimal128("1E23")],
    [1e300],
    [Decimal128("1E300")],
    ["12"],
    ["NaN"],
    [None],
    [MinKey()],
    [MaxKey()],
    [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1), DatetimeMS(1_704_067_200_000)],  # noqa: DTZ001
    [Timestamp(1_704_067_200, 1)],
    [A_UUID, UUID(UUID_TEXT)],
    [bytes(A_UUID)],
    [Binary(bytes(A_UUID), 3)],
    [Binary(bytes(A_UUID), 5)],
    [Code("x")],
    [Code("x", {"a": 1}), Code("x", {"a": 1.0})],
    ["x"],
    [{}],
    [{"a": 1}, {"a": 1.0}, {"a": Decimal128("1.0")}],
    [{"a": True}],
    [{"a": None}],
    [{"a": 1, "b": 2}],
    [{"b": 2, "a": 1}],
    [{"a": [1, 2]}, {"a": [1.0, Decimal128("2")]}],
    [{"a": {"b": -0.0}}, {"a": {"b": 0}}],
    [{"a.b": 1}],
    [{"": 1}],
    [{"a": Regex("x")}],
    [DBRef("x", 1), DBRef("x", 1.0)],
    [DBRef("x", 1, "d")],
]

IDS: list[tuple[Any, str]] = [
    (ObjectId(HEX), HEX),
    ("listing 7/ä", "listing 7/ä"),
    (" ", " "),
    (12, "12"),
    (12.0, "12"),
    (Decimal128("12.0"), "12"),
    (-0.0, "0"),
    (Int64(2**63 - 1), "9223372036854775807"),
    (12.5, "12.5"),
    (Decimal128("12.50"), "12.5"),
    (0.1, "0.1"),
    (Decimal128("0.10"), "0.1"),
    (1e22, "1e+22"),
    (Decimal128("1E+23"), "1E+23"),
    (float("nan"), "NaN"),
    (Decimal128("-Infinity"), "-Infinity"),
    (True, "true"),
    (False, "false"),
    (None, "null"),
    (A_UUID, UUID_TEXT),
    (UUID(UUID_TEXT), UUID_TEXT),
    (datetime(2024, 5, 6, 7, 8, 9, 10_000, tzinfo=UTC), "2024-05-06T07:08:09.010Z"),
    (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    (DatetimeMS(-1), "1969-12-31T23:59:59.999Z"),
    (DatetimeMS(2**60), '{"$date":{"$numberLong":"1152921504606846976"}}'),
    (Timestamp(3, 4), '{"$timestamp":{"t":3,"i":4}}'),
    (b"\x00\xff", '{"$binary":{"base64":"AP8=","subType":"00"}}'),
    (Binary(b"abc", 4), '{"$binary":{"base64":"YWJj","subType":"04"}}'),
    (MinKey(), '{"$minKey":1}'),
    (MaxKey(), '{"$maxKey":1}'),
    (Code("f"), '{"$code":"f"}'),
    (DBRef("users", 7.0), '{"$ref":"users","$id":7}'),
    ({"b": 1.0, "a": "é"}, '{"b":1,"a":"é"}'),
    ({"a": [Decimal128("0.1"), ObjectId(HEX)]}, '{"a":[{"$numberDecimal":"0.1"},{"$oid":"' + HEX + '"}]}'),
]

numbers: st.SearchStrategy[Any] = (
    st.integers(-(2**63), 2**63 - 1)
    | st.integers(-(2**63), 2**63 - 1).map(Int64)
    | st.floats()
    | st.floats().filter(lambda number: abs(number) < 1e30).map(lambda number: Decimal128(_34_digits(number)))
    | st.decimals(allow_nan=True, places=3, min_value=-100, max_value=100).map(Decimal128)
    | st.sampled_from(["1E6144", "9E-6176", "0E-6176", "-0E+6111", "1E22", "1E23", "sNaN"]).map(Decimal128)
)
scalars: st.SearchStrategy[Any] = (
    numbers
    | st.text(min_size=1, max_size=12)
    | st.sampled_from(["12", "-0", "1e5", "NaN", "true", "null", HEX, DIGITS, UUID_TEXT, "{}", '{"$a":1}', "[1]"])
    | st.none()
    | st.booleans()
    | st.binary(min_size=12, max_size=12).map(ObjectId)
    | st.binary(max_size=9)
    | st.builds(Binary, st.binary(min_size=16, max_size=16), st.sampled_from([0, 3, 4, 5]))
    | st.integers(-(2**63), 2**63 - 1).map(DatetimeMS)
    | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))
    | st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
    | st.sampled_from([MinKey(), MaxKey(), Code("f"), Code("f", {"a": 1.0})])
    | st.builds(DBRef, st.sampled_from(["users"]), st.integers(0, 9) | st.floats(0, 9), st.none() | st.just("d"))
)
names = st.text(max_size=4).filter(lambda name: not name.startswith("$") and "\0" not in name)
nested = st.recursive(
    scalars | st.just(Regex("x", "i")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
keys: st.SearchStrategy[Any] = scalars | st.dictionaries(names, nested, max_size=3)


def _34_digits(number: float) -> Decimal:
    return bson.decimal128.create_decimal128_context().create_decimal(number)


@pytest.mark.parametrize(("key", "text"), IDS, ids=repr)
def test_a_key_has_a_readable_id_and_is_found_again_by_it(key: Any, text: str) -> None:
    assert typesense_id(key) == text
    assert canonical_key(key) in {canonical_key(candidate) for candidate in candidate_keys(text)}


def test_keys_have_one_canonical_form_exactly_where_mongodb_takes_them_for_one_id() -> None:
    for group in ONE_ID_TO_MONGODB:
        assert len({canonical_key(key) for key in group}) == 1, group
        assert len({typesense_id(key) for key in group}) == 1, group
    for one, other in combinations(ONE_ID_TO_MONGODB, 2):
        assert canonical_key(one[0]) != canonical_key(other[0]), (one, other)


@given(numbers, numbers)
def test_numbers_are_compared_by_their_exact_values(one: Any, other: Any) -> None:
    exact_one, exact_other = (key.to_decimal() if isinstance(key, Decimal128) else Decimal(key) for key in (one, other))
    if exact_one.is_nan() or exact_other.is_nan():
        same, order = exact_one.is_nan() and exact_other.is_nan(), exact_other.is_nan() - exact_one.is_nan()
    else:
        same, order = exact_one == exact_other, (exact_one > exact_other) - (exact_one < exact_other)
    assert (canonical_key(one) == canonical_key(other)) is same
    assert (bson_order(one) > bson_order(other)) - (bson_order(one) < bson_order(other)) == order


@given(keys)
def test_every_key_is_among_the_candidates_for_its_id(key: Any) -> None:
    text = typesense_id(key)
    candidates = candidate_keys(text)
    canonical = [canonical_key(candidate) for candidate in candidates]
    assert canonical_key(key) in canonical
    assert len(set(canonical)) == len(canonical)
    assert [typesense_id(candidate) for candidate in candidates] == [text] * len(candidates)
    assert [bson_order(candidate) for candidate in candidates] == sorted(map(bson_order, candidates))


@given(keys)
def test_a_key_stays_the_same_through_bson(key: Any) -> None:
    encoded = bson.encode({"_id": key}, codec_options=BSON_OPTIONS)
    read = bson.decode(encoded, codec_options=BSON_OPTIONS)["_id"]
    assert canonical_key(read) == canonical_key(key)
    assert typesense_id(read) == typesense_id(key)


@given(st.text(max_size=30) | st.text('0123456789abcdefeE+-.{}[]:,"$oidnulINy', max_size=40))
def test_candidates_can_be_asked_for_any_text(text: str) -> None:
    for key in candidate_keys(text):
        assert typesense_id(key) == text
        bson.encode({"_id": {"$in": [key]}}, codec_options=BSON_OPTIONS)


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("plain", ["plain"]),
        (HEX, [HEX, ObjectId(HEX)]),
        (HEX.upper(), [HEX.upper()]),
        (DIGITS, [Decimal128(DIGITS), DIGITS, ObjectId(DIGITS)]),
        ("12", [12, "12"]),
        ("-12", [-12, "-12"]),
        ("012", ["012"]),
        ("9223372036854775807", [2**63 - 1, "9223372036854775807"]),
        ("9223372036854775808", ["9223372036854775808"]),
        ("12345678901234567891", [Decimal128("12345678901234567891"), "12345678901234567891"]),
        ("0.1", [Decimal128("0.1"), 0.1, "0.1"]),
        ("12.0", ["12.0"]),
        ("NaN", [float("nan"), "NaN"]),
        ("true", ["true", True]),
        ("null", [None, "null"]),
        (UUID_TEXT, [UUID_TEXT, A_UUID]),
        ("2024-05-06T07:08:09.010Z", ["2024-05-06T07:08:09.010Z", datetime(2024, 5, 6, 7, 8, 9, 10_000, tzinfo=UTC)]),
        ("2024-05-06", ["2024-05-06"]),
        ('{"a":1}', ['{"a":1}', {"a": 1}]),
        ('{"a": 1}', ['{"a": 1}']),
        ('{"$minKey":1}', [MinKey(), '{"$minKey":1}']),
        ("[1]", ["[1]"]),
        ("", []),
        (NOT_UTF8, []),
        ("x" * (MAX_KEY_BYTES + 1), []),
    ],
)
def test_candidates_are_every_type_that_may_be_meant_in_the_order_of_bson(text: str, candidates: list[Any]) -> None:
    found = candidate_keys(text)
    assert [canonical_key(key) for key in found] == [canonical_key(key) for key in candidates]


@pytest.mark.parametrize(
    "text", ['{"$x":1}', '{"a":{"$gt":1}}', '{"$regularExpression":{"pattern":".*","options":""}}', '{"a":' * 3000]
)
def test_no_candidate_means_something_else_inside_a_query(text: str) -> None:
    assert all(isinstance(key, str) for key in candidate_keys(text))


def test_keys_are_ordered_as_in_mongodb() -> None:
    ordered: list[Any] = [
        MinKey(),
        None,
        float("nan"),
        float("-inf"),
        -1,
        Decimal128("0.1"),
        0.1,
        Int64(2**53 + 1),
        Decimal128("1E300"),
        float("inf"),
        "",
        {},
        b"",
        ObjectId(HEX),
        False,
        datetime(1970, 1, 1, tzinfo=UTC),
        Timestamp(0, 1),
        Code("f"),
        MaxKey(),
    ]
    places = [bson_order(key) for key in ordered]
    assert all(one < other for one, other in pairwise(places))
    assert bson_order(DBRef("x", 1)) == bson_order({"a": 1})


@pytest.mark.parametrize(
    "key",
    [
        "",
        NOT_UTF8,
        "sécret" * 200,
        "s" * (MAX_KEY_BYTES + 1),
        b"secret" * 200,
        {"secret": "secret" * 200},
        {"secret": NOT_UTF8},
        {NOT_UTF8: 1},
        {"$secret": 1},
        {"a": [{"$secret": 1}]},
        ["secret"],
        Regex("secret"),
        2**63,
        NotImplemented,
        {"a": {1, 2}},
    ],
    ids=repr,
)
def test_an_unusable_key_is_refused_without_being_named(key: Any) -> None:
    with pytest.raises(DocumentRejected) as caught:
        typesense_id(key)
    assert caught.value.reason == "unusable id"
    assert "ecret" not in str(caught.value)
    assert "\udcff" not in str(caught.value)


def test_the_longest_keys_are_synced() -> None:
    for key in ("x" * MAX_KEY_BYTES, "é" * (MAX_KEY_BYTES // 2), b"x" * (MAX_KEY_BYTES - 5)):
        text = typesense_id(key)
        assert canonical_key(key) in {canonical_key(candidate) for candidate in candidate_keys(text)}


def test_nothing_in_a_document_stops_the_batch_it_is_read_with() -> None:
    odd_date = (2**62).to_bytes(8, "little")
    fields = b"\x02a\0\x02\0\0\0\xff\0" + b"\x09b\0" + odd_date + b"\x05c\0\x03\0\0\0\x04abc" + b"\x0a\xff\0"
    raw = (len(fields) + 5).to_bytes(4, "little") + fields + b"\0"
    document = bson.decode(raw, codec_options=BSON_OPTIONS)
    assert document == {"a": "\udcff", "b": DatetimeMS(2**62), "c": Binary(b"abc", 4), "\udcff": None}
