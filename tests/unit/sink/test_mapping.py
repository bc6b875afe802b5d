"""The mapping of each type; it never crashes, and never quotes a refused value."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
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
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from bson.son import SON
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import BSON_OPTIONS, typesense_id
from tsync_stream.sink.mapping import encode_line, map_document
from tsync_stream.sink.mapping_plan import MappingOptions, Plan
from tsync_stream.sink.names import problem_at_the_top

SECONDS = Plan(MappingOptions())
MILLISECONDS = Plan(MappingOptions(date_unit="ms"))
HEX = "65a1b2c3d4e5f60718293a4b"
A_UUID = UUID("12345678-9abc-4def-8123-456789abcdef")
A_DATE = datetime(2024, 5, 6, 7, 8, 9, 999_000, tzinfo=UTC)
LEFT_OUT: Any = Ellipsis


def point(*coordinates: Any) -> dict[str, Any]:
    return {"type": "Point", "coordinates": list(coordinates)}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


VALUES: list[tuple[Any, Any]] = [
    ("text", "text"),
    ("", ""),
    ("é\0\n\u2028😀", "é\0\n\u2028😀"),
    (True, True),
    (7, 7),
    (Int64(2**63 - 1), 2**63 - 1),
    (-(2**63), -(2**63)),
    (4.0, 4.0),
    (-0.0, -0.0),
    (1e300, 1e300),
    (Decimal128("12.30"), 12.3),
    (Decimal128("12345678901234567890123"), 1.2345678901234568e22),
    (Decimal128("1E-6176"), 0.0),
    (ObjectId(HEX), HEX),
    (Binary(A_UUID.bytes, 4), str(A_UUID)),
    (A_UUID, str(A_UUID)),
    (A_DATE, 1_714_979_289),
    (datetime(2024, 5, 6, 7, 8, 9), 1_714_979_289),  # noqa: DTZ001  # what is read without tz_aware is UTC
    (datetime(2024, 5, 6, 9, 8, 9, tzinfo=timezone(timedelta(hours=2))), 1_714_979_289),
    (datetime(1969, 12, 31, 23, 59, 59, 1000, tzinfo=UTC), -1),
    (datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), 253_402_300_799),
    (DatetimeMS(2**60), 2**60 // 1000),
    (DatetimeMS(-1), -1),
    (Timestamp(1_714_979_289, 5), 1_714_979_289),
    ({"a": {"b": 1}}, {"a": {"b": 1}}),
    ({}, {}),
    ([], []),
    ([[1, 2], [3]], [[1, 2], [3]]),
    ([{"a": 1}, {"b": [None]}], [{"a": 1}, {"b": []}]),
    ([1, None, Regex("x"), b"x", "a"], [1, "a"]),
    (SON([("b", 1), ("a", None)]), {"b": 1}),
    (RawBSONDocument(bson.encode({"a": 1})), {"a": 1}),
    ((1, 2), [1, 2]),
    (DBRef("users", ObjectId(HEX)), {"$ref": "users", "$id": HEX}),
    ({"$a": 1, "a b": 2, "a.b": 3, "id": 4, "_id": 5}, {"$a": 1, "a b": 2, "a.b": 3, "id": 4, "_id": 5}),
    (None, LEFT_OUT),
    (b"bytes", LEFT_OUT),
    (Binary(b"bytes", 4), LEFT_OUT),
    (Binary(A_UUID.bytes, 3), LEFT_OUT),
    (Regex("x"), LEFT_OUT),
    (Code("x"), LEFT_OUT),
    (Code("x", {"a": 1}), LEFT_OUT),
    (MinKey(), LEFT_OUT),
    (MaxKey(), LEFT_OUT),
    (point(2.35, 48.85), [48.85, 2.35]),
    (point(2, Int64(48)), [48.0, 2.0]),
    (point(Decimal128("2.5"), -90), [-90.0, 2.5]),
    (point(2.35, 48.85, 35), [48.85, 2.35]),
    (point(), LEFT_OUT),
    ([point(1, 2), point(3, 4)], [[2.0, 1.0], [4.0, 3.0]]),
    (point("500", "300"), point("500", "300")),
    (point(1), point(1)),
    ({"type": "Point"}, {"type": "Point"}),
    ({"type": "Point", "coordinates": {"x": 1}}, {"type": "Point", "coordinates": {"x": 1}}),
    # MongoDB takes it for a place whatever else it has: one shape, one form
    ({**point(1, 2), "city": "x", "_id": 5}, [2.0, 1.0]),
    ({**point(1, 2), "bbox": [1, 2, 1, 2], "crs": {"type": "name"}}, [2.0, 1.0]),
    ({"type": "MultiPoint", "coordinates": [[1, 2]]}, {"type": "MultiPoint", "coordinates": [[1, 2]]}),
    (
        {
            "type": "GeometryCollection",
            "geometries": [point(500, 48.5), {"type": "GeometryCollection", "geometries": [point(1, 2)]}],
        },
        {
            "type": "GeometryCollection",
            "geometries": [point(500, 48.5), {"type": "GeometryCollection", "geometries": [point(1, 2)]}],
        },
    ),
    ({"type": "GeometryCollection", "geometries": [1, "a"]}, {"type": "GeometryCollection", "geometries": [1, "a"]}),
    ({"type": "Feature", "geometry": point(1, 2)}, {"type": "Feature", "geometry": [2.0, 1.0]}),
    ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=repr)
def test_each_type_has_its_form(value: Any, expected: Any) -> None:
    mapped = map_document({"_id": 1, "field": value}, SECONDS)
    wanted = {"id": "1"} if expected is LEFT_OUT else {"id": "1", "field": expected}
    assert json.loads(encode_line(mapped)) == wanted
    # the lines too, for in Python True is 1 and 1 is 1.0
    assert encode_line(mapped) == encode_line(wanted)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (A_DATE, 1_714_979_289_999),
        (datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), -1),
        (DatetimeMS(2**60), 2**60),
        (Timestamp(7, 5), 7000),
        ([A_DATE], [1_714_979_289_999]),
    ],
)
def test_every_moment_is_in_milliseconds_if_asked_for(value: Any, expected: Any) -> None:
    assert map_document({"_id": 1, "field": value}, MILLISECONDS) == {"id": "1", "field": expected}


def test_the_key_becomes_the_id_and_a_field_named_id_moves_aside() -> None:
    document = {"_id": ObjectId(HEX), "id": 7, "a": {"id": 8, "_id": 9}}
    assert map_document(document, SECONDS) == {"id": HEX, "id_": 7, "a": {"id": 8, "_id": 9}}
    assert document == {"_id": ObjectId(HEX), "id": 7, "a": {"id": 8, "_id": 9}}


def test_the_place_of_the_id_in_a_document_does_not_matter() -> None:
    assert map_document({"a": 1, "_id": 5, "b": 2}, SECONDS) == {"id": "5", "a": 1, "b": 2}


REFUSED: list[tuple[Mapping[str, Any], str, str]] = [
    ({}, "unusable id", "the document has no _id"),
    ({"_id": ""}, "unusable id", "empty"),
    ({"_id": 1, "id": "secret", "id_": "secret"}, "unusable field name", "`id` and `id_`"),
    ({"_id": 1, "": "secret"}, "unusable field name", "``"),
    ({"_id": 1, "..": {"a": "secret"}}, "unusable field name", "`..`"),
    ({"_id": 1, "title ": {"a": "secret"}}, "unusable field name", "`title ` has a blank"),
    ({"_id": 1, "title.": "secret"}, "unusable field name", "`title.` is empty, or has an empty part"),
    ({"_id": 1, ".flat": "secret"}, "unusable field name", "`.flat` is reserved by Typesense"),
    ({"_id": 1, "x" * 2001: "secret"}, "unusable field name", "has a name of more than 2000 bytes"),
    ({"_id": 1, "x" * 1500: {"a": {"y" * 500: "secret"}}}, "unusable field name", "has a name of more than 2000 bytes"),
    ({"_id": 1, "a.*": "secret"}, "unusable field name", "`a.*`"),
    ({"_id": 1, "a": [{"*b": "secret"}]}, "unusable field name", "`a.0.*b`"),
    ({"_id": 1, "a": {"b": [1, float("nan")]}}, "not a number in JSON", "`a.b.1` is NaN"),
    ({"_id": 1, "a": float("-inf")}, "not a number in JSON", "`a`"),
    ({"_id": 1, "a": Decimal128("9876E+6000")}, "not a number in JSON", "`a` is a Decimal128"),
    ({"_id": 1, "a": Decimal128("sNaN")}, "not a number in JSON", "`a`"),
    ({"_id": 1, "a": 9876 * 10**30}, "number too large", "`a`"),
    ({"_id": 1, "a": {"b": point(9876, 1)}}, "not a place on Earth", "`a.b`"),
    ({"_id": 1, "a": point(1, float("nan"))}, "not a place on Earth", "`a`"),
    ({"_id": 1, "a": point(1, Decimal128("sNaN"))}, "not a place on Earth", "`a`"),
    ({"_id": 1, "a": {"secret"}}, "unknown type", "`a` is a set"),
]


@pytest.mark.parametrize(("document", "reason", "detail"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_refusal_names_the_path_and_never_the_value(document: Mapping[str, Any], reason: str, detail: str) -> None:
    with pytest.raises(DocumentRejected) as caught:
        map_document(document, SECONDS)
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert "secret" not in str(caught.value)
    assert "9876" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"a": [{"b": "x"}, {"b": "secret\udcff"}]}, "`a.1.b`"),
        ({"a": {"name\udcff": "secret"}}, r"`a.name\udcff`"),
        ({"long" * 100 + "\udcff": "secret"}, "`" + "long" * 50 + "…`"),
    ],
)
def test_text_that_is_not_utf8_is_refused_with_the_path_to_it(fields: dict[str, Any], path: str) -> None:
    mapped = map_document({"_id": 1, **fields}, SECONDS)
    with pytest.raises(DocumentRejected) as caught:
        encode_line(mapped)
    assert caught.value.reason == "not valid text"
    assert path in caught.value.detail
    assert "secret" not in str(caught.value)
    str(caught.value).encode()


def test_the_deepest_documents_of_mongodb_can_be_written_and_no_deeper_one_crashes() -> None:
    encode_line(map_document({"_id": 1, "a": nested(199)}, SECONDS))
    for depth in (300, 10_000):
        with pytest.raises(DocumentRejected, match="nested too deeply"):
            encode_line(map_document({"_id": 1, "a": nested(depth)}, SECONDS))


names = st.text(max_size=4).filter(lambda name: "\0" not in name) | st.sampled_from(
    ["id", "_id", "id_", "type", "coordinates", "a.b", "*", ".", "a.*", "$ref", "\udcff"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=6)
    | st.builds(Binary, st.binary(min_size=16, max_size=16), st.sampled_from([0, 3, 4, 9]))
    | st.integers(-(2**63), 2**63 - 1).map(DatetimeMS)
    | st.integers(-(2**63), 2**63 - 1).map(Int64)
    | st.datetimes(timezones=st.just(UTC))
    | st.decimals(-(10**9), 10**9, places=4).map(Decimal128)
    | st.sampled_from(["9E6144", "1E-6176", "sNaN", "-Infinity"]).map(Decimal128)
    | st.builds(Timestamp, st.integers(0, 2**32 - 1), st.just(1))
    | st.sampled_from([MinKey(), MaxKey(), Regex("x"), Code("x"), ObjectId(HEX), DBRef("x", 1.5)])
    | st.builds(
        point, st.floats(), st.floats() | st.integers(-100, 100) | st.decimals(-999, 999, places=1).map(Decimal128)
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=15,
)
documents = st.dictionaries(names, values, max_size=6).map(lambda fields: {**fields, "_id": 1})


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


@given(documents, st.sampled_from([SECONDS, MILLISECONDS]))
def test_any_document_is_mapped_or_refused(document: dict[str, Any], plan: Plan) -> None:
    try:
        mapped = map_document(document, plan)
        line = encode_line(mapped)
    except DocumentRejected as rejected:
        str(rejected).encode()
        return
    assert b"\n" not in line
    assert json.loads(line) == mapped
    assert mapped["id"] == typesense_id(document["_id"])
    assert all(type(leaf) in {str, bool, int, Int64, float} for leaf in leaves(mapped))
    assert not any(problem_at_the_top(name) for name in mapped)
    assert map_document(document, plan) == mapped


@given(documents.filter(lambda document: "udcff" not in repr(document)))
def test_a_document_is_mapped_alike_after_a_round_trip_through_bson(document: dict[str, Any]) -> None:
    encoded = bson.encode(document, codec_options=BSON_OPTIONS)
    try:
        mapped = map_document(document, SECONDS)
    except DocumentRejected:
        return
    read = bson.decode(encoded, codec_options=BSON_OPTIONS)
    assert map_document(read, SECONDS) == mapped
