"""From a Typesense id back to every key that may have it.

Invariants: different keys may share an id, which is always text: `12` and `"12"`, an ObjectId and its hex digits.
`candidate_keys` returns all of them, to be looked up in the source. In MongoDB's `{"_id": {"$in": [...]}}`, each
matches only itself.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from bson import json_util
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.errors import BSONError
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import (
    JSON_OPTIONS,
    NUMBERS,
    UUID_BYTES,
    UUID_SUBTYPE,
    canonical_key,
    typesense_id,
    uuid_text,
)

# The text of every other type begins like this: what does not match is a string, as nearly all ids are.
_MAY_BE_ANOTHER_TYPE = re.compile(r"-?[0-9]|\{|[0-9a-f]{8}-|(?:null|true|false|NaN|-?Infinity)\Z")
_SHORT_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,17})\Z")  # every one fits 64 bits
_OBJECT_ID_DIGITS = 24
_UUID_DIGITS = 36  # with its hyphens

# The order in which MongoDB compares types (reference manual, "Comparison/Sort Order"; verified on 6.0).
_TYPES_IN_ORDER: tuple[tuple[type, ...], ...] = (
    (MinKey,),
    (type(None),),
    (int, Int64, float, Decimal128),
    (str,),
    (dict, DBRef),
    (bytes, Binary, UUID),
    (ObjectId,),
    (bool,),
    (datetime, DatetimeMS),
    (Timestamp,),
    (Code,),
    (MaxKey,),
)
_TYPE_ORDER = {kind: place for place, kinds in enumerate(_TYPES_IN_ORDER) for kind in kinds}


def bson_order(key: Any) -> tuple[int, int, Decimal]:
    """Return a sort key in MongoDB's order of types; numbers are in the order of their exact values.

    Within another type it is constant: no two candidates for one Typesense id are of one such type.
    Raises KeyError for what cannot be an `_id`.
    """
    kind = type(key)
    rank = _TYPE_ORDER[dict] if isinstance(key, Mapping) else _TYPE_ORDER[kind]
    if kind not in NUMBERS:
        return rank, 0, Decimal(0)
    value = key.to_decimal() if kind is Decimal128 else Decimal(key)
    if value.is_nan():
        return rank, 0, Decimal(0)  # MongoDB: NaN comes before every other number
    return rank, 1, value


def candidate_keys(text: str) -> list[Any]:
    """Return every key whose Typesense id is this text, in BSON order; none if no key has it.

    Of numbers that MongoDB considers equal there is one: with it, `$in` finds the others.
    """
    # The usual keys first, in about a microsecond each: every synced document pays for it.
    if len(text) == _OBJECT_ID_DIGITS and not text.isdigit():  # digits alone may also be a Decimal128
        raw = _bytes_of_hex(text)
        if raw.hex() == text:
            return [text, ObjectId(raw)]
    keys = [text] if _is_id_of(text, text) else []
    if _MAY_BE_ANOTHER_TYPE.match(text) is None:
        return keys
    if _SHORT_INTEGER.match(text):
        return [int(text), text]
    if len(text) == _UUID_DIGITS:
        raw = _bytes_of_hex(text.replace("-", ""))
        if len(raw) == UUID_BYTES and uuid_text(raw) == text:
            return [text, Binary(raw, UUID_SUBTYPE)]
    return _all_candidates(text, keys)


def keys_sharing_id(key: Any, text: str) -> list[Any]:
    """Return `candidate_keys(text)` for the text of a known key; half a microsecond faster for the usual ones."""
    if type(key) is ObjectId and not text.isdigit():
        return [text, key]
    return candidate_keys(text)


def _all_candidates(text: str, keys: list[Any]) -> list[Any]:
    seen = {canonical_key(key) for key in keys}
    for key in _readings(text):
        if _is_id_of(text, key) and (canonical := canonical_key(key)) not in seen:
            seen.add(canonical)
            keys.append(key)
    return sorted(keys, key=bson_order)


def _is_id_of(text: str, key: Any) -> bool:
    try:
        return typesense_id(key) == text
    except (DocumentRejected, RecursionError):
        return False


def _bytes_of_hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""


def _readings(text: str) -> list[Any]:
    """Return what the text may mean as types other than a string; the caller checks each."""
    readings: list[Any] = []
    for read in (int, float, Decimal128, ObjectId, _read_uuid, _read_date, _read_json):
        try:
            readings.append(read(text))
        except (ValueError, ArithmeticError, LookupError, TypeError, RecursionError, BSONError):
            continue
    return readings


def _read_uuid(text: str) -> Binary:
    return Binary(UUID(text).bytes, UUID_SUBTYPE)


def _read_date(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _read_json(text: str) -> Any:
    return json_util.loads(text, json_options=JSON_OPTIONS)
