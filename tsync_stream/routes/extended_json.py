"""Values that YAML has no form for, inside `filter` and `pipeline`: MongoDB's Extended JSON, `{$date: ...}` (pure).

Invariant: a bare date is refused rather than compared as text, which no date in MongoDB equals.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from bson import json_util
from bson.errors import BSONError

from tsync_stream.core.keys import JSON_OPTIONS
from tsync_stream.routes.problems import Place
from tsync_stream.routes.yaml_reader import Date

Report: TypeAlias = Callable[[Place, str], None]

EXAMPLES = {
    "$oid": '{$oid: "65a1b2c3d4e5f60718293a4b"}',
    "$date": '{$date: "2024-05-06T07:08:09Z"}',
    "$uuid": '{$uuid: "0f0e0d0c-0b0a-4908-8706-050403020100"}',
    "$numberLong": '{$numberLong: "12"}',
    "$numberInt": '{$numberInt: "12"}',
    "$numberDouble": '{$numberDouble: "12.5"}',
    "$numberDecimal": '{$numberDecimal: "12.50"}',
    "$binary": '{$binary: {base64: "AAE=", subType: "00"}}',
    "$regularExpression": '{$regularExpression: {pattern: "^a", options: "i"}}',
    "$minKey": "{$minKey: 1}",
    "$maxKey": "{$maxKey: 1}",
}
"""The wrappers that are read. Each is a mapping with this key alone."""


def decoded(value: Any, place: Place, report: Report) -> Any:
    """The value with every wrapper replaced by what it stands for. Problems are reported with their places."""
    if isinstance(value, Date):
        quoted = "in quotes if it is a text"
        report(place, f"a bare date is not valid here: write {EXAMPLES['$date']}, or put it {quoted}")
        return str(value)
    if isinstance(value, list):
        return [decoded(each, (*place, at), report) for at, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (name := next(iter(value))) in EXAMPLES:
        return _unwrapped(name, value, place, report)
    return {name: decoded(each, (*place, name), report) for name, each in value.items()}


def _unwrapped(name: str, value: dict[str, Any], place: Place, report: Report) -> Any:
    try:
        found = json_util.object_hook(plain(value), JSON_OPTIONS)
    except (BSONError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError):
        found = None
    if found is None or isinstance(found, dict):
        report(place, f"`{name}` is not valid here: it needs the form {EXAMPLES[name]}")
        return None
    return found


def plain(value: Any) -> Any:
    """The value without our mark on dates: they are texts where values are not compared."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Date) else value
