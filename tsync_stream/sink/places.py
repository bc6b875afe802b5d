"""Places: MongoDB's forms of a place as Typesense's [latitude, longitude] (pure).

Invariants:
- MongoDB writes the longitude first, in GeoJSON and in pairs; Typesense reads the latitude first. A value that could be
  read either way is refused: swapped, the place would silently be found elsewhere.
- Coordinates are always floats: a first document with whole numbers would make an undeclared field one of integers,
  and all others would be refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bson.decimal128 import Decimal128

from tsync_stream.sink.values import LEFT_OUT, NUMBERS, RefusedError, nearest_float

_GEOMETRIES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
)
_LONGITUDES = ("lng", "lon", "long", "longitude")
_LATITUDES = ("lat", "latitude")
_POSITION_LENGTHS = frozenset({2, 3})


def place_of_point(point: Mapping[str, Any]) -> Any:
    """The place of a GeoJSON Point, or None if it has no position. Other members are dropped.

    No coordinates at all mean no place (RFC 7946, section 3.1): `LEFT_OUT`.
    """
    coordinates = point.get("coordinates")
    if not isinstance(coordinates, list | tuple):
        return None
    if not coordinates:
        return LEFT_OUT
    return _position(coordinates) if _is_position(coordinates) else None


def place(value: Any) -> Any:
    """One place for a `geopoint` field, or `LEFT_OUT`. Raises `RefusedError` for any other value."""
    if isinstance(value, Mapping):
        return _place_of_object(value)
    if isinstance(value, list | tuple):
        if not value:
            return LEFT_OUT
        if _is_position(value):
            return _position(value)
        raise _no_place("is an array, but no pair of a longitude and a latitude; several places need geopoint[]")
    raise _no_place("is neither a GeoJSON Point nor a pair [longitude, latitude]")


def places(value: Any) -> list[Any]:
    """All places of a value for a `geopoint[]` field; a single place becomes an array of one."""
    return [found for found in _each(value) if found is not LEFT_OUT]


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        kind = value.get("type")
        if kind == "MultiPoint" and isinstance(value.get("coordinates"), list | tuple):
            yield from map(place, value["coordinates"])
            return
        if kind == "GeometryCollection" and isinstance(value.get("geometries"), list | tuple):
            for geometry in value["geometries"]:
                yield from _each(geometry)
            return
    elif isinstance(value, list | tuple) and not _is_position(value):
        for item in value:
            if item is not None:  # as in any other array
                yield place(item)
        return
    yield place(value)


def _place_of_object(value: Mapping[str, Any]) -> Any:
    if "coordinates" in value or "geometries" in value:
        kind = value.get("type")
        found = place_of_point(value) if kind == "Point" else None
        if found is None:
            shape = kind if isinstance(kind, str) and kind in _GEOMETRIES and kind != "Point" else "shape"
            raise _no_place(f"is a GeoJSON {shape}, but no Point with a longitude and a latitude")
        return found
    longitudes = [name for name in _LONGITUDES if name in value]
    latitudes = [name for name in _LATITUDES if name in value]
    if len(longitudes) == len(latitudes) == 1:
        pair = (value[longitudes[0]], value[latitudes[0]])
        if _is_position(pair):
            return _position(pair)
    raise _no_place("is an object from which longitude and latitude cannot be told (`lng` and `lat` can be)")


def _is_position(coordinates: Sequence[Any]) -> bool:
    return len(coordinates) in _POSITION_LENGTHS and all(type(number) in NUMBERS for number in coordinates)


def _position(coordinates: Sequence[Any]) -> list[float]:
    """A height is dropped."""
    lng, lat = coordinates[0], coordinates[1]
    lng = nearest_float(lng) if type(lng) is Decimal128 else lng
    lat = nearest_float(lat) if type(lat) is Decimal128 else lat
    if not (-180 <= lng <= 180 and -90 <= lat <= 90):  # false for NaN too
        raise RefusedError(
            "not a place on Earth", "is a place outside of longitude ±180, latitude ±90 (the longitude comes first)"
        )
    return [float(lat), float(lng)]


def _no_place(problem: str) -> RefusedError:
    return RefusedError("not a place", f"is a geopoint in Typesense: this {problem}")
