"""Which mapped documents Typesense would refuse, by the types that a schema declares (pure).

As far as can be known: what `.*` and other patterns detect depends on the first document that arrives, and is left out.
Seen with Typesense 0.24.1, for imports with `dirty_values=reject`.

Invariant: texts name fields and types, never a value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsync_stream.sink.schema import values_at
from tsync_stream.sink.values import path_text

_SCALARS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: type(value) is str,
    "string*": lambda value: type(value) is str,
    "bool": lambda value: type(value) is bool,
    "int32": lambda value: type(value) is int,
    "int64": lambda value: type(value) is int,
    "float": lambda value: type(value) in {int, float},
    "object": lambda value: type(value) is dict,
}
_PLACE = "geopoint"


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    base: str
    many: bool
    optional: bool
    parts: Sequence[str]


class Acceptance:
    """The checks of one schema: as `POST /collections` takes it, or as a live collection is described."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # Typesense fills in an `embed` field by itself.
        described = [each for each in schema["fields"] if ".*" not in each["name"] and "embed" not in each]
        self._fields = [
            _Field(
                str(each["name"]),
                str(each["type"]).removesuffix("[]"),
                str(each["type"]).endswith("[]"),
                bool(each.get("optional")),
                str(each["name"]).split("."),
            )
            for each in described
        ]

    def refusal(self, mapped: Mapping[str, Any]) -> str | None:
        """Why a document would be refused; None if nothing is known against it."""
        return next(self._problems(mapped), None)

    def _problems(self, mapped: Mapping[str, Any]) -> Iterator[str]:
        for field in self._fields:
            name = path_text(field.name)
            if len(field.parts) == 1:
                value = mapped.get(field.name)
                if value is not None and not _fits(field, value):
                    yield f"field `{name}` is {_kind(field)} in the schema, and this is no {_kind(field)}"
                elif value is None and not field.optional and field.name != "id":
                    yield f"field `{name}` is missing, and not optional in the schema"
                continue
            found = list(values_at(dict(mapped), field.parts))
            # Below an array of objects Typesense gathers the values, each of which may be an array.
            if not all(_fits(field, value) or (field.many and _fits_one(field, value)) for value in found):
                yield f"field `{name}` is {_kind(field)} in the schema, and this is no {_kind(field)}"
            elif not found and not field.optional:
                yield f"field `{name}` is missing, and not optional in the schema"


def _kind(field: _Field) -> str:
    return field.base + "[]" * field.many


def _fits(field: _Field, value: Any) -> bool:
    if not field.many:
        return _fits_one(field, value)
    return isinstance(value, list) and all(_fits_one(field, item) for item in _flat(field, value))


def _fits_one(field: _Field, value: Any) -> bool:
    if field.base == _PLACE:
        return isinstance(value, list) and len(value) == 2 and all(type(each) in {int, float} for each in value)
    check = _SCALARS.get(field.base)
    if len(field.parts) > 1 and type(value) is dict:
        return True  # its own fields are checked by their own names
    return check is None or check(value)


def _flat(field: _Field, values: list[Any]) -> Iterator[Any]:
    """The items; inside an object also those of arrays in arrays, which Typesense flattens."""
    for value in values:
        if isinstance(value, list) and field.base != _PLACE and len(field.parts) > 1:
            yield from _flat(field, value)
        else:
            yield value
