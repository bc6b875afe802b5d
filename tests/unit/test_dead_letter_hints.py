"""What is said about a dead letter: each of Typesense's and our own complaints leads to what mends it."""

import pytest

from tsync_stream.dead_letter_hints import hint

REFUSED = "rejected by Typesense (400)"


@pytest.mark.parametrize(
    ("error", "short"),
    [
        ("Field `price` must be an int64.", "give `price` the type float"),
        ("Field `price` must be an int32.", "give `price` the type float"),
        ("Field `a.b` must be an array of int64.", "give `a.b` the type float[]"),
        ("Field `title` must be a string.", "mend `title` in the document"),
        ("Field `f` must be a float.", "mend `f` in the document"),
        ("Field `b` must be a bool.", "mend `b` in the document"),
        ("Field `tags` must be an array.", "mend `tags` in the document"),
        ("Field `af` must be a array of float.", "mend `af` in the document"),
        ("Field `o` has an incorrect type.", "mend `o` in the document"),
        (
            "Field `o` has an incorrect type. Hint: field inside an array of objects must be an array type as well.",
            "mend `o` in the document",
        ),
        ("Field `t` has been declared in the schema, but is not found in the document.", "make `t` optional"),
        (
            "Field `n` has been declared as a default sorting field, but is not found in the document.",
            "give the document a `n`",
        ),
        ("Field `g` must be a 2 element array: [lat, lng].", "mend the place in `g`"),
        ("Field `g` must be a geopoint.", "mend the place in `g`"),
        ("Field `g` must contain 2 element arrays: [ [lat, lng],... ].", "mend the place in `g`"),
    ],
)
def test_each_of_typesenses_complaints_has_what_mends_it(error: str, short: str) -> None:
    found = hint(REFUSED, error)
    assert found is not None
    assert found.short == short
    assert found.text.endswith(".")


def test_a_field_of_integers_is_given_a_type_that_takes_fractions() -> None:
    found = hint(REFUSED, "Field `price` must be an int64.")
    assert found is not None
    assert '{"fields": [{"name": "price", "drop": true}, {"name": "price", "type": "float"' in found.text
    assert "TYPESENSE_SCHEMA_FILE" in found.text
    assert "then replay" in found.text


def test_a_fields_name_is_only_a_name() -> None:
    found = hint(REFUSED, 'Field `{0} "x" {name}` must be an int64.')
    assert found is not None
    assert found.short == 'give `{0} "x" {name}` the type float'
    assert r'{"name": "{0} \"x\" {name}", "drop": true}' in found.text


@pytest.mark.parametrize(
    ("reason", "error", "short"),
    [
        ("value out of range", "field `n` is int32 in Typesense: declare it int64", "give `n` the type int64"),
        ("value out of range", "field `g` is not [latitude, longitude]", "mend the place in `g`"),
        ("unusable id", "it has 2000 bytes, more than 1024", "give it another `_id`"),
        ("id collision", "a document with a key of type int has the same Typesense id", "delete one of the two"),
        ("not a number in JSON", "field `x` is NaN or infinite", "mend the document"),
    ],
)
def test_so_has_each_of_ours(reason: str, error: str, short: str) -> None:
    found = hint(reason, error)
    assert found is not None
    assert found.short == short


def test_what_is_not_known_has_no_hint() -> None:
    assert hint(REFUSED, "Something else.") is None
    assert hint("unknown", "") is None
