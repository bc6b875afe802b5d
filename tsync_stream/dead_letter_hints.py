"""What mends a dead letter, where its reason and error tell: a sentence for people. Pure.

Invariant: no hint is better than a wrong one. The errors are Typesense's own words (seen with 0.24.1) and ours.
"""

import re
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Hint:
    """`short` fits into a list; `text` says how to do it."""

    short: str
    text: str


_MEND = "mend the document in MongoDB: that change syncs it again, without a replay"
_CHANGE_FIELD = (
    ': `PATCH /collections/…` with {{"fields": [{{"name": {name}, "drop": true}}, {{"name": {name}, "type": "{type}", '
    '"optional": true}}]}} changes the live collection, and the same in TYPESENSE_SCHEMA_FILE is for the day it is '
    "created again; then replay"
)
_INTEGERS = "`{field}` is a field of integers (with `auto` the first value that Typesense sees decides). If it may hold"
_FIELD = r"ield `(?P<field>.+)` "

# The words of an error, what to do in short and in full, and the type that the field should have.
# The first that fits counts.
_BY_ERROR: tuple[tuple[re.Pattern[str], str, str, str], ...] = tuple(
    (re.compile(_FIELD + words), short, text, field_type)
    for words, short, text, field_type in (
        (
            r"is int32 in Typesense",
            "give `{field}` the type int64",
            "`{field}` holds a number beyond 32 bits. Give the field the type int64" + _CHANGE_FIELD,
            "int64",
        ),
        (
            r"must be an int(?:32|64)\.",
            "give `{field}` the type float",
            _INTEGERS + " fractions, give it the type float" + _CHANGE_FIELD + ". If this is no number, " + _MEND,
            "float",
        ),
        (
            r"must be an array of int(?:32|64)\.",
            "give `{field}` the type float[]",
            _INTEGERS + " fractions, give it the type float[]" + _CHANGE_FIELD + ". If these are no numbers, " + _MEND,
            "float[]",
        ),
        (
            r"has been declared as a default sorting field",
            "give the document a `{field}`",
            "The collection is sorted by `{field}`, so that every document needs one: " + _MEND,
            "",
        ),
        (
            r"has been declared in the schema, but is not found",
            "make `{field}` optional",
            'The schema demands `{field}` of every document. Declare it with "optional": true'
            " (`PATCH /collections/…`: drop the field and add it again; and in TYPESENSE_SCHEMA_FILE), then replay. Or "
            + _MEND,
            "",
        ),
        (
            r"(?:must be a 2 element|must contain 2 element|must be a geopoint|is not \[latitude)",
            "mend the place in `{field}`",
            "A geopoint is a GeoJSON Point in MongoDB, longitude first, with a longitude and a latitude that exist: "
            + _MEND,
            "",
        ),
        (
            r"(?:must be |has an incorrect type)",
            "mend `{field}` in the document",
            "Typesense knows `{field}` as another type than this document has (with `auto` the first value decides). "
            "If the document is wrong, " + _MEND + ". If the type is, declare the right one in "
            "TYPESENSE_SCHEMA_FILE and drop the collection: it is made anew, and every document is synced",
            "",
        ),
    )
)

_BY_REASON = {
    "unusable id": Hint(
        "give it another `_id`",
        "No Typesense id can be made of this `_id`, so a replay cannot help. Store the document under another `_id` "
        "(1 to 1024 bytes, valid text) and delete this one",
    ),
    "id collision": Hint(
        "delete one of the two",
        "Another document's `_id` has the same text, and is shown in Typesense. Delete one of the two in MongoDB, or "
        "store it under another `_id`; if the other one was deleted, replay",
    ),
    "Typesense takes too long": Hint(
        "store less in the document",
        "Typesense does not write this document in time, though it writes others. Store less in it, or give it more "
        "time with TYPESENSE_CONNECTION_TIMEOUT and LEASE_TTL, then replay",
    ),
    "too large for a proxy": Hint(
        "raise the proxy's limit",
        "A proxy before Typesense refuses a request that holds this document alone. Raise its limit for a request's "
        "size (`client_max_body_size` in nginx), or that for a request line if this is a deletion, then replay; or "
        "store less in the document",
    ),
    "refused by a proxy": Hint(
        "let the firewall pass imports",
        "A proxy or firewall before Typesense refuses a request that holds this document alone, for something in its "
        "text. Let requests to `/collections/` pass it unread, then replay",
    ),
    **{
        reason: Hint("mend the document", f"Typesense cannot show the document as it is: {_MEND}")
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
    """What to do about a dead letter with this reason and error; None if that is not known."""
    for words, short, text, field_type in _BY_ERROR:
        found = words.search(error)
        if found is not None:
            field = found["field"]
            name = orjson.dumps(field).decode()
            return Hint(short.format(field=field), text.format(field=field, name=name, type=field_type) + ".")
    known = _BY_REASON.get(reason)
    return None if known is None else Hint(known.short, known.text + ".")
