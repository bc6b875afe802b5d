"""What repairs a dead letter, where its reason and error tell: a sentence for people. Pure.

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


_FIX = "fix the document in MongoDB: that change syncs it again, without a replay"
_CHANGE_FIELD = (
    ': `PATCH /collections/…` with {{"fields": [{{"name": {name}, "drop": true}}, {{"name": {name}, "type": "{type}", '
    '"optional": true}}]}} changes the live collection, and the same in TYPESENSE_SCHEMA_FILE is for the day it is '
    "created again; then replay"
)
_INTEGERS = "`{field}` is a field of integers (with `auto` the first value that Typesense sees decides)"
_FRACTIONS = (
    f"{_INTEGERS}, and cannot hold this number. If it may hold fractions, give it the type {{type}}{_CHANGE_FIELD}. "
    f"If not, {_FIX}"
)
_NO_NUMBERS = (
    f"{_INTEGERS}, and this document has something in it that is no number. If the document is wrong, {_FIX}. If the "
    "type is, declare the right one in TYPESENSE_SCHEMA_FILE and drop the collection: it is made anew, and every "
    "document is synced"
)
_FIELD = r"ield `(?P<field>.+)` "

# The words of an error, what to do in short and in full, and the type that the field should have.
# The first that fits counts.
_BY_ERROR: tuple[tuple[re.Pattern[str], str, str, str], ...] = tuple(
    (re.compile(_FIELD + words), short, text, field_type)
    for words, short, text, field_type in (
        (
            r"is int32 in Typesense: declare",
            "give `{field}` the type int64",
            "`{field}` holds a number beyond 32 bits. Give the field the type int64" + _CHANGE_FIELD,
            "int64",
        ),
        (
            r"is int32\[\] in Typesense: declare",
            "give `{field}` the type int64[]",
            "`{field}` holds a number beyond 32 bits. Give the field the type int64[]" + _CHANGE_FIELD,
            "int64[]",
        ),
        (r"is int(?:32|64) in Typesense, and", "give `{field}` the type float", _FRACTIONS, "float"),
        (r"is int(?:32|64)\[\] in Typesense, and", "give `{field}` the type float[]", _FRACTIONS, "float[]"),
        (r"must be an (?:array of )?int(?:32|64)\.", "fix `{field}` in the document", _NO_NUMBERS, ""),
        (
            r"has been declared as a default sorting field",
            "give the document a `{field}`",
            "The collection is sorted by `{field}`, so that every document needs one: " + _FIX,
            "",
        ),
        (
            r"has been declared in the schema, but is not found",
            "make `{field}` optional",
            'The schema demands `{field}` of every document. Declare it with "optional": true'
            " (`PATCH /collections/…`: drop the field and add it again; and in TYPESENSE_SCHEMA_FILE), then replay. Or "
            + _FIX,
            "",
        ),
        (
            r"(?:must be a 2 element|must contain 2 element|must be a geopoint|is a geopoint in|is a place outside)",
            "fix the place in `{field}`",
            "A place is a GeoJSON Point, a pair [longitude, latitude] or an object with `lng` and `lat`; the longitude "
            "comes first, and both exist. Several of them need a field of the type geopoint[]. If the document is "
            "wrong, " + _FIX,
            "",
        ),
        (
            r"is invalid\.",
            "declare `{field}`",
            "Typesense detects no type for an array of arrays: if these are places, give `{field}` the type geopoint[]"
            + _CHANGE_FIELD
            + ". If they are not, "
            + _FIX,
            "geopoint[]",
        ),
        (
            r"(?:must be |has an incorrect type)",
            "fix `{field}` in the document",
            "Typesense knows `{field}` as another type than this document has (with `auto` the first value decides). "
            "If the document is wrong, " + _FIX + ". If the type is, declare the right one in "
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
    "unreadable document": Hint(
        "write the document anew",
        "MongoDB holds bytes for this document that no driver can decode, such as a binary with a wrong inner length. "
        "Write the document anew; that change syncs it again, without a replay",
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
    "too many field names": Hint(
        "leave the object out of the index",
        "Every name inside the object becomes a field, and so many crash Typesense. Leave it out of the index (add a "
        'field to the schema, with the object\'s name in `"name": "NAME.*"`, and "type": "auto", "index": false, '
        '"optional": true; drop NAME first where the collection has it), or store it as an array of names and values; '
        "then replay",
    ),
    **{
        reason: Hint("fix the document", f"Typesense cannot show the document as it is: {_FIX}")
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
