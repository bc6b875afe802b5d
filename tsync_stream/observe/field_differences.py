"""How two Typesense documents differ, field by field: names and JSON types, and the values for those who ask (pure).

Both documents come in the form of `sink/comparable.py`. Objects are entered, lists are compared as a whole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tsync_stream.sink.values import path_text

Outcome = Literal["equal", "different", "missing", "extra"]

_ABSENT: Any = object()
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", dict: "object"}


@dataclass(frozen=True, slots=True)
class FieldView:
    """One field on both sides. A type is None where the field is absent, and then the value means nothing."""

    name: str
    outcome: Outcome
    mapped_type: str | None
    shown_type: str | None
    mapped: Any = None
    shown: Any = None

    def to_json(self, *, with_values: bool) -> dict[str, Any]:
        """As `--json` prints it; `values` only on request."""
        described = {
            "field": self.name,
            "outcome": self.outcome,
            "mapped_type": self.mapped_type,
            "shown_type": self.shown_type,
        }
        return described | ({"mapped": self.mapped, "shown": self.shown} if with_values else {})


def compare_fields(mapped: Mapping[str, Any] | None, shown: Mapping[str, Any] | None) -> list[FieldView]:
    """Every field of either document, in the order of the mapped one; None: there is no such document."""
    ours, theirs = dict(_leaves(mapped or {})), dict(_leaves(shown or {}))
    return [
        _field(name, ours.get(name, _ABSENT), theirs.get(name, _ABSENT)) for name in dict.fromkeys([*ours, *theirs])
    ]


def json_type(value: Any) -> str:
    """`string`, `array of string`, `array of integer and number` … (pure)."""
    if type(value) is not list:
        return _TYPES.get(type(value), "unknown")
    kinds = sorted({json_type(item) for item in value})
    return f"array of {' and '.join(kinds)}" if kinds else "array"


def _field(name: str, ours: Any, theirs: Any) -> FieldView:
    outcome: Outcome
    if theirs is _ABSENT:
        outcome = "missing"
    elif ours is _ABSENT:
        outcome = "extra"
    else:
        # `1 == True` in Python, and never in JSON.
        outcome = "equal" if ours == theirs and _types(ours) == _types(theirs) else "different"
    return FieldView(path_text(name), outcome, _type_of(ours), _type_of(theirs), _value_of(ours), _value_of(theirs))


def _types(value: Any) -> Any:
    """The types of a value and of all within it."""
    if type(value) is list:
        return [_types(item) for item in value]
    if type(value) is dict:
        return {name: _types(item) for name, item in value.items()}
    return type(value)


def _type_of(value: Any) -> str | None:
    return None if value is _ABSENT else json_type(value)


def _value_of(value: Any) -> Any:
    return None if value is _ABSENT else value


def _leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        path = f"{prefix}{name}"
        if type(value) is dict and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value
