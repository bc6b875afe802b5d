"""The forms that a route declares for its fields, where the default mapping is not wanted (pure).

Invariants: a value becomes exactly what the form says, or its document is refused; arrays are converted value by value,
and null stays null. Errors name the field, the form and the type of the value, never a value.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any
from uuid import UUID

from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import is_uuid, typesense_id
from tsync_stream.sink.values import NUMBERS, nearest_float, path_text

Convert = Callable[[Any], Any]

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_BOOLS = {"true": True, "false": False}
_BITS = {"int32": 31, "int64": 63}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_EXACT = 2**53


class _NoForm(Exception):
    """A value that the form has no place for; `problem` continues "and this …"."""

    def __init__(self, reason: str, problem: str) -> None:
        self.reason = reason
        self.problem = problem


def with_form(document: Mapping[str, Any], path: str, form: str) -> dict[str, Any]:
    """The document with all values at a path in a declared form; what it shares with the given one is not changed.

    Raises `DocumentRejected`: "no number", "no whole number", "value out of range", "no text", "no boolean", "no date".
    """
    convert = CONVERTERS[form]
    try:
        converted: dict[str, Any] = _below(document, path.split("."), convert)
    except _NoForm as error:
        detail = f"field `{path_text(path)}` is declared as {form.replace('_', ' ')}, and this {error.problem}"
        raise DocumentRejected(error.reason, detail) from None
    return converted


def _below(value: Any, names: Sequence[str], convert: Convert) -> Any:
    if isinstance(value, list):
        return [_below(item, names, convert) for item in value]
    if not names:
        return None if value is None else convert(value)
    if not isinstance(value, Mapping) or names[0] not in value:
        return value
    return {**value, names[0]: _below(value[names[0]], names[1:], convert)}


def _float(value: Any) -> float:
    kind = type(value)
    if kind is str and _NUMBER.fullmatch(value):
        number = float(value)
    elif kind in NUMBERS:
        number = nearest_float(value) if kind is Decimal128 else float(value)
    else:
        raise _NoForm("no number", _described(value))
    if not isfinite(number):
        raise _NoForm("no number", "is NaN, infinite or beyond a double")
    return number


def _whole(form: str) -> Convert:
    limit = 2 ** _BITS[form]

    def convert(value: Any) -> int:
        number = _whole_number(value)
        if -limit <= number < limit:
            return number
        raise _NoForm("value out of range", f"is a number beyond {_BITS[form] + 1} bits")

    return convert


def _whole_number(value: Any) -> int:
    kind = type(value)
    if kind in (int, Int64):
        return int(value)
    if kind is str:
        if _WHOLE.fullmatch(value):
            return int(value)
        raise _NoForm("no whole number", "is a text that is no whole number")
    if kind is float:
        if not -_LARGEST_EXACT <= value <= _LARGEST_EXACT:  # true for NaN
            raise _NoForm("no whole number", "is a double beyond 2^53, NaN or infinite")
        if value.is_integer():
            return int(value)
    elif kind is Decimal128:
        exact = value.to_decimal()
        if not exact.is_finite() or exact.adjusted() > 18:
            raise _NoForm("no whole number", "is a Decimal128 beyond 64 bits, NaN or infinite")
        if exact == int(exact):
            return int(exact)
    else:
        raise _NoForm("no whole number", _described(value))
    raise _NoForm("no whole number", "number has a fraction")


def _string(value: Any) -> str:
    """The text that an `_id` with this value would have."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is Timestamp:
        value, kind = value.as_datetime(), datetime
    texts = (bool, int, Int64, float, Decimal128, datetime, DatetimeMS, ObjectId, UUID)
    if kind in texts or (kind is Binary and is_uuid(value)):
        return typesense_id(value)
    raise _NoForm("no text", _described(value))


def _bool(value: Any) -> bool:
    if type(value) is bool:
        return bool(value)
    if type(value) is str and value.lower() in _BOOLS:
        return _BOOLS[value.lower()]
    if type(value) in NUMBERS:
        number = nearest_float(value) if type(value) is Decimal128 else value
        if number in (0, 1):
            return bool(number)
        raise _NoForm("no boolean", "is a number other than 0 and 1")
    raise _NoForm("no boolean", _described(value))


def _date(per_second: int) -> Convert:
    def convert(value: Any) -> int:
        if type(value) is Timestamp:
            return int(value.time) * per_second
        return _milliseconds(value) * per_second // 1000

    return convert


def _milliseconds(value: Any) -> int:
    if type(value) is DatetimeMS:
        return int(value)
    if type(value) is str:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _NoForm("no date", "is a text that is no ISO 8601 date") from None
    if not isinstance(value, datetime):
        unit = "; the unit of a number is not known" if type(value) in NUMBERS else ""
        raise _NoForm("no date", _described(value) + unit)
    since = (value if value.tzinfo is not None else value.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _described(value: Any) -> str:
    return f"is of the type {type(value).__name__}"


CONVERTERS: Mapping[str, Convert] = {
    "float": _float,
    "int32": _whole("int32"),
    "int64": _whole("int64"),
    "string": _string,
    "bool": _bool,
    "date_s": _date(1),
    "date_ms": _date(1000),
}
