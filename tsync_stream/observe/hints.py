"""How to fix a dead letter, where its reason and error tell: a sentence for people. Pure.

Invariant: no hint is better than a wrong one. The errors are Typesense's own (as of 0.24.1) and ours.
"""

import re
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Hint:
    """`short` fits into a table; `text` says how to do it."""

    short: str
    text: str


_FIX = "fix the document in MongoDB: that change syncs it, without a replay"
_CHANGE_FIELD = (
    ': `PATCH /collections/…` with {{"fields": [{{"name": {name}, "drop": true}}, {{"name": {name}, "type": "{type}", '
    '"optional": true}}]}} changes the live collection. Change TYPESENSE_SCHEMA_FILE in the same way, for the day the '
    "collection is created again, then replay"
)
_INTEGERS = "`{field}` is an integer field (with `auto`, the first value that Typesense sees decides)"
_FRACTIONS = (
    f"{_INTEGERS}, and cannot hold this number. If fractions are right, give it the type {{type}}{_CHANGE_FIELD}. "
    f"If not, {_FIX}"
)
_NO_NUMBERS = (
    f"{_INTEGERS}, and this document has a value in it that is not a number. If the document is wrong, {_FIX}. If the "
    "type is wrong, declare the right one in TYPESENSE_SCHEMA_FILE and drop the collection: it is created again, and "
    "every document is synced"
)
_FIELD = r"ield `(?P<field>.+)` "

# The error's pattern, the hint in short and in full, and the type that the field should have. The first match counts.
_BY_ERROR: tuple[tuple[re.Pattern[str], str, str, str], ...] = tuple(
    (re.compile(_FIELD + words), short, text, field_type)
    for words, short, text, field_type in (
        (
            r"is int32 in Typesense: declare",
            "give `{field}` the type int64",
            "This document has a number beyond 32 bits in `{field}`. Give the field the type int64" + _CHANGE_FIELD,
            "int64",
        ),
        (
            r"is int32\[\] in Typesense: declare",
            "give `{field}` the type int64[]",
            "This document has a number beyond 32 bits in `{field}`. Give the field the type int64[]" + _CHANGE_FIELD,
            "int64[]",
        ),
        (r"is int(?:32|64) in Typesense, and", "give `{field}` the type float", _FRACTIONS, "float"),
        (r"is int(?:32|64)\[\] in Typesense, and", "give `{field}` the type float[]", _FRACTIONS, "float[]"),
        (r"must be an (?:array of )?int(?:32|64)\.", "fix `{field}` in the document", _NO_NUMBERS, ""),
        (
            r"has been declared as a default sorting field",
            "give the document a `{field}`",
            "The collection is sorted by `{field}`, so every document needs one: " + _FIX,
            "",
        ),
        (
            r"has been declared in the schema, but is not found",
            "make `{field}` optional",
            'The schema requires `{field}` in every document. Declare it with "optional": true'
            " (`PATCH /collections/…`: drop the field and add it again; also in TYPESENSE_SCHEMA_FILE), "
            "then replay. Or " + _FIX,
            "",
        ),
        (
            r"(?:must be a 2 element|must contain 2 element|must be a geopoint|is a geopoint in|is a place outside)",
            "fix the place in `{field}`",
            "A place is a GeoJSON Point, a pair [longitude, latitude] or an object with `lng` and `lat`. The longitude "
            "comes first, and both are required. Several places need a field of the type geopoint[]. If the document "
            "is wrong, " + _FIX,
            "",
        ),
        (
            r"is invalid\.",
            "declare `{field}`",
            "Typesense cannot detect a type for an array of arrays. If these are places, give `{field}` "
            "the type geopoint[]" + _CHANGE_FIELD + ". If they are not, " + _FIX,
            "geopoint[]",
        ),
        (
            r"(?:must be |has an incorrect type)",
            "fix `{field}` in the document",
            "Typesense has another type for `{field}` than this document (with `auto`, the first value decides). "
            "If the document is wrong, " + _FIX + ". If the type is wrong, declare the right one in "
            "TYPESENSE_SCHEMA_FILE and drop the collection: it is created again, and every document is synced",
            "",
        ),
    )
)

_BY_REASON = {
    "unusable id": Hint(
        "give it another `_id`",
        "This `_id` cannot be a Typesense id, so a replay cannot help. Store the document under another `_id` "
        "(1 to 1024 bytes, valid text) and delete this one",
    ),
    "id collision": Hint(
        "delete one of the two",
        "Another document's `_id` has the same text, and Typesense shows that document. Delete one of the "
        "two in MongoDB, "
        "or store it under another `_id`. If the other one has been deleted, replay",
    ),
    "unreadable document": Hint(
        "rewrite the document",
        "MongoDB holds bytes for this document that no driver can decode, such as a binary with a wrong inner length. "
        "Write the document again: that change syncs it, without a replay",
    ),
    "transform failed": Hint(
        "fix the transform",
        "The route's `transform` fails for this document, at the line that the error names. Fix it, restart every "
        "replica, then replay. If the document is wrong, " + _FIX,
    ),
    **{
        reason: Hint(
            "fix the value, or declare another form",
            "The route declares a form for this field (`types`), and this document has a value that the form has no "
            "place for. If the document is wrong, " + _FIX + ". If the form is, change it in the routes file: every "
            "document of the route is synced again",
        )
        for reason in ("no number", "no text", "no boolean", "no date")
    },
    "view failed": Hint(
        "fix the document, or the pipeline",
        "MongoDB's aggregation for the route's view fails for this document: its pipeline, filter or lookups meet a "
        "value that they cannot use, such as a zero to divide by. If the document is wrong, " + _FIX + ". If not, let "
        "the route's declaration provide for such values (`$ifNull`, `$cond`, `$convert` with `onError`)",
    ),
    "view too large": Hint(
        "look up fewer fields",
        "With what its lookups find, this document has more than the 16 MB that MongoDB can return. Name only the "
        "`fields` of the lookup that search needs, or show a `summary`",
    ),
    "Typesense takes too long": Hint(
        "store less in the document",
        "Typesense does not write this document in time, although it writes others. Store less in it, or raise "
        "TYPESENSE_CONNECTION_TIMEOUT and LEASE_TTL; then replay",
    ),
    "too large for a proxy": Hint(
        "raise the proxy's limit",
        "A proxy in front of Typesense refuses a request with this document alone. Raise its limit for a "
        "request's size "
        "(`client_max_body_size` in nginx), or for a request line if this is a deletion, then replay. Or store less in "
        "the document",
    ),
    "refused by a proxy": Hint(
        "let imports pass the firewall",
        "A proxy or firewall in front of Typesense refuses a request with this document alone, because of something in "
        "its text. Let requests to `/collections/` pass without inspection, then replay",
    ),
    "too many field names": Hint(
        "leave the object out of the index",
        "Every name inside the object becomes a field, and so many fields crash Typesense. Leave the object out of the "
        'index (add a field to the schema with "name": "NAME.*", "type": "auto", "index": false, '
        '"optional": true, where '
        "NAME is the object's name; drop NAME first if the collection has it), or store it as an array of names and "
        "values; then replay",
    ),
    **{
        reason: Hint("fix the document", f"Typesense cannot store the document as it is: {_FIX}")
        for reason in (
            "cannot be written as JSON",
            "nested too deeply",
            "not a number in JSON",
            "not a place on Earth",
            "not valid text",
            "number too large",
            "unusable field name",
        )
    },
}


def hint(reason: str, error: str) -> Hint | None:
    """How to fix a dead letter with this reason and error; None if that is not known."""
    for words, short, text, field_type in _BY_ERROR:
        found = words.search(error)
        if found is not None:
            field = found["field"]
            name = orjson.dumps(field).decode()
            return Hint(short.format(field=field), text.format(field=field, name=name, type=field_type) + ".")
    known = _BY_REASON.get(reason)
    return None if known is None else Hint(known.short, known.text + ".")
