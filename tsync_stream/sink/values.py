"""Single BSON values as JSON values: what a number, a date or a text becomes for each kind of Typesense field.

Invariants:
- A converter takes a value and its node in the plan, and returns a JSON value or `LEFT_OUT`.
- Errors name the field and the type, never a value.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import isfinite
from struct import Struct
from typing import Any, Literal
from uuid import UUID

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from bson.tz_util import utc

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import is_uuid, typesense_id, uuid_text

DateUnit = Literal["s", "ms"]
Converter = Callable[[Any, Any], Any]
Converters = Mapping[type, Converter]

LEFT_OUT: Any = object()
NUMBERS = frozenset({int, Int64, float, Decimal128})

# With the decoder's own tzinfo: subtracting dates that share a tzinfo object does not call it, and is 14 times faster.
_EPOCH = datetime(1970, 1, 1, tzinfo=utc)
_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_LONGEST_PATH = 200
_TWO_UINT64 = Struct("<QQ")
_LARGEST_EXACT = 2**53
_POWERS_OF_TEN = tuple(10.0**power for power in range(23))  # 10.0**22 is the largest that is exact


class RefusedError(Exception):
    """A value that cannot be written. Each level that the error passes through adds its name to the path."""

    def __init__(self, reason: str, problem: str, *path: str) -> None:
        self.reason = reason
        self.problem = problem
        self.path = list(path)

    def rejection(self) -> DocumentRejected:
        """The rejection of the whole document."""
        return DocumentRejected(self.reason, f"field `{path_text('.'.join(reversed(self.path)))}` {self.problem}")


def path_text(path: str) -> str:
    """A field's name as short, printable text: the name may be anything, even a megabyte of invalid UTF-8."""
    text = path.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_PATH else text[:_LONGEST_PATH] + "…"


def _int64(value: int, _: Any) -> int:
    if _INT64_MIN <= value <= _INT64_MAX:
        return value
    raise RefusedError("number too large", "is an integer beyond 64 bits")


def _float(value: float, _: Any) -> float:
    if isfinite(value):
        return value
    raise RefusedError("not a number in JSON", "is NaN or infinite")


def _decimal(value: Decimal128, _: Any) -> float:
    number = nearest_float(value)
    if isfinite(number):
        return number
    raise RefusedError("not a number in JSON", "is a Decimal128 that is NaN, infinite or beyond a double")


def nearest_float(value: Decimal128) -> float:
    """The double nearest to a Decimal128; NaN if it is not a number, infinity beyond a double's range."""
    # Most have a few digits and a small exponent: then both operands of one division are exact doubles, and its single
    # rounding is correct. `to_decimal` takes thirty times as long. The format is that of IEEE 754-2008's binary integer
    # decimals: sign, 14 bits of exponent (bias 6176), 113 bits of coefficient.
    coefficient, high = _TWO_UINT64.unpack(value.bid)
    exponent = (high >> 49 & 0x3FFF) - 6176
    if high & 0x1FFFFFFFFFFFF == 0 and coefficient <= _LARGEST_EXACT and -22 <= exponent <= 0:
        number: float = coefficient / _POWERS_OF_TEN[-exponent]
        return -number if high >> 63 else number
    exact = value.to_decimal()
    return float(exact) if exact.is_finite() else float("nan")  # a signalling NaN would raise


def _binary(value: bytes, _: Any) -> Any:
    return uuid_text(value) if is_uuid(value) else LEFT_OUT


def _dates(unit: DateUnit) -> dict[type, Converter]:
    # In integers throughout: a float of seconds would round some dates up.
    def seconds(value: datetime, _: Any) -> int:
        since = (value if value.tzinfo is not None else value.replace(tzinfo=utc)) - _EPOCH
        return since.days * 86_400 + since.seconds

    def milliseconds(value: datetime, _: Any) -> int:
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


def _as_it_is(value: Any, _: Any) -> Any:
    return value


def _left_out(_value: Any, _: Any) -> Any:
    return LEFT_OUT


def _plain(unit: DateUnit) -> dict[type, Converter]:
    return {
        str: _as_it_is,
        bool: _as_it_is,
        int: _int64,
        Int64: _int64,
        float: _float,
        Decimal128: _decimal,
        ObjectId: lambda value, _: value.binary.hex(),
        UUID: lambda value, _: str(value),
        Binary: _binary,
        bytes: _left_out,
        type(None): _left_out,
        Regex: _left_out,
        Code: _left_out,
        MinKey: _left_out,
        MaxKey: _left_out,
        **_dates(unit),
    }


# ---- fields of integers ----


def _no_integer(node: Any, why: str) -> DocumentRejected:
    return DocumentRejected(
        "no whole number", f"field `{path_text(node.path)}` is {node.kind} in Typesense, and its number {why}"
    )


def _whole_float(value: float, node: Any) -> int:
    """A whole double counts as an integer: JavaScript writes `Date.now()` as a double, and `$inc: 1.0` makes one."""
    if -_LARGEST_EXACT <= value <= _LARGEST_EXACT:  # false for NaN
        whole = int(value)
        if whole == value:
            return whole
        raise _no_integer(node, "has a fraction")
    raise _no_integer(node, "is a double beyond 2^53, NaN or infinite")


def _whole_decimal(value: Decimal128, node: Any) -> int:
    exact = value.to_decimal()
    if not exact.is_finite() or exact.adjusted() > 18:
        raise _no_integer(node, "is a Decimal128 beyond 64 bits, NaN or infinite")
    whole = int(exact)
    if whole != exact:
        raise _no_integer(node, "has a fraction")
    return _int64(whole, node)


def _within_32_bits(convert: Converter) -> Converter:
    """Typesense silently accepts a larger number, and finds it by its lowest 32 bits."""

    def within_32_bits(value: Any, node: Any) -> int:
        number: int = convert(value, node)
        if _INT32_MIN <= number <= _INT32_MAX:
            return number
        raise DocumentRejected(
            "value out of range",
            f"field `{path_text(node.path)}` is {node.kind} in Typesense: declare it {node.kind.replace('32', '64')}",
        )

    return within_32_bits


def _integers(unit: DateUnit) -> dict[type, Converter]:
    return {**_plain(unit), float: _whole_float, Decimal128: _whole_decimal}


def _integers_of_32_bits(unit: DateUnit) -> dict[type, Converter]:
    converters = _integers(unit)
    numeric = (int, Int64, float, Decimal128, datetime, DatetimeMS, Timestamp)
    return {**converters, **{kind: _within_32_bits(converters[kind]) for kind in numeric}}


# ---- fields of text ----


def _text(value: Any, _: Any) -> str:
    """The text that an `_id` with this value would have."""
    return typesense_id(value)


def _texts(unit: DateUnit) -> dict[type, Converter]:
    kinds = (bool, int, Int64, float, Decimal128, datetime, DatetimeMS)
    return {
        **_plain(unit),
        **dict.fromkeys(kinds, _text),
        Timestamp: lambda value, _: typesense_id(_EPOCH + timedelta(seconds=value.time)),
    }


PLAIN: Mapping[DateUnit, Converters] = {"s": _plain("s"), "ms": _plain("ms")}
INTEGERS: Mapping[DateUnit, Converters] = {"s": _integers("s"), "ms": _integers("ms")}
INTEGERS_OF_32_BITS: Mapping[DateUnit, Converters] = {"s": _integers_of_32_bits("s"), "ms": _integers_of_32_bits("ms")}
TEXTS: Mapping[DateUnit, Converters] = {"s": _texts("s"), "ms": _texts("ms")}
