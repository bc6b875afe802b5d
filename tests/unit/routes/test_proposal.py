"""The proposed schema holds every observed value, and every conflict is named, without a value."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from tests.support.schemas import CATCH_ALL, live, plan
from tests.support.typesense_model import refusals
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.routes.observations import MAX_NAMES_INSIDE, MAX_PATHS, Observations
from tsync_stream.routes.proposal import Proposal, propose
from tsync_stream.sink.mapping import map_document
from tsync_stream.sink.mapping_plan import MappingOptions, Plan

POINT = {"type": "Point", "coordinates": [2.35, 48.85]}
SHAPE = {"type": "LineString", "coordinates": [[2.35, 48.85], [12.5, 41.9]]}
A_DATE = datetime(2024, 5, 6, tzinfo=UTC)


def observed(documents: Sequence[Mapping[str, Any]]) -> Observations:
    observations, mapping = Observations(), plan(CATCH_ALL)
    for number, document in enumerate(documents):
        observations.add(map_document({"_id": number, **document}, mapping), document, number)
    return observations


def proposal(*documents: Mapping[str, Any], places: Sequence[str] = ()) -> Proposal:
    return propose(observed(documents), places)


def of_values(*values: Any, places: Sequence[str] = ()) -> tuple[str, list[str]]:
    """The type proposed for a field with these values, and the conflicts."""
    made = proposal(*({"f": value} for value in values), places=places)
    types = {field["name"]: field["type"] for field in made.fields}
    assert made.schema["fields"][-1] == {"name": ".*", "type": "auto"}
    assert all(field["optional"] for field in made.fields)
    return types.get("f", "not searchable" if types else ""), [str(conflict) for conflict in made.conflicts]


@pytest.mark.parametrize(
    ("values", "kind", "problem"),
    [
        ((1, 2), "int64", ""),
        ((1, 2**62), "int64", ""),
        ((4, 4.5), "float", "int 1, float 1"),
        ((4, Decimal128("4.5")), "float", "int 1, float 1"),
        ((A_DATE, A_DATE), "int64", ""),
        ((A_DATE, 5), "int64", "date 1, int 1"),
        ((A_DATE, 5.5), "float", "date 1, float 1"),
        ((A_DATE, "2024"), "string", "date 1, string 1"),
        ((True, False), "bool", ""),
        ((True, 1), "string", "bool 1, int 1"),
        ((1, "a"), "string", "int 1, string 1"),
        (("a", "b", None), "string", ""),
        (("007", "a"), "string", "zeros in front"),
        (("0", "7"), "string", ""),
        ((ObjectId(), "a"), "string", ""),
        ((ObjectId(), 5), "string", "key 1, int 1"),
        (("a", ["b", "c"]), "string[]", "string 1, array of string 1"),
        (("a", []), "string[]", "string 1, empty array 1"),
        (([],), "", ""),
        (([1, 2.5], [3]), "float[]", "array of int 2, array of float 1"),
        (([1, "a"],), "string[]", "array of int 1, array of string 1"),
        ((POINT, POINT), "geopoint", ""),
        ((POINT, [POINT, POINT]), "geopoint[]", "place 1, array of place 1"),
        (({"lat": 1, "lng": 2}, {"lat": 1.5, "lng": 2}), "geopoint", ""),
        (({"lat": 1, "lng": 2}, POINT), "geopoint", ""),
        (({"lat": 1, "lng": 2}, {"lat": 1}), "object", ""),
        ((POINT, SHAPE), "not searchable", "place 1, object 1"),
        ((POINT, "a"), "not searchable", "place 1, string 1"),
        (([2.5, 48.5], [2.5, 41.5]), "float[]", "pairs of numbers"),
        (({"a": 1}, {"a": 2}), "object", ""),
        (({"a": 1}, [{"a": 2}]), "object[]", "object 1, array of object 1"),
        (({"a": 1}, "a"), "not searchable", "object 1, string 1"),
        (([{"a": 1}, "a"],), "not searchable", "array of"),
        (([[1], [2]],), "not searchable", "arrays inside arrays"),
    ],
)
def test_a_type_holds_all_values_and_a_conflict_is_named(values: Sequence[Any], kind: str, problem: str) -> None:
    found, conflicts = of_values(*values)
    assert found == kind
    assert [problem in each for each in conflicts if "f" in each] == [True] * bool(problem), conflicts


def test_a_pair_of_numbers_is_a_place_where_mongodb_has_an_index_of_places() -> None:
    pairs = ([2.5, 48.5], [2, 41])
    assert of_values(*pairs, places=["f"]) == ("geopoint", [])
    assert of_values(*pairs, [200, 1], places=["f"])[0] == "float[]"
    assert of_values(*pairs, [1, 2, 3], places=["f"])[0] == "float[]"


def test_what_is_inside_an_array_of_objects_is_an_array() -> None:
    made = proposal({"parts": [{"n": 1, "at": POINT, "o": {"t": "a"}}]}, {"parts": {"n": 2.5}})
    assert {field["name"]: field["type"] for field in made.fields} == {
        "parts": "object[]",
        "parts.n": "float[]",
        "parts.at": "geopoint[]",
        "parts.o": "object",
        "parts.o.t": "string[]",
    }


def test_a_conflict_inside_an_object_costs_the_search_of_the_whole_field_and_says_so() -> None:
    made = proposal({"a": {"b": {"c": 1}, "d": 1}}, {"a": {"b": 5}})
    assert made.fields == [{"name": "a(\\..*)?", "type": "auto", "index": False, "optional": True}]
    (conflict,) = made.conflicts
    assert conflict.path == "a.b"
    assert conflict.proposal == "`a` is stored and shown, but not searchable"
    assert set(conflict.examples) <= {0, 1}


@pytest.mark.parametrize("name", ["a+b", "a(b", "a.b", "a[0]", "a|b", "a^$", "a\\b", "a{1}", "a?"])
def test_a_name_that_looks_like_a_pattern_is_taken_literally(name: str) -> None:
    (field,) = proposal({name: {"c": 1}}, {name: 5}).fields
    refused = refusals({"fields": [field]}, {"id": "1", name: 5})
    assert list(refused) == []
    assert list(refusals({"fields": [field]}, {"id": "1", "other": 5})) == ["other"]


def test_a_dotted_name_and_a_name_inside_an_object_are_one_field() -> None:
    made = proposal({"a.b": 1}, {"a": {"b": "x"}})
    assert {field["name"]: field["type"] for field in made.fields} == {"a": "object", "a.b": "string"}
    assert [conflict.problem.split()[:4] for conflict in made.conflicts] == [
        ["is", "a", "name", "with"],
        ["holds", "values", "of", "different"],
    ]


def test_names_that_are_data_are_left_out_of_the_index() -> None:
    made = proposal({"prices": {f"day {number}": number for number in range(MAX_NAMES_INSIDE + 1)}})
    assert [field["name"] for field in made.fields] == ["prices(\\..*)?"]
    assert "look like data" in str(made.conflicts[0])


def test_an_id_field_is_named() -> None:
    made = proposal({"id": 5})
    assert [field["name"] for field in made.fields] == ["id_"]
    assert str(made.conflicts[0]) == "`id` is taken in Typesense for the key: it is shown as `id_`"


def test_memory_is_bounded() -> None:
    observations = observed([{f"f{number}": number for number in range(2 * MAX_PATHS)}])
    assert len(observations.paths) == MAX_PATHS
    assert observations.left_out == MAX_PATHS
    values = observed([{"f": str(number)} for number in range(1_000)]).paths["f"]
    assert len(values.distinct) < 200
    assert sum(map(len, values.examples.values())) < 10


def test_facets_and_sorting_are_proposed_where_they_make_sense() -> None:
    documents = [
        {
            "city": ("Graz", "Cork")[number % 2],
            "title": f"title {number}",
            "text": f"{number} long" * 50,
            "rooms": number % 5,
            "price": number + 0.5,
            "furnished": number % 2 == 0,
            "tags": ["a", "b"],
            "listed": A_DATE,
            "seller": ObjectId("65a1b2c3d4e5f60718293a4b"),
            **({"rare": 1} if number else {}),
        }
        for number in range(40)
    ]
    made = proposal(*documents)
    told = {field["name"]: {name for name in ("facet", "sort") if field.get(name)} for field in made.fields}
    assert told == {
        "city": {"facet", "sort"},
        "title": {"sort"},
        "text": set(),
        "rooms": {"facet"},
        "price": set(),
        "furnished": {"facet"},
        "tags": {"facet"},
        "listed": set(),
        "seller": set(),
        "rare": {"facet"},
    }
    assert made.sorting == ["rooms", "price", "listed"]


# Whatever the documents are

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.sampled_from(["007", A_DATE, ObjectId("65a1b2c3d4e5f60718293a4b"), Decimal128("1.5"), POINT, SHAPE]),
    st.sampled_from([{"lat": 1, "lng": 2.5}, [2.35, 48.85], [POINT], [], {}]),
)
_NAMES = st.sampled_from(["a", "b", "a.b", "c+d", "id"])
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=6
)
_DOCUMENTS = st.lists(st.dictionaries(_NAMES, _VALUES, max_size=4), min_size=1, max_size=5)


@given(_DOCUMENTS, st.sets(st.sampled_from(["a", "b", "a.b"])))
def test_every_observed_document_is_accepted_by_the_proposed_schema(
    documents: list[dict[str, Any]], places: set[str]
) -> None:
    seen, mapping = Observations(), plan(CATCH_ALL)
    accepted = []
    for number, document in enumerate(documents):
        source = {"_id": number, **document}
        try:
            seen.add(map_document(source, mapping), source, number)
        except DocumentRejected:
            continue
        accepted.append(source)
    schema = propose(seen, places).schema
    in_force = Plan(MappingOptions(), live(**schema))
    for source in accepted:
        assert list(refusals(schema, map_document(source, in_force))) == []
