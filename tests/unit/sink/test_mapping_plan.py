"""A field's type in the live schema decides the form of its values; names are bounded; a plan knows its schema."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from tests.support.schemas import CATCH_ALL, live, plan
from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected
from tsync_stream.sink.mapping import encode_line, map_document
from tsync_stream.sink.mapping_plan import MAX_NAMES_BELOW, MAX_NEW_NAMES, MappingOptions, Plan

LEFT_OUT: Any = Ellipsis
HEX = "65a1b2c3d4e5f60718293a4b"
NOW_MS = 1_714_979_289_999
A_DATE = datetime(2024, 5, 6, 7, 8, 9, 999_000, tzinfo=UTC)
LNG, LAT = 2.35, 48.85
PARIS = [LAT, LNG]
ROME = [41.9, 12.5]


def point(lng: Any, lat: Any, **more: Any) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [lng, lat], **more}


A_POINT = point(LNG, LAT)

FORMS: list[tuple[str, Any, Any]] = [
    # numbers for fields of integers: JavaScript's are doubles
    ("int64", float(NOW_MS), NOW_MS),
    ("int64", -0.0, 0),
    ("int64", float(2**53), 2**53),
    ("int64", Int64(2**63 - 1), 2**63 - 1),
    ("int64", Decimal128("9007199254740993"), 2**53 + 1),
    ("int64", Decimal128("1.2E+1"), 12),
    ("int64", Decimal128("-0"), 0),
    ("int64", A_DATE, 1_714_979_289),
    ("int64", "text", "text"),
    ("int64", True, True),
    ("int64", None, LEFT_OUT),
    ("int64", [1.0, 2], [1, 2]),
    ("int64[]", [1.0, Int64(2), Decimal128("3")], [1, 2, 3]),
    ("int32", 2.0**31 - 1, 2**31 - 1),
    ("int32", -(2**31), -(2**31)),
    ("int32[]", [4.0], [4]),
    # floats stay what they are
    ("float", 4.0, 4.0),
    ("float", 4, 4),
    ("float[]", [4.0, 1], [4.0, 1]),
    ("auto", 4.0, 4.0),
    ("bool", 4.0, 4.0),
    ("not_invented_yet", 4.0, 4.0),
    # text
    ("string", 12, "12"),
    ("string", 12.0, "12"),
    ("string", 12.5, "12.5"),
    ("string", Int64(2**60), str(2**60)),
    ("string", Decimal128("12.50"), "12.5"),
    ("string", float("nan"), "NaN"),
    ("string", True, "true"),
    ("string", A_DATE, "2024-05-06T07:08:09.999Z"),
    ("string", DatetimeMS(NOW_MS), "2024-05-06T07:08:09.999Z"),
    ("string", Timestamp(1_714_979_289, 7), "2024-05-06T07:08:09.000Z"),
    ("string", ObjectId(HEX), HEX),
    ("string", "text", "text"),
    ("string", None, LEFT_OUT),
    ("string", {"a": 1}, {"a": 1}),
    ("string[]", [1, "a", False, None], ["1", "a", "false"]),
    ("string*", 4.5, "4.5"),
    ("string*", [4], ["4"]),
    # one place
    ("geopoint", A_POINT, PARIS),
    ("geopoint", point(LNG, LAT, city="x", bbox=[1], crs={}), PARIS),
    ("geopoint", {"type": "Point", "coordinates": [LNG, LAT, 35]}, PARIS),
    ("geopoint", {"type": "Point", "coordinates": []}, LEFT_OUT),
    ("geopoint", [LNG, LAT], PARIS),
    ("geopoint", [2, Int64(48)], [48.0, 2.0]),
    ("geopoint", [Decimal128("2.35"), LAT], PARIS),
    ("geopoint", [], LEFT_OUT),
    ("geopoint", {"lng": LNG, "lat": LAT}, PARIS),
    ("geopoint", {"lat": LAT, "lng": LNG}, PARIS),
    ("geopoint", {"latitude": LAT, "longitude": LNG, "name": "x"}, PARIS),
    ("geopoint", {"lon": LNG, "lat": LAT}, PARIS),
    ("geopoint", None, LEFT_OUT),
    ("geopoint", "a text, which Typesense refuses", "a text, which Typesense refuses"),
    # several
    ("geopoint[]", A_POINT, [PARIS]),
    ("geopoint[]", [A_POINT, point(12.5, 41.9, name="x")], [PARIS, ROME]),
    ("geopoint[]", {"type": "MultiPoint", "coordinates": [[LNG, LAT], [12.5, 41.9]]}, [PARIS, ROME]),
    ("geopoint[]", {"type": "GeometryCollection", "geometries": [A_POINT]}, [PARIS]),
    ("geopoint[]", [LNG, LAT], [PARIS]),
    ("geopoint[]", [[LNG, LAT], [12.5, 41.9]], [PARIS, ROME]),
    ("geopoint[]", [{"lng": LNG, "lat": LAT}, None, {"type": "Point", "coordinates": []}], [PARIS]),
    ("geopoint[]", [], []),
    # objects, and what was found out to be something else
    ("object", A_POINT, A_POINT),
    ("object", point(LNG, LAT, city="x"), point(LNG, LAT, city="x")),
    ("object[]", [A_POINT], [A_POINT]),
    ("float[]", point(LNG, LAT, city="x"), PARIS),
    ("auto", A_POINT, PARIS),
]


@pytest.mark.parametrize(("kind", "value", "expected"), FORMS, ids=repr)
def test_a_value_has_the_form_that_its_field_requires(kind: str, value: Any, expected: Any) -> None:
    wanted = {} if expected is LEFT_OUT else {"f": expected}
    for name, put in (
        ("f", lambda inner: inner),
        ("a.f", lambda inner: {"a": inner}),
        ("a.b.f", lambda inner: {"a": {"b": inner}}),
        ("l.f", lambda inner: {"l": [inner, inner]}),
    ):
        schema = plan((name, kind), CATCH_ALL)
        line = encode_line(map_document({"_id": 1, **put({"f": value})}, schema))
        assert line == encode_line({"id": "1", **put(wanted)}), name


def test_a_name_with_dots_is_the_same_field_as_nested_objects() -> None:
    schema = plan(("a.b", "int64"), ("p.coordinates", "geopoint"))
    assert map_document({"_id": 1, "a.b": 4.0, "p.coordinates": [LNG, LAT]}, schema) == {
        "id": "1",
        "a.b": 4,
        "p.coordinates": PARIS,
    }


REFUSED: list[tuple[str, Any, str, str]] = [
    ("int64", 4.5, "no whole number", "field `f` is int64 in Typesense, and its number has a fraction"),
    ("int64", float(2**53) + 2, "no whole number", "beyond 2^53"),
    ("int64", float("nan"), "no whole number", "NaN"),
    ("int64", Decimal128("4.5"), "no whole number", "has a fraction"),
    ("int64", Decimal128("1E+18"), "", ""),
    ("int64", Decimal128("1E+19"), "no whole number", "beyond 64 bits"),
    ("int64", Decimal128("9223372036854775808"), "number too large", "beyond 64 bits"),
    ("int64", Decimal128("1E-6176"), "no whole number", "has a fraction"),
    ("int64", Decimal128("sNaN"), "no whole number", "NaN"),
    ("int64[]", [1, 4.5], "no whole number", "field `f` is int64[] in Typesense, and its number has a fraction"),
    ("int32", 2**31, "value out of range", "field `f` is int32 in Typesense: declare it int64"),
    ("int32", -(2.0**31) - 1, "value out of range", "field `f`"),
    ("int32", DatetimeMS(2**60), "value out of range", "field `f`"),
    ("int32[]", [1, 2**31], "value out of range", "field `f` is int32[] in Typesense: declare it int64[]"),
    ("geopoint", [LAT, 148.85], "not a place on Earth", "the longitude comes first"),
    ("geopoint", {"lng": 200, "lat": 1}, "not a place on Earth", "field `f`"),
    ("geopoint", {"x": LNG, "y": LAT}, "not a place", "longitude and latitude cannot be told"),
    ("geopoint", {"lat": LAT, "latitude": LAT, "lng": LNG}, "not a place", "cannot be told"),
    ("geopoint", {"lat": "48", "lng": "2"}, "not a place", "cannot be told"),
    ("geopoint", {"type": "MultiPoint", "coordinates": [[1, 2]]}, "not a place", "is a GeoJSON MultiPoint"),
    ("geopoint", {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "not a place", "is a GeoJSON LineString"),
    ("geopoint", {"type": "secret", "coordinates": [1, 2]}, "not a place", "is a GeoJSON shape"),
    ("geopoint", {"type": "Point", "coordinates": ["1", "2"]}, "not a place", "no Point with a longitude"),
    ("geopoint", {"coordinates": [1, 2]}, "not a place", "GeoJSON"),
    ("geopoint", [A_POINT], "not a place", "several places need geopoint[]"),
    ("geopoint", [1], "not a place", "no pair"),
    ("geopoint", [True, False], "not a place", "no pair"),
    ("geopoint", 5, "not a place", "field `f` is a geopoint in Typesense"),
    ("geopoint[]", [A_POINT, 5, 6, 7], "not a place", "field `f`"),
    ("geopoint[]", {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "not a place", "LineString"),
    (
        "geopoint[]",
        {"type": "GeometryCollection", "geometries": [A_POINT, {"type": "LineString", "coordinates": []}]},
        "not a place",
        "LineString",
    ),
]


@pytest.mark.parametrize(("kind", "value", "reason", "detail"), REFUSED, ids=repr)
def test_a_value_that_would_be_stored_wrongly_is_refused_by_its_field(
    kind: str, value: Any, reason: str, detail: str
) -> None:
    schema = plan(("f", kind), CATCH_ALL)
    if not reason:
        map_document({"_id": 1, "f": value}, schema)
        return
    with pytest.raises(DocumentRejected) as caught:
        map_document({"_id": 1, "f": value}, schema)
    assert caught.value.reason == reason
    assert detail in caught.value.detail
    assert "secret" not in str(caught.value)


def test_the_range_of_an_unindexed_field_is_not_checked() -> None:
    schema = plan({"name": "n", "type": "int32", "index": False})
    assert map_document({"_id": 1, "n": 2.0**40}, schema) == {"id": "1", "n": 2**40}


def test_the_coordinates_of_a_point_may_be_the_declared_place() -> None:
    schema = plan(("x.coordinates", "geopoint"), CATCH_ALL)
    mapped = map_document({"_id": 1, "x": point(LNG, LAT, city="Paris")}, schema)
    assert mapped == {"id": "1", "x": {"type": "Point", "coordinates": PARIS, "city": "Paris"}}
    with pytest.raises(DocumentRejected, match=r"field `x\.coordinates` is a geopoint"):
        map_document({"_id": 1, "x": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}}, schema)


def test_an_object_with_declared_fields_stays_an_object() -> None:
    schema = plan(("x.city", "string"), CATCH_ALL)
    assert map_document({"_id": 1, "x": point(1, 2, city=75)}, schema)["x"] == point(1, 2, city="75")


@pytest.mark.parametrize("declared", [("x", "object"), (".*", "auto")], ids=repr)
def test_points_in_a_geometry_collection_are_parts_of_a_shape(declared: tuple[str, str]) -> None:
    value = {"type": "GeometryCollection", "geometries": [A_POINT], "name": 1}
    assert map_document({"_id": 1, "x": value}, plan(declared))["x"] == value


PATTERNS: list[tuple[list[tuple[str, str]], dict[str, Any], Any]] = [
    ([(".*_at", "int64"), CATCH_ALL], {"made_at": 4.0, "made": 4.0}, {"made_at": 4, "made": 4.0}),
    # from Typesense 0.25 on, in objects too
    ([(".*_at", "int64"), CATCH_ALL], {"o": {"made_at": 4.0}}, {"o": {"made_at": 4}}),
    ([(".*_at", "int64"), CATCH_ALL], {"l": [{"made_at": 4.0}]}, {"l": [{"made_at": 4}]}),
    ([(".*", "string*")], {"n": 4.0, "o": {"n": 4}}, {"n": "4", "o": {"n": "4"}}),
    ([("n_.*", "int64"), ("m", "int64")], {"m_n_a": 4.0, "m": 4.0}, {"m_n_a": 4.0, "m": 4}),
    # the field itself says more than a pattern, and several patterns say only what they share
    ([(".*_at", "int64"), ("made_at", "float")], {"made_at": 4.0}, {"made_at": 4.0}),
    ([(".*_at", "int64"), ("made_.*", "string")], {"made_at": 4.0}, {"made_at": 4.0}),
    ([(".*_at", "int64"), ("made_.*", "int64")], {"made_at": 4.0}, {"made_at": 4}),
    ([("[.*", "int64")], {"[": 4.0}, {"[": 4.0}),  # C++ may read it otherwise
    ([("place_.*", "geopoint")], {"place_a": [LNG, LAT]}, {"place_a": PARIS}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "document", "expected"), PATTERNS, ids=repr)
def test_the_types_of_patterns_count_too(
    fields: list[tuple[str, str]], document: dict[str, Any], expected: dict[str, Any]
) -> None:
    line = encode_line(map_document({"_id": 1, **document}, plan(*fields)))
    assert json.loads(line) == {"id": "1", **expected}
    assert line == encode_line({"id": "1", **expected})


def test_a_pattern_checks_the_range_in_objects_too() -> None:
    with pytest.raises(DocumentRejected, match=r"field `o\.n_i` is int32"):
        map_document({"_id": 1, "o": {"n_i": 2**31}}, plan((".*_i", "int32"), CATCH_ALL))


# How many names there may be

MANY = {f"key {number}": number for number in range(MAX_NAMES_BELOW)}


def test_an_object_has_at_most_as_many_names_as_typesense_survives() -> None:
    map_document({"_id": 1, "o": MANY}, plan(CATCH_ALL))
    with pytest.raises(DocumentRejected) as caught:
        map_document({"_id": 1, "o": {**MANY, "one more": 1}}, plan(CATCH_ALL))
    assert caught.value.reason == "too many field names"
    assert caught.value.detail == "field `o` would have more than 4000 names inside, over all documents"


@pytest.mark.parametrize(
    "value",
    [
        {"a": {f"k{number}": 1 for number in range(2000)}, "b": {f"k{number}": 1 for number in range(2000)}},
        [{f"{row} {number}": 1 for number in range(100)} for row in range(41)],
    ],
    ids=["objects in objects", "an array of objects"],
)
def test_names_are_counted_at_any_depth_below_a_field(value: Any) -> None:
    with pytest.raises(DocumentRejected, match="too many field names"):
        map_document({"_id": 1, "o": value}, plan(CATCH_ALL))


def test_a_dot_in_a_name_is_a_level_too() -> None:
    """Typesense crashes for these as well."""
    schema = plan(CATCH_ALL)
    map_document({"_id": 1, **{f"a.{name}": {"x": 1} for name in range(MAX_NAMES_BELOW // 2)}}, schema)
    with pytest.raises(DocumentRejected, match="too many field names"):
        map_document({"_id": 2, "a.b": 1}, schema)
    with pytest.raises(DocumentRejected, match="too many field names"):
        map_document({"_id": 3, "a": {"c": 1}}, schema)
    map_document({"_id": 4, "b.c": 1, "a.1": {"x": 2}}, schema)


def test_names_are_counted_over_all_documents_and_those_of_the_live_schema() -> None:
    schema = plan(("o", "object"), *((f"o.old {number}", "int64") for number in range(MAX_NAMES_BELOW - 2)), CATCH_ALL)
    map_document({"_id": 1, "o": {"a": 1}}, schema)
    map_document({"_id": 2, "o": {"b": 1, "a": 1, "old 7": 7}}, schema)
    with pytest.raises(DocumentRejected, match="too many field names"):
        map_document({"_id": 3, "o": {"c": 1}}, schema)
    map_document({"_id": 4, "other": {"c": 1}, "d": 1}, schema)


def test_names_that_a_refused_document_brought_are_forgotten() -> None:
    schema = plan(CATCH_ALL)
    for attempt in range(3):
        names = {f"{attempt} {number}": 1 for number in range(MAX_NAMES_BELOW - 1)}
        with pytest.raises(DocumentRejected):
            map_document({"_id": attempt, "o": {**names, "a": {"*": 1}}}, schema)
    assert schema.new_names == 0
    map_document({"_id": 9, "o": MANY}, schema)
    with pytest.raises(DocumentRejected):
        map_document({"_id": 10, "o": {"one more": 1}}, schema)


@pytest.mark.parametrize(
    "schema",
    [
        plan(("title", "string")),
        plan(("title", "string"), {"name": "o.*", "type": "auto", "index": False}, CATCH_ALL),
        plan(CATCH_ALL, enable_nested_fields=False),
    ],
    ids=["no catch-all", "left out of the index", "no nested fields"],
)
def test_names_that_are_no_fields_are_neither_bounded_nor_all_remembered(schema: Plan) -> None:
    for number in range(3):
        names = {f"{number} {key}": 1 for key in range(MAX_NEW_NAMES // 2)}
        assert len(map_document({"_id": number, "o": names}, schema)["o"]) == len(names)
    assert schema.new_names <= MAX_NEW_NAMES


def test_top_level_names_are_not_bounded_and_not_all_remembered() -> None:
    schema = plan(CATCH_ALL)
    names = {f"key {number}": 1 for number in range(MAX_NEW_NAMES + 10)}
    assert len(map_document({"_id": 1, **names}, schema)) == len(names) + 1
    assert schema.new_names == MAX_NEW_NAMES


# One value and many


def test_a_single_value_in_an_array_field_becomes_an_array_of_one() -> None:
    schema = plan(("tags", "string[]"), ("parts", "object[]"), ("o", "object"), ("o.n", "int64[]"), CATCH_ALL)
    document = {"_id": 1, "tags": "a", "parts": {"n": 1}, "o": {"n": 2.0, "m": 3}}
    assert map_document(document, schema) == {
        "id": "1",
        "tags": ["a"],
        "parts": [{"n": 1}],
        "o": {"n": [2], "m": 3},
    }


@pytest.mark.parametrize("around", [("o", "object[]"), ("p", "object")], ids=["an array", "not known"])
def test_a_value_that_may_be_inside_an_array_of_objects_is_left_to_typesense(around: tuple[str, str]) -> None:
    schema = plan(around, ("o.n", "int64[]"), CATCH_ALL)
    assert map_document({"_id": 1, "o": [{"n": 2}]}, schema) == {"id": "1", "o": [{"n": 2}]}


# What a plan knows of its schema


def test_a_plan_knows_whether_another_schema_only_has_more_fields() -> None:
    old, more = plan(("a", "int64"), CATCH_ALL), plan(("a", "int64"), ("b", "string"), CATCH_ALL)
    assert more.only_adds_to(old)
    assert not old.only_adds_to(more)
    assert not plan(("a", "float"), CATCH_ALL).only_adds_to(old)
    assert not plan(("a", "int64")).only_adds_to(old)
    assert old.is_like(plan(("a", "int64"), CATCH_ALL))
    assert not old.is_like(more)


def test_a_plan_of_another_collection_is_another_one_whatever_its_fields() -> None:
    """Behind an alias there may be another collection from one moment to the next."""
    old, other = plan(("a", "int64"), name="listings_1"), plan(("a", "int64"), name="listings_2")
    assert not old.is_like(other)
    assert not other.only_adds_to(old)


@pytest.mark.parametrize("fields", [None, 5, {"a": 1}, [1], [None], [{}], [{"name": "a"}], [["name", "type"]]])
def test_an_answer_that_describes_no_fields_is_an_outage(fields: Any) -> None:
    with pytest.raises(DependencyUnavailable):
        Plan(MappingOptions(), {**live(), "fields": fields})
    with pytest.raises(DependencyUnavailable):
        Plan(MappingOptions(), {"name": "listings"})
