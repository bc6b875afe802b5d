"""The key of a document (its MongoDB `_id`) and its Typesense id. `key_candidates` has the inverse.

Invariant, tested against MongoDB's own idea of equality: keys that MongoDB considers equal (12, 12.0 and
Decimal128("12.0")) have one Typesense id and one canonical form. Keys that it tells apart have different canonical
forms, even where Python says `1 == True == 1.0`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import Any
from uuid import UUID

import bson
from bson import json_util
from bson.binary import Binary, UuidRepresentation
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128, create_decimal128_context
from bson.errors import BSONError
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.model import UnreadableKey

MAX_KEY_BYTES = 1024
"""The longest key that is synced, in bytes of its BSON value (of a string: its UTF-8 bytes)."""

MAX_STORED_KEY_BYTES = 16_384  # MongoDB limits an `_id` only by the document's size

# No content of a document stops the batch that it is read with:
# - invalid UTF-8 becomes lone surrogates, which no valid text has. "replace" would turn it into another valid
#   text, and the key into another key, which MongoDB then does not find.
# - a UUID of a wrong length raises as `UUID` and does not as `Binary`: so UUIDs stay Binary, subtype 4.
# - a date outside of Python's years becomes a DatetimeMS.
BSON_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    unicode_decode_error_handler="surrogateescape",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""How every document and every key of the source is decoded, and keys are encoded for a query."""


JSON_OPTIONS: json_util.JSONOptions = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED,
    tz_aware=True,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
UUID_SUBTYPE = 4
UUID_BYTES = 16
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL_CONTEXT = create_decimal128_context()
_NOT_UTF8 = "its text is not valid UTF-8"

NUMBERS = frozenset({int, Int64, float, Decimal128})


def can_be_stored(key: Any) -> bool:
    """Whether a key can be part of what we store (pure): it is valid UTF-8, and every barrier has room for it."""
    try:
        return len(canonical_key(key)) <= MAX_STORED_KEY_BYTES
    except DocumentRejected:
        return False


def typesense_id(key: Any) -> str:
    """Return the Typesense id of a key: its own text if it has one, relaxed extended JSON otherwise.

    Raises DocumentRejected("unusable id"): for an empty text (Typesense refuses it), invalid UTF-8, more than
    MAX_KEY_BYTES, and for what cannot be an `_id` in MongoDB.
    """
    kind = type(key)
    if kind is ObjectId:
        return key.binary.hex()  # type: ignore[no-any-return]  # half the time of str(key)
    if kind is str:
        # ASCII text, which Python recognizes at no cost, has as many bytes as characters.
        if not (key.isascii() and 0 < len(key) <= MAX_KEY_BYTES):
            _check_text(key)
        return key  # type: ignore[no-any-return]
    if kind in NUMBERS:
        return _number_text(_canonical_number(key))
    if kind is Binary and is_uuid(key):
        return uuid_text(key)
    return _text_of_rare_type(key)


def canonical_key(key: Any) -> bytes:
    """Return bytes that are equal for two keys exactly when MongoDB considers them the same `_id`.

    They are the BSON type and value, with every number in a canonical form: an int if it is integral and fits 64 bits,
    otherwise a double if one is exactly equal, otherwise a Decimal128. A collection's collation is ignored: "a" and "A"
    are two keys, even where MongoDB lets only one of them exist.
    Raises DocumentRejected("unusable id") for what cannot be an `_id` in MongoDB; any length will do.
    """
    kind = type(key)
    if kind is ObjectId:
        return b"\x07" + key.binary  # type: ignore[no-any-return]
    if kind is str:
        try:
            return b"\x02" + key.encode()  # type: ignore[no-any-return]
        except UnicodeEncodeError:
            raise _unusable(_NOT_UTF8) from None
    return _bson_type_and_value(_canonical(key))


def uuid_text(raw: bytes) -> str:
    """Return the usual text of a UUID's 16 bytes (subtype 4: in network order)."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_uuid(value: bytes) -> bool:
    """Tell whether a binary value is a UUID of subtype 4, the only one whose byte order is known."""
    return isinstance(value, Binary) and value.subtype == UUID_SUBTYPE and len(value) == UUID_BYTES


def _unusable(problem: str) -> DocumentRejected:
    return DocumentRejected("unusable id", problem)


def _check_text(text: str) -> None:
    if not text:
        raise _unusable("it is an empty text")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _unusable(_NOT_UTF8) from None
    _check_size(size)


def _check_size(size: int) -> None:
    if size > MAX_KEY_BYTES:
        raise _unusable(f"it has {size} bytes, more than {MAX_KEY_BYTES}")


def _text_of_rare_type(key: Any) -> str:
    canonical = _canonical(key)
    _check_size(len(_bson_type_and_value(canonical)) - 1)
    if isinstance(canonical, bytes) and is_uuid(canonical):
        return uuid_text(canonical)
    if isinstance(canonical, DatetimeMS):
        try:
            moment = _EPOCH + timedelta(milliseconds=int(canonical))
        except OverflowError:
            pass  # before year 1 or after 9999: left to extended JSON
        else:
            return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    return json_util.dumps(canonical, json_options=JSON_OPTIONS, ensure_ascii=False, separators=(",", ":"))


def _bson_type_and_value(canonical: Any) -> bytes:
    # {"": value} is: length (4 bytes), type (1), end of the name (1), value, end of the document (1).
    try:
        encoded = bson.encode({"": canonical}, codec_options=BSON_OPTIONS)
    except UnicodeEncodeError:
        raise _unusable(_NOT_UTF8) from None
    except (BSONError, OverflowError, RecursionError) as error:
        raise _unusable(f"it cannot be written as BSON ({type(error).__name__})") from None
    return encoded[4:5] + encoded[6:-1]


def _canonical(key: Any) -> Any:
    """Return the key with every number, date, UUID and reference in its canonical form, at any depth."""
    if isinstance(key, UnreadableKey):
        raise _unusable("its BSON cannot be decoded")
    if isinstance(key, list | tuple | Regex):
        # MongoDB would refuse it; and in a query, a regular expression would match other texts.
        raise _unusable("MongoDB has no array and no regular expression as _id")
    return _canonical_value(key)


def _canonical_value(value: Any) -> Any:
    kind = type(value)
    if kind in NUMBERS:
        return _canonical_number(value)
    if kind is datetime:
        return DatetimeMS(value)
    if kind is UUID:
        return Binary(value.bytes, UUID_SUBTYPE)
    if kind is DBRef:
        return {name: _canonical_value(item) for name, item in value.as_doc().items()}
    if kind is Code and value.scope is not None:
        return Code(str(value), _canonical_value(value.scope))
    if isinstance(value, Mapping):
        return {_field_name(name): _canonical_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical_value(item) for item in value]
    return value


def _field_name(name: str) -> str:
    # MongoDB refuses them too. In a query they would be operators and fail the look-up of the whole batch, and in
    # extended JSON they would stand for a value of another type.
    if name.startswith("$"):
        raise _unusable("a field name in it begins with $")
    return name


def _canonical_number(value: int | float | Decimal128) -> int | float | Decimal128:
    if isinstance(value, int):
        if not _INT64_MIN <= value <= _INT64_MAX:
            raise _unusable("it is an integer beyond 64 bits")
        return int(value)
    if isinstance(value, float):
        if not value.is_integer() or not _INT64_MIN <= value <= _INT64_MAX:
            return float("nan") if isnan(value) else value  # NaN has many bit patterns
        whole = int(value)  # -0.0 becomes 0; 2.0**63 compares below the rounded _INT64_MAX and is too large
        return whole if whole <= _INT64_MAX else value
    exact = value.to_decimal()
    if exact.is_nan():
        return float("nan")
    if exact.is_infinite():
        return float(exact)
    if exact.is_zero() or (_INT64_MIN <= exact <= _INT64_MAX and exact == exact.to_integral_value()):
        return int(exact)
    nearest = float(exact)
    if isfinite(nearest) and Decimal(nearest) == exact:
        return nearest
    return Decimal128(exact.normalize(_DECIMAL_CONTEXT))


def _number_text(number: int | float | Decimal128) -> str:
    if isinstance(number, float) and not isfinite(number):
        return "NaN" if isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return str(number)
