"""The default schema, and schemas from a file."""

import json

import pytest

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.sink.schema import default_schema, load_schema


def test_the_default_schema_detects_every_type() -> None:
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
        ('{"fields": [{"name": "x", "type": "int65"}]}', r"field 1 \(`x`\) has the type `int65`, .*; is it int"),
        ('{"fields": [{"name": "x", "type": "uuid"}]}', "types are auto, bool, "),
    ],
)
def test_a_wrong_schema_file_is_reported_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_schema(text, "listings")


def test_all_problems_of_a_schema_file_are_reported_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_schema('{"fields": [{}, 1]}', "listings")
    assert len(caught.value.problems) == 3
