"""Hints for dead letters: every error of Typesense's and of ours leads to what fixes it."""

import pytest

from tests.support.schemas import plan
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.observe.hints import hint
from tsync_stream.sink.mapping import map_document

REFUSED = "rejected by Typesense (400)"


@pytest.mark.parametrize(
    ("error", "short"),
    [
        ("Field `price` must be an int64.", "fix `price` in the document"),
        ("Field `price` must be an int32.", "fix `price` in the document"),
        ("Field `a.b` must be an array of int64.", "fix `a.b` in the document"),
        ("Type of field `p` is invalid.", "declare `p`"),
        ("Field `title` must be a string.", "fix `title` in the document"),
        ("Field `f` must be a float.", "fix `f` in the document"),
        ("Field `b` must be a bool.", "fix `b` in the document"),
        ("Field `tags` must be an array.", "fix `tags` in the document"),
        ("Field `af` must be a array of float.", "fix `af` in the document"),
        ("Field `o` has an incorrect type.", "fix `o` in the document"),
        (
            "Field `o` has an incorrect type. Hint: field inside an array of objects must be an array type as well.",
            "fix `o` in the document",
        ),
        ("Field `t` has been declared in the schema, but is not found in the document.", "make `t` optional"),
        (
            "Field `n` has been declared as a default sorting field, but is not found in the document.",
            "give the document a `n`",
        ),
        ("Field `g` must be a 2 element array: [lat, lng].", "fix the place in `g`"),
        ("Field `g` must be a geopoint.", "fix the place in `g`"),
        ("Field `g` must contain 2 element arrays: [ [lat, lng],... ].", "fix the place in `g`"),
    ],
)
def test_each_of_typesenses_errors_has_a_hint(error: str, short: str) -> None:
    found = hint(REFUSED, error)
    assert found is not None
    assert found.short == short
    assert found.text.endswith(".")


def test_the_hint_for_an_integer_field_gives_it_a_type_for_fractions() -> None:
    found = hint("no whole number", "field `price` is int64 in Typesense, and its number has a fraction")
    assert found is not None
    assert '{"fields": [{"name": "price", "drop": true}, {"name": "price", "type": "float"' in found.text
    assert "TYPESENSE_SCHEMA_FILE" in found.text
    assert "then replay" in found.text


def test_a_fields_name_cannot_break_the_hint() -> None:
    found = hint(REFUSED, 'field `{0} "x" {name}` is int64 in Typesense, and its number has a fraction')
    assert found is not None
    assert found.short == 'give `{0} "x" {name}` the type float'
    assert r'{"name": "{0} \"x\" {name}", "drop": true}' in found.text


@pytest.mark.parametrize(
    ("reason", "error", "short"),
    [
        ("value out of range", "field `n` is int32 in Typesense: declare it int64", "give `n` the type int64"),
        ("value out of range", "field `n` is int32[] in Typesense: declare it int64[]", "give `n` the type int64[]"),
        (
            "no whole number",
            "field `n` is int64[] in Typesense, and its number has a fraction",
            "give `n` the type float[]",
        ),
        ("not a place", "field `g` is a geopoint in Typesense: this is neither …", "fix the place in `g`"),
        (
            "not a place on Earth",
            "field `g` is a place outside of longitude ±180, latitude ±90",
            "fix the place in `g`",
        ),
        (
            "too many field names",
            "field `o` would have more than 4000 names inside",
            "leave the object out of the index",
        ),
        ("unusable id", "it has 2000 bytes, more than 1024", "give it another `_id`"),
        ("id collision", "a document with a key of type int has the same Typesense id", "delete one of the two"),
        ("not a number in JSON", "field `x` is NaN or infinite", "fix the document"),
    ],
)
def test_each_of_our_errors_has_a_hint(reason: str, error: str, short: str) -> None:
    found = hint(reason, error)
    assert found is not None
    assert found.short == short


def test_an_unknown_error_has_no_hint() -> None:
    assert hint(REFUSED, "Something else.") is None
    assert hint("unknown", "") is None


def test_the_hint_for_text_in_an_integer_field_is_not_float() -> None:
    found = hint(REFUSED, "Field `price` must be an int64.")
    assert found is not None
    assert "float" not in found.text


def test_each_refusal_of_the_mapping_for_a_fields_type_has_its_hint() -> None:
    for kind, value, short in (
        ("int64", 4.5, "give `f` the type float"),
        ("int64[]", [4.5], "give `f` the type float[]"),
        ("int32", 2**31, "give `f` the type int64"),
        ("geopoint", 5, "fix the place in `f`"),
        ("geopoint", [1, 200], "fix the place in `f`"),
    ):
        with pytest.raises(DocumentRejected) as caught:
            map_document({"_id": 1, "f": value}, plan(("f", kind)))
        found = hint(caught.value.reason, caught.value.detail)
        assert found is not None
        assert found.short == short
