"""Objects and arrays, and the tables of converters: one table for each kind of field in the live schema.

Invariant: within a collection, a BSON shape always has the same JSON form: the one that the field's type requires.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from bson.dbref import DBRef

from tsync_stream.sink import values
from tsync_stream.sink.places import place, place_of_point, places
from tsync_stream.sink.values import LEFT_OUT, Converter, Converters, DateUnit, RefusedError


class Node(Protocol):
    """The position of a value: its converters, and the nodes of the names inside it."""

    @property
    def convert(self) -> Converters:
        """By the type of a value."""

    @property
    def many(self) -> bool:
        """Whether a single value becomes an array of one."""

    @property
    def children(self) -> Mapping[str, "Node"]:
        """By their own names."""

    def new_child(self, name: str) -> "Node":
        """The node of a name that is not among the children yet."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The converters by the kind of field. `objects`: for a field of objects, even those that look like places."""

    plain: Converters
    objects: Converters
    integers: Converters
    integers_of_32_bits: Converters
    texts: Converters
    place: Converters
    places: Converters

    def of_type(self, name: str, *, indexed: bool) -> Converters | None:
        """The converters for a type of Typesense; None if it requires nothing special."""
        match name.removesuffix("[]"):
            case "int32" if indexed:  # a number that cannot be searched cannot be found wrongly
                return self.integers_of_32_bits
            case "int32" | "int64":
                return self.integers
            case "string" | "string*":
                return self.texts
            case "geopoint":
                return self.places if name.endswith("[]") else self.place
            case "object":
                return self.objects
        return None


def map_fields(fields: Iterable[tuple[str, Any]], mapped: dict[str, Any], node: Node) -> None:
    """Add the fields of a document or an object to `mapped`."""
    children = node.children
    for name, value in fields:
        child = children.get(name)
        if child is None:
            child = node.new_child(name)
        kind = type(value)
        if kind is str and not child.many:
            mapped[name] = value
            continue
        try:
            converted = (child.convert.get(kind) or _converter_of_base(value, child))(value, child)
        except RefusedError as refused:
            refused.path.append(name)
            raise
        if converted is not LEFT_OUT:
            mapped[name] = [converted] if child.many and type(converted) is not list else converted


def _object(value: Mapping[str, Any], node: Node) -> Any:
    """An object in a field without a known type: a Point is a place there."""
    if value.get("type") == "Point":
        found = place_of_point(value)
        if found is not None:
            return found
    return _object_as_it_is(value, node)


def _object_as_it_is(value: Mapping[str, Any], node: Node) -> dict[str, Any]:
    """An object in a field of objects."""
    if value.get("type") == "GeometryCollection":
        return _shape(value, node)
    mapped: dict[str, Any] = {}
    map_fields(value.items(), mapped, node)
    return mapped


def _shape(value: Mapping[str, Any], node: Node) -> dict[str, Any]:
    """A GeometryCollection or a geometry inside one: a Point in it is part of the shape, not a place."""
    mapped: dict[str, Any] = {}
    geometries = value.get("geometries")
    if not isinstance(geometries, list) or not all(isinstance(each, Mapping) for each in geometries):
        map_fields(value.items(), mapped, node)
        return mapped
    map_fields(((name, item) for name, item in value.items() if name != "geometries"), mapped, node)
    child = node.children.get("geometries") or node.new_child("geometries")
    try:
        mapped["geometries"] = [_shape(each, child) for each in geometries]
    except RefusedError as refused:
        refused.path.append("geometries")
        raise
    return mapped


def _array(value: Iterable[Any], node: Node) -> list[Any]:
    mapped = []
    for position, item in enumerate(value):
        kind = type(item)
        if kind is str:
            mapped.append(item)
            continue
        try:
            converted = (node.convert.get(kind) or _converter_of_base(item, node))(item, node)
        except RefusedError as refused:
            refused.path.append(str(position))
            raise
        if converted is not LEFT_OUT:
            mapped.append(converted)
    return mapped


def _converter_of_base(value: Any, node: Node) -> Converter:
    """The converter for a mapping or sequence of a type that the decoder does not make."""
    if isinstance(value, Mapping):
        return node.convert[dict]
    if isinstance(value, tuple):
        return node.convert[list]
    raise RefusedError("unknown type", f"is a {type(value).__name__}")


def _reference(value: DBRef, node: Node) -> Any:
    return node.convert[dict](value.as_doc(), node)


@lru_cache
def tables(unit: DateUnit) -> Tables:
    """All tables, for this unit of dates."""
    nested: Converters = {list: _array, dict: _object, DBRef: _reference}
    plain: Converters = {**values.PLAIN[unit], **nested}
    # What other fields leave out, such as null, these leave out too.
    kinds = [kind for kind, convert in plain.items() if convert is not plain[type(None)]]
    return Tables(
        plain=plain,
        objects={**plain, dict: _object_as_it_is},
        integers={**values.INTEGERS[unit], **nested},
        integers_of_32_bits={**values.INTEGERS_OF_32_BITS[unit], **nested},
        texts={**values.TEXTS[unit], **nested},
        place={**plain, **dict.fromkeys(kinds, lambda value, _: place(value))},
        places={**plain, **dict.fromkeys(kinds, lambda value, _: places(value))},
    )
