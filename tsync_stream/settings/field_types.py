"""Checks the fields of a schema file (pure): at the start, in `check`, and when the collection is created."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

_OF_ONE_OR_MANY = ("string", "int32", "int64", "float", "bool", "geopoint", "object")
TYPES = frozenset({*_OF_ONE_OR_MANY, *(f"{name}[]" for name in _OF_ONE_OR_MANY), "string*", "auto"}) | {
    # since 0.26 and 0.28
    "image",
    "geopolygon",
}
"""https://typesense.org/docs/latest/api/collections.html#field-types"""


def field_problems(fields: list[Any]) -> Iterator[str]:
    """What is wrong with the `fields` of a schema, each problem with the field's position."""
    for position, field in enumerate(fields, start=1):
        yield from problems_of_field(position, field)


def problems_of_field(position: int, field: Any) -> Iterator[str]:
    """What is wrong with one field; `position` counts from 1."""
    if not isinstance(field, dict):
        yield f"field {position} must be an object"
        return
    missing = [part for part in ("name", "type") if not isinstance(field.get(part), str) or not field[part]]
    yield from (f"field {position} needs a `{part}`, which must be a text" for part in missing)
    if not missing and field["type"] not in TYPES:
        near = get_close_matches(field["type"], sorted(TYPES), 1)
        instead = f"; is it {near[0]}?" if near else f"; types are {', '.join(sorted(TYPES))}"
        name, kind = field["name"], field["type"]
        yield f"field {position} (`{name}`) has the type `{kind}`, which Typesense does not have{instead}"
