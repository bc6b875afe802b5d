"""Two documents side by side, field by field."""

from typing import Any

import pytest

from tsync_stream.observe.field_differences import compare_fields, json_type


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("x", "string"),
        (1, "integer"),
        (1.5, "number"),
        (True, "boolean"),
        (None, "null"),
        ({}, "object"),
        ([], "array"),
        (["a"], "array of string"),
        ([1, 1.5, [True]], "array of array of boolean and integer and number"),
    ],
)
def test_json_types(value: Any, name: str) -> None:
    assert json_type(value) == name


def test_every_field_of_either_side_is_there_once() -> None:
    mapped = {"a": 1, "b": {"c": "x", "d": [1, 2]}, "e": True, "only ours": 1}
    shown = {"only theirs": "y", "e": 1, "b": {"d": [1, 2], "c": "z"}, "a": 1}
    found = {each.name: each for each in compare_fields(mapped, shown)}
    assert {name: each.outcome for name, each in found.items()} == {
        "a": "equal",
        "b.c": "different",
        "b.d": "equal",
        "e": "different",  # `True == 1` in Python alone
        "only ours": "missing",
        "only theirs": "extra",
    }
    assert (found["e"].mapped_type, found["e"].shown_type) == ("boolean", "integer")
    assert (found["only ours"].shown_type, found["only theirs"].mapped_type) == (None, None)


def test_a_list_is_compared_with_the_types_of_its_items() -> None:
    (one,) = compare_fields({"a": [1, {"b": 1}]}, {"a": [1, {"b": True}]})
    assert one.outcome == "different"


def test_values_are_told_on_request_alone() -> None:
    (one,) = compare_fields({"a": "secret"}, {"a": "hidden"})
    assert "secret" not in str(one.to_json(with_values=False)) + str(one.to_json(with_values=False).keys())
    assert one.to_json(with_values=True)["mapped"] == "secret"


def test_without_either_document_all_fields_of_the_other_are_listed() -> None:
    assert [each.outcome for each in compare_fields(None, {"a": 1, "b": {}})] == ["extra", "extra"]
    assert [each.outcome for each in compare_fields({"a": 1}, None)] == ["missing"]
    assert compare_fields(None, None) == []
