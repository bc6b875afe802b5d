"""From a BSON document to the Typesense document that shows it. docs/mapping.md has the table in plain words.

Invariants:
- Pure: the same document and options give the same result, so a comparison of both sides can map again.
- What it gives is stored by Typesense exactly as it is sent (seen with 0.24.1): hence no null anywhere.
- A document that could harm others of its batch, or the collection, is refused here and never sent.
- Errors name the field and the type, never a value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from struct import Struct
from typing import Any, Literal
from uuid import UUID

import orjson
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from bson.tz_util import utc

from tsync_stream.errors import DocumentRejected
from tsync_stream.source.keys import is_uuid, typesense_id, uuid_text

DateUnit = Literal["s", "ms"]

RENAMED_ID_FIELD = "id_"
"""Where a source field `id` goes: in Typesense `id` is the document's key."""

# With the decoder's own tzinfo: subtracting dates of one tzinfo object asks it nothing, and is 14 times faster.
_EPOCH = datetime(1970, 1, 1, tzinfo=utc)
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_LEFT_OUT: Any = object()
_AS_IT_IS = frozenset({str, bool})
_LONGEST_PATH = 200
_TWO_UINT64 = Struct("<QQ")
_LARGEST_EXACT = 2**53
_POWERS_OF_TEN = tuple(10.0**power for power in range(23))  # 10.0**22 is the largest that is exact


@dataclass(frozen=True, slots=True)
class MappingOptions:
    """What can be chosen about the mapping. A change needs a reconcile: it is part of the fingerprint."""

    date_unit: DateUnit = "s"
    """The unit of every date: whole seconds (rounded down) or milliseconds since 1970, UTC."""


class _RefusedError(Exception):
    """A value that cannot be written; each level that it passes through adds its name to the path."""

    def __init__(self, reason: str, problem: str, *path: str) -> None:
        self.reason = reason
        self.problem = problem
        self.path = list(path)

    def rejection(self) -> DocumentRejected:
        return DocumentRejected(self.reason, f"field `{_path_text(reversed(self.path))}` {self.problem}")


_Converters = Mapping[type, Callable[[Any, Any], Any]]


def map_document(document: Mapping[str, Any], options: MappingOptions) -> dict[str, Any]:
    """Return the Typesense document for a BSON document decoded with `BSON_OPTIONS`.

    Raises DocumentRejected: "unusable id", "unusable field name" (others would fail in Typesense for it),
    "not a number in JSON", "number too large", "not a place on Earth", "unknown type", "nested too deeply".
    """
    fields = iter(document.items())
    name, key = next(fields, (None, None))
    if name != "_id" or "id" in document:  # MongoDB stores the `_id` first, and few call another field `id`
        key, fields = _key_and_fields(document)
    mapped: dict[str, Any] = {"id": typesense_id(key)}
    try:
        _map_fields(fields, mapped, _CONVERTERS[options.date_unit])
    except _RefusedError as refused:
        raise refused.rejection() from None
    except RecursionError:
        raise DocumentRejected("nested too deeply", "objects and arrays within each other") from None
    if min(mapped) < "0":  # as an empty name is, and one of dots: few others, so the next line is rarely reached
        _check_names_at_the_top(mapped)
    return mapped


def _key_and_fields(document: Mapping[str, Any]) -> tuple[Any, Iterator[tuple[str, Any]]]:
    """The `_id` and the other fields, of which `id` gets another name and the last place."""
    fields = dict(document)
    try:
        key = fields.pop("_id")
    except KeyError:
        raise DocumentRejected("unusable id", "the document has no _id") from None
    if "id" in fields:
        if RENAMED_ID_FIELD in fields:
            raise DocumentRejected("unusable field name", f"`id` and `{RENAMED_ID_FIELD}` cannot be told apart")
        fields[RENAMED_ID_FIELD] = fields.pop("id")
    return key, iter(fields.items())


def encode_line(mapped: Mapping[str, Any]) -> bytes:
    """Return a mapped document as one line of JSON, without the line's end.

    Raises DocumentRejected: "not valid text" for a string or a field name that was not UTF-8 in the source,
    "cannot be written as JSON" for what is nested beyond the encoder's limit.
    """
    try:
        return orjson.dumps(mapped)
    except orjson.JSONEncodeError:
        path = _invalid_text(mapped)
        if path is None:
            raise DocumentRejected("cannot be written as JSON", "it is nested too deeply") from None
        raise DocumentRejected("not valid text", f"field `{_path_text(path)}` is not UTF-8") from None


def _check_names_at_the_top(mapped: Mapping[str, Any]) -> None:
    for name in mapped:
        # To Typesense they mean the document itself. An empty one becomes the default sorting field, and every new
        # field is refused from then on; one of dots, once an object and then a number, stops all indexing for ever.
        if not name.strip("."):
            raise DocumentRejected("unusable field name", f"`{_path_text([name])}` is empty or made of dots")


def _map_fields(fields: Iterable[tuple[str, Any]], mapped: dict[str, Any], converters: _Converters) -> None:
    for name, value in fields:
        # Typesense takes a flattened name with `.*` in it for a pattern and fails the whole batch.
        if "*" in name and (".*" in name or name[0] == "*"):
            raise _RefusedError("unusable field name", "looks like a pattern to Typesense", name)
        kind = type(value)
        if kind in _AS_IT_IS:
            mapped[name] = value
            continue
        try:
            converted = (converters.get(kind) or _converter_of_base(value))(value, converters)
        except _RefusedError as refused:
            refused.path.append(name)
            raise
        if converted is not _LEFT_OUT:
            mapped[name] = converted


def _convert_object(value: Mapping[str, Any], converters: _Converters) -> Any:
    if len(value) == 2 and value.get("type") == "Point" and "coordinates" in value:
        place = _place(value["coordinates"])
        if place is not None:
            return place
    mapped: dict[str, Any] = {}
    _map_fields(value.items(), mapped, converters)
    return mapped


def _convert_array(value: list[Any], converters: _Converters) -> list[Any]:
    mapped = []
    for position, item in enumerate(value):
        kind = type(item)
        if kind in _AS_IT_IS:
            mapped.append(item)
            continue
        try:
            converted = (converters.get(kind) or _converter_of_base(item))(item, converters)
        except _RefusedError as refused:
            refused.path.append(str(position))
            raise
        if converted is not _LEFT_OUT:
            mapped.append(converted)
    return mapped


def _place(coordinates: Any) -> Any:
    """Return a GeoJSON position as Typesense's [lat, lng], or None if it is not meant as one.

    A height is dropped. No coordinates at all mean no place (RFC 7946, section 3.1): the field is left out.
    """
    if not isinstance(coordinates, list | tuple):
        return None
    if not coordinates:
        return _LEFT_OUT
    if len(coordinates) not in {2, 3}:
        return None
    lng, lat = coordinates[0], coordinates[1]
    if type(lng) not in _NUMBERS or type(lat) not in _NUMBERS:
        return None
    lng = _nearest_float(lng) if type(lng) is Decimal128 else lng
    lat = _nearest_float(lat) if type(lat) is Decimal128 else lat
    if not (-180 <= lng <= 180 and -90 <= lat <= 90):  # false for NaN too
        raise _RefusedError("not a place on Earth", "is a Point outside of longitude ±180, latitude ±90")
    # Always as floats: whole numbers first would make the field one of integers, and refuse all others.
    return [float(lat), float(lng)]


def _convert_int(value: int, _: _Converters) -> int:
    if _INT64_MIN <= value <= _INT64_MAX:
        return value
    raise _RefusedError("number too large", "is an integer beyond 64 bits")


def _convert_float(value: float, _: _Converters) -> float:
    if isfinite(value):
        return value
    raise _RefusedError("not a number in JSON", "is NaN or infinite")


def _convert_decimal(value: Decimal128, _: _Converters) -> float:
    number = _nearest_float(value)
    if isfinite(number):
        return number
    raise _RefusedError("not a number in JSON", "is a Decimal128 that is NaN, infinite or beyond a double")


def _nearest_float(value: Decimal128) -> float:
    # Most are a few digits and a small exponent: then both sides of one division are exact doubles, and its one
    # rounding is the right one. `to_decimal` takes thirty times as long. The format is that of IEEE 754-2008's
    # binary integer decimals: sign, 14 bits of exponent (bias 6176), 113 bits of coefficient.
    coefficient, high = _TWO_UINT64.unpack(value.bid)
    exponent = (high >> 49 & 0x3FFF) - 6176
    if high & 0x1FFFFFFFFFFFF == 0 and coefficient <= _LARGEST_EXACT and -22 <= exponent <= 0:
        number: float = coefficient / _POWERS_OF_TEN[-exponent]
        return -number if high >> 63 else number
    exact = value.to_decimal()
    return float(exact) if exact.is_finite() else float("nan")  # a signalling NaN would raise


def _convert_binary(value: bytes, _: _Converters) -> Any:
    return uuid_text(value) if is_uuid(value) else _LEFT_OUT


def _date_converters(unit: DateUnit) -> dict[type, Callable[[Any, Any], Any]]:
    # In integers throughout: a float of seconds would round some dates up.
    def seconds(value: datetime, _: _Converters) -> int:
        since = (value if value.tzinfo is not None else value.replace(tzinfo=utc)) - _EPOCH
        return since.days * 86_400 + since.seconds

    def milliseconds(value: datetime, _: _Converters) -> int:
        since = (value if value.tzinfo is not None else value.replace(tzinfo=utc)) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000

    if unit == "s":
        return {
            datetime: seconds,
            DatetimeMS: lambda value, _: int(value) // 1000,
            Timestamp: lambda value, _: value.time,
        }
    return {
        datetime: milliseconds,
        DatetimeMS: lambda value, _: int(value),
        Timestamp: lambda value, _: value.time * 1000,
    }


def _as_it_is(value: Any, _: _Converters) -> Any:
    return value


def _left_out(_value: Any, _: _Converters) -> Any:
    return _LEFT_OUT


_NUMBERS = frozenset({int, Int64, float, Decimal128})
_CONVERTERS: dict[DateUnit, _Converters] = {
    unit: {
        str: _as_it_is,
        bool: _as_it_is,
        int: _convert_int,
        Int64: _convert_int,
        float: _convert_float,
        Decimal128: _convert_decimal,
        dict: _convert_object,
        list: _convert_array,
        DBRef: lambda value, converters: _convert_object(value.as_doc(), converters),
        ObjectId: lambda value, _: value.binary.hex(),
        UUID: lambda value, _: str(value),
        Binary: _convert_binary,
        bytes: _left_out,
        type(None): _left_out,
        Regex: _left_out,
        Code: _left_out,
        MinKey: _left_out,
        MaxKey: _left_out,
        **_date_converters(unit),
    }
    for unit in ("s", "ms")
}


def _converter_of_base(value: Any) -> Callable[[Any, Any], Any]:
    """Return the converter for another kind of mapping or sequence than the decoder's own."""
    if isinstance(value, Mapping):
        return _convert_object
    if isinstance(value, tuple):
        return _convert_array
    raise _RefusedError("unknown type", f"is a {type(value).__name__}")


def _path_text(path: Any) -> str:
    # A field's name may be anything, a megabyte of invalid UTF-8 too: what we print is short and printable.
    text = ".".join(path).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_PATH else text[:_LONGEST_PATH] + "…"


def _invalid_text(value: Any) -> list[str] | None:
    """Return the path to the first text that is not UTF-8: looked for only once encoding has failed."""
    if isinstance(value, str):
        return None if _is_utf8(value) else []
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        path = _invalid_text(item) if _is_utf8(str(name)) else []
        if path is not None:
            return [str(name), *path]
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
