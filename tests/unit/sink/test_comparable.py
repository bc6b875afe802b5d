"""What counts when a document that Typesense shows is compared with the one that it should show."""

import orjson

from tsync_stream.sink.comparable import as_stored, comparable, fields_of_its_own, line_as_stored, without_doubles


def test_a_whole_number_equals_its_float() -> None:
    """A field of integers that was given the type float shows integers that would be sent as floats now."""
    one = comparable({"a": [4, {"b": 0}], "c": 2**53}, ())
    other = comparable({"a": [4.0, {"b": -0.0}], "c": float(2**53)}, ())
    assert orjson.dumps(one) == orjson.dumps(other)
    values = (4, 4.5, "4", True, 1e300, 2**53 + 2, "4.0")
    assert len({orjson.dumps(comparable({"a": value}, ())) for value in values}) == 7


def test_fields_that_typesense_fills_in_or_leaves_out_are_not_compared() -> None:
    fields = [
        {"name": "title", "type": "string", "store": True},
        {"name": "vector", "type": "float[]", "embed": {"from": ["title"]}},
        {"name": "secret", "type": "string", "store": False},
    ]
    own = fields_of_its_own({"fields": fields})
    assert own == {"vector", "secret"}
    assert comparable({"title": "x", "vector": [1.5], "secret": "y"}, own) == {"title": "x"}


def test_flattened_fields_of_an_export_are_not_taken_for_stored_ones() -> None:
    exported = {".flat": ["a.b", "a.c"], "a": {"b": 1, "c": 2}, "a.b": 1, "a.c": 2, "a.d": "left by a partial update"}
    assert as_stored(exported) == {"a": {"b": 1, "c": 2}, "a.d": "left by a partial update"}
    assert as_stored({"a": 1}) == {"a": 1}
    assert without_doubles({"a": [{"b": 1}], "a.b": 2, "a.c": 3, "d.e": 4}) == {"a": [{"b": 1}], "a.c": 3, "d.e": 4}


def test_a_line_loses_only_an_empty_list_of_flattened_fields() -> None:
    assert line_as_stored(b'{".flat":[],"id":"1"}') == b'{"id":"1"}'
    for line in (b'{"id":"1"}', b'{".flat":["a.b"],"a":{"b":1},"a.b":1,"id":"1"}', b'{"a":".flat","id":"1"}'):
        assert line_as_stored(line) == line
