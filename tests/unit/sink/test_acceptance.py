"""What Typesense would refuse is known beforehand, as far as types are declared; texts hold no value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.typesense_model import refusals
from tsync_stream.sink.acceptance import Acceptance

SECRET = "a secret"


def refusal(kind: str, value: Any, name: str = "f", **options: Any) -> str | None:
    document: Any = value
    for part in reversed(name.split(".")):
        document = {part: document}
    field = {"name": name, "type": kind, "optional": True, **options}
    return Acceptance({"fields": [field, {"name": ".*", "type": "auto"}]}).refusal({"id": "1", **document})


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", SECRET, 5),
        ("string*", SECRET, 5),
        ("int64", 5, 5.5),
        ("int64", -5, True),
        ("float", 5, SECRET),
        ("bool", True, 1),
        ("string[]", [SECRET], SECRET),
        ("string[]", [], [SECRET, 5]),
        ("geopoint", [1.5, 2.5], [1.5]),
        ("geopoint", [1, 2.5], [[1.5, 2.5]]),
        ("geopoint[]", [[1.5, 2.5]], [1.5, 2.5]),
        ("object", {"a": SECRET}, [{"a": SECRET}]),
        ("object[]", [{"a": SECRET}], {"a": SECRET}),
    ],
)
def test_a_value_fits_its_type_or_is_named_by_its_field(kind: str, good: Any, bad: Any) -> None:
    assert refusal(kind, good) is None
    assert refusal(kind, bad) == f"field `f` is {kind} in the schema, and this is no {kind}"


def test_values_inside_objects_are_found_by_their_flattened_name() -> None:
    assert refusal("int64", 5, "a.b") is None
    assert refusal("int64", "x", "a.b") == "field `a.b` is int64 in the schema, and this is no int64"
    assert refusal("int64[]", [[1], [2]], "a.b") is None
    gathered = Acceptance({"fields": [{"name": "a.b", "type": "int64[]", "optional": True}]})
    assert gathered.refusal({"a": [{"b": 1}, {"b": [2]}, {}]}) is None
    assert gathered.refusal({"a": [{"b": 1}, {"b": "x"}]}) is not None


@pytest.mark.parametrize("name", ["f", "a.f"])
def test_a_field_that_is_not_optional_has_to_be_there(name: str) -> None:
    acceptance = Acceptance({"fields": [{"name": name, "type": "string"}]})
    assert acceptance.refusal({"id": "1", "other": 5}) == f"field `{name}` is missing, and not optional in the schema"


@pytest.mark.parametrize("kind", ["auto", "image", "geopolygon"])
def test_what_is_not_known_is_no_refusal(kind: str) -> None:
    assert refusal(kind, {"anything": 1}) is None


_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=2)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
_TYPES = st.sampled_from(["string", "int64", "float", "bool", "string[]", "int64[]", "float[]", "bool[]"])


@given(_TYPES, _VALUES)
def test_it_agrees_with_the_model_of_the_tests(kind: str, value: Any) -> None:
    schema = {"fields": [{"name": "f", "type": kind, "optional": True}]}
    model = list(refusals(schema, {"id": "1", "f": value}))
    assert (Acceptance(schema).refusal({"id": "1", "f": value}) is None) == (model == [])


def test_a_field_that_typesense_fills_in_is_not_missing() -> None:
    vector = {"name": "vector", "type": "float[]", "embed": {"from": ["title"]}}
    assert Acceptance({"fields": [vector]}).refusal({"id": "1", "title": SECRET}) is None
