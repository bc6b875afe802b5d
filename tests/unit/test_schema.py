"""The default schema, schemas from a file, and the checks that Typesense leaves to us."""

import json
from typing import Any

import pytest

from tsync_stream.errors import ConfigurationError, DocumentRejected
from tsync_stream.target.schema import FieldChecks, default_schema, load_schema

TOO_LARGE = 2**31


def checks(*fields: tuple[str, str]) -> FieldChecks:
    return FieldChecks({"name": "listings", "fields": [{"name": name, "type": kind} for name, kind in fields]})


def test_the_default_schema_finds_out_every_type() -> None:
    assert default_schema("listings") == {
        "name": "listings",
        "enable_nested_fields": True,
        "fields": [{"name": ".*", "type": "auto"}],
    }


def test_a_schema_file_is_passed_on_under_the_name_of_the_settings() -> None:
    written = {
        "name": "another",
        "fields": [{"name": "price", "type": "float", "facet": True}],
        "default_sorting_field": "price",
        "not_invented_yet": [1],
    }
    assert load_schema(json.dumps(written), "listings") == {
        **written,
        "name": "listings",
        "enable_nested_fields": True,
    }
    assert load_schema(json.dumps({**written, "enable_nested_fields": False}), "x")["enable_nested_fields"] is False


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON: line 1, column 1"),
        ('{\n "fields": }', "not JSON: line 2, column 12"),
        ("[]", "one JSON object"),
        ("{}", "needs `fields`"),
        ('{"fields": []}', "needs `fields`"),
        ('{"fields": {"name": "x"}}', "needs `fields`"),
        ('{"fields": ["x"]}', "field 1 must be an object"),
        ('{"fields": [{"name": "x", "type": "auto"}, {"type": "auto"}]}', "field 2 needs a `name`"),
        ('{"fields": [{"name": "x", "type": 1}]}', "field 1 needs a `type`"),
    ],
)
def test_a_wrong_schema_file_is_told_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_schema(text, "listings")


def test_all_problems_of_a_schema_file_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_schema('{"fields": [{}, 1]}', "listings")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("field", "mapped", "rejected"),
    [
        (("n", "int32"), {"n": TOO_LARGE - 1}, False),
        (("n", "int32"), {"n": TOO_LARGE}, True),
        (("n", "int32"), {"n": -TOO_LARGE}, False),
        (("n", "int32"), {"n": -TOO_LARGE - 1}, True),
        (("n", "int32"), {"n": "Typesense refuses a text itself"}, False),
        (("n", "int32"), {"n": 1e300}, False),
        (("n", "int32"), {}, False),
        (("n", "int64"), {"n": TOO_LARGE}, False),
        (("n", "int32[]"), {"n": [1, TOO_LARGE]}, True),
        (("n", "int32[]"), {"n": [1, 2]}, False),
        (("a.n", "int32"), {"a": {"n": TOO_LARGE}}, True),
        (("a.n", "int32"), {"a": {"n": 1}, "n": TOO_LARGE}, False),
        (("a.n", "int32"), {"a.n": TOO_LARGE}, True),
        (("a.b.n", "int32"), {"a": {"b.n": TOO_LARGE}}, True),
        (("a.n", "int32[]"), {"a": [{"n": 1}, {"n": [TOO_LARGE]}, {}, 1]}, True),
        (("place", "geopoint"), {"place": [48.85, 2.35]}, False),
        (("place", "geopoint"), {"place": [-90, 180]}, False),
        (("place", "geopoint"), {"place": [90.1, 0]}, True),
        (("place", "geopoint"), {"place": [0, -180.1]}, True),
        (("place", "geopoint"), {"place": "x"}, False),
        (("place", "geopoint"), {"place": [1]}, False),
        (("place", "geopoint[]"), {"place": [[1.0, 2.0], [1.0, 200.0]]}, True),
        (("a.place", "geopoint[]"), {"a": [{"place": [1.0, 200.0]}]}, True),
        ((".*", "auto"), {"n": TOO_LARGE}, False),
        ((".*", "int32"), {"id": "1", "n": TOO_LARGE}, True),
        (("n_.*", "int32"), {"n_a": TOO_LARGE}, True),
        (("n_.*", "int32"), {"m_n_a": TOO_LARGE}, False),
        (("[.*", "int32"), {"[": TOO_LARGE}, False),
    ],
    ids=repr,
)
def test_what_typesense_would_index_wrongly_is_rejected(
    field: tuple[str, str], mapped: dict[str, Any], rejected: bool
) -> None:
    field_checks = checks(field)
    if not rejected:
        field_checks.check(mapped)
        return
    with pytest.raises(DocumentRejected) as caught:
        field_checks.check(mapped)
    assert caught.value.reason == "value out of range"
    assert str(TOO_LARGE) not in str(caught.value)
    assert "200" not in str(caught.value)


def test_a_field_of_its_own_and_other_patterns_come_before_a_pattern() -> None:
    field_checks = checks(("n_.*", "int32"), (".*", "auto"), ("n_a", "int64"), (".*_f", "float"))
    field_checks.check({"n_a": TOO_LARGE, "n_f": TOO_LARGE, "other": TOO_LARGE})
    with pytest.raises(DocumentRejected):
        field_checks.check({"n_b": TOO_LARGE})
