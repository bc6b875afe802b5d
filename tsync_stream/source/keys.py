"""The key of a document (its MongoDB `_id`), its Typesense id, and the way back.

Invariants, each held by a test against MongoDB's own idea of equality:
- Keys that MongoDB takes for one `_id` (12, 12.0 and Decimal128("12.0")) have one Typesense id and one
  canonical form; keys that it tells apart have two, even where Python says `1 == True == 1.0`.
- Different keys may share a Typesense id, which is always text: `12` and `"12"`, an ObjectId and its hex
  digits. `candidate_keys` gives every one of them, so that all can be looked up in the source.
- Every key that it gives can stand in MongoDB's `{"_id": {"$in": [...]}}` and means itself there.
"""

import re
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
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.model import UnreadableKey

MAX_KEY_BYTES = 1024
"""The longest key that is synced, in bytes of its BSON value (of a string: its UTF-8 bytes)."""

MAX_STORED_KEY_BYTES = 16_384  # MongoDB sets an `_id` no limit but the document's

# Nothing that a document may hold stops the batch that it is read with:
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


_JSON_OPTIONS: json_util.JSONOptions = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED,
    tz_aware=True,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
_UUID_SUBTYPE = 4
_UUID_BYTES = 16
_UUID_DIGITS = 36  # with its hyphens
_OBJECT_ID_DIGITS = 24
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL_CONTEXT = create_decimal128_context()
_NOT_UTF8 = "its text is not valid UTF-8"
# No other type's text begins in another way: what does not match is a string, as nearly all text is.
_MAY_BE_ANOTHER_TYPE = re.compile(r"-?[0-9]|\{|[0-9a-f]{8}-|(?:null|true|false|NaN|-?Infinity)\Z")
_SHORT_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,17})\Z")  # every one fits 64 bits

# The order in which MongoDB compares types (reference manual, "Comparison/Sort Order"; seen the same on 6.0).
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
_NUMBERS = frozenset({int, Int64, float, Decimal128})


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
        # ASCII, which Python knows without looking, has as many bytes as characters.
        if not (key.isascii() and 0 < len(key) <= MAX_KEY_BYTES):
            _check_text(key)
        return key  # type: ignore[no-any-return]
    if kind in _NUMBERS:
        return _number_text(_canonical_number(key))
    if kind is Binary and is_uuid(key):
        return uuid_text(key)
    return _text_of_rare_type(key)


def canonical_key(key: Any) -> bytes:
    """Return bytes that are equal for two keys exactly when MongoDB takes them for one `_id`.

    They are the BSON type and value, with every number in the one form that its value has: an int where it
    is integral and fits 64 bits, else a double where one is exactly equal, else a Decimal128. A collection's
    collation is left aside: "a" and "A" are two keys, even where MongoDB lets only one of them exist.
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


def bson_order(key: Any) -> tuple[int, int, Decimal]:
    """Return a sort key in MongoDB's order of types; numbers are in the order of their exact values.

    Within another type it is constant: no two candidates for one Typesense id are of one such type.
    Raises KeyError for what cannot be an `_id`.
    """
    kind = type(key)
    rank = _TYPE_ORDER[dict] if isinstance(key, Mapping) else _TYPE_ORDER[kind]
    if kind not in _NUMBERS:
        return rank, 0, Decimal(0)
    value = key.to_decimal() if kind is Decimal128 else Decimal(key)
    if value.is_nan():
        return rank, 0, Decimal(0)  # MongoDB: NaN comes before every other number
    return rank, 1, value


def candidate_keys(text: str) -> list[Any]:
    """Return every key whose Typesense id is this text, in BSON order; none if it can be nobody's.

    Of numbers that MongoDB takes for one there is one: its `$in` finds the others by it.
    """
    # The usual keys first, each in about a microsecond: it is paid for every document that is synced.
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
        if len(raw) == _UUID_BYTES and uuid_text(raw) == text:
            return [text, Binary(raw, _UUID_SUBTYPE)]
    return _all_candidates(text, keys)


def keys_sharing_id(key: Any, text: str) -> list[Any]:
    """Return `candidate_keys(text)` for the text of a key that is known, in half a microsecond less for the usual."""
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


def uuid_text(raw: bytes) -> str:
    """Return the usual text of a UUID's 16 bytes (subtype 4: in network order)."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def is_uuid(value: bytes) -> bool:
    """Tell whether a binary value is a UUID in the one form whose byte order is known (subtype 4)."""
    return isinstance(value, Binary) and value.subtype == _UUID_SUBTYPE and len(value) == _UUID_BYTES


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
            pass  # before year 1 or after 9999: extended JSON has a form for it
        else:
            return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    return json_util.dumps(canonical, json_options=_JSON_OPTIONS, ensure_ascii=False, separators=(",", ":"))


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
    """Return the key with every number, date, UUID and reference in one form, at any depth."""
    if isinstance(key, UnreadableKey):
        raise _unusable("its BSON cannot be decoded")
    if isinstance(key, list | tuple | Regex):
        # Not only would MongoDB refuse it: a regular expression in a query means every text that matches it.
        raise _unusable("MongoDB has no array and no regular expression as _id")
    return _canonical_value(key)


def _canonical_value(value: Any) -> Any:
    kind = type(value)
    if kind in _NUMBERS:
        return _canonical_number(value)
    if kind is datetime:
        return DatetimeMS(value)
    if kind is UUID:
        return Binary(value.bytes, _UUID_SUBTYPE)
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
    # MongoDB refuses them too. In a query they would be operators and fail the whole batch's look-up,
    # and in extended JSON they would stand for another type's value.
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
    """Return what the text may mean in types other than a string; the caller checks each."""
    readings: list[Any] = []
    for read in (int, float, Decimal128, ObjectId, _read_uuid, _read_date, _read_json):
        try:
            readings.append(read(text))
        except (ValueError, ArithmeticError, LookupError, TypeError, RecursionError, BSONError):
            continue
    return readings


def _read_uuid(text: str) -> Binary:
    return Binary(UUID(text).bytes, _UUID_SUBTYPE)


def _read_date(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _read_json(text: str) -> Any:
    return json_util.loads(text, json_options=_JSON_OPTIONS)
