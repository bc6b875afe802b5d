"""What sampled documents hold, path by path: the forms of their values, counted. Pure.

A path is a field's name as Typesense flattens it: `a.b` is the name `b` inside the object `a`, and also a top-level
name with a dot.

Invariants: memory is bounded, whatever the documents hold: the number of paths, the values remembered at each (as
hashes), the examples of each form. Nothing that is kept is a value; examples are the keys of documents.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from tsync_stream.core.keys import is_uuid
from tsync_stream.core.model import Key
from tsync_stream.sink.mapping import RENAMED_ID_FIELD

Kind: TypeAlias = Literal["string", "key", "int", "float", "bool", "date", "place", "lat/lng", "object", "nothing"]
"""`key`: the text of an ObjectId or a UUID. `nothing`: an array without items."""

MAX_PATHS = 2_000
MAX_NAMES_INSIDE = 200
"""An object with more names, over all documents, has names that are data."""
MAX_DISTINCT = 100
EXAMPLES = 3

_DATES = (datetime, DatetimeMS, Timestamp)
_KEYS = (ObjectId, UUID, Binary)
_LEFT_OUT = (type(None), bytes, Regex, Code, MinKey, MaxKey)
_LATITUDES, _LONGITUDES = frozenset({"lat", "latitude"}), frozenset({"lng", "lon", "long", "longitude"})
_OTHER: Any = object()  # where the source has nothing at this path


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a value: its kind, and whether it is an item of an array."""

    kind: Kind
    many: bool = False

    def __str__(self) -> str:
        if self.kind == "nothing":
            return "empty array"
        return f"array of {self.kind}" if self.many else self.kind


@dataclass(slots=True)
class Observed:
    """What was seen at one path. An array counts once for each kind of its items.

    `documents` have it at all. `distinct` holds hashes, at most MAX_DISTINCT + 1 of them: then there are more.
    """

    path: str
    forms: Counter[Form] = field(default_factory=Counter)
    examples: dict[Form, list[Key]] = field(default_factory=dict)
    documents: int = 0
    below_arrays: bool = False
    arrays_in_arrays: bool = False
    inside: set[str] = field(default_factory=set)
    too_many_inside: bool = False
    as_level: bool = False
    as_dotted_name: bool = False
    distinct: set[int] = field(default_factory=set)
    longest: int = 0
    digits: int = 0
    leading_zeros: int = 0
    arrays: int = 0
    pairs: int = 0
    last: int = -1

    @property
    def kinds(self) -> set[Kind]:
        """All kinds of values, single or in arrays."""
        return {form.kind for form in self.forms} - {"nothing"}

    @property
    def many(self) -> bool:
        """Whether there was any array."""
        return any(form.many for form in self.forms)

    @property
    def few_values(self) -> bool:
        """Whether no more than MAX_DISTINCT different values were seen."""
        return len(self.distinct) <= MAX_DISTINCT


class Observations:
    """All paths of the documents that were added. `left_out` counts values at paths beyond MAX_PATHS."""

    def __init__(self) -> None:
        self.documents = 0
        self.paths: dict[str, Observed] = {}
        self.top: dict[str, None] = {}  # the names of top-level fields, in the order in which they are met
        self.left_out = 0
        self.renamed_id = False

    def add(self, shown: Mapping[str, Any], source: Mapping[str, Any], key: Key) -> None:
        """Add a document: as Typesense would show it, and as MongoDB holds it under the same names."""
        self.documents += 1
        self.renamed_id |= "id" in source
        for name, value in shown.items():
            if name == "id":
                continue
            seen = self._at(name, key)
            if seen is not None:
                self.top[name] = None
                seen.as_dotted_name |= "." in name
                self._see(
                    seen, value, source.get("id" if name == RENAMED_ID_FIELD else name, _OTHER), key, below_arrays=False
                )

    def _at(self, path: str, key: Key) -> Observed | None:
        seen = self.paths.get(path)
        if seen is None:
            if len(self.paths) >= MAX_PATHS:
                self.left_out += 1
                return None
            seen = self.paths[path] = Observed(path)
        if seen.last != self.documents:
            seen.last = self.documents
            seen.documents += 1
        return seen

    def _see(self, seen: Observed, value: Any, source: Any, key: Key, *, below_arrays: bool) -> None:
        seen.below_arrays |= below_arrays
        if type(value) is list and not _is_place(value, source):
            kinds = self._items(seen, value, source, key)
            nothing: dict[Kind, None] = {"nothing": None}
            for kind in kinds or nothing:
                _count(seen, Form(kind, many=True), key)
            seen.arrays += 1
            seen.pairs += _is_pair(source if isinstance(source, list) else value)
            return
        _count(seen, Form(self._kind(seen, value, source, key, below_arrays=below_arrays)), key)

    def _items(self, seen: Observed, values: list[Any], source: Any, key: Key) -> dict[Kind, None]:
        """The kinds of the items, each once, in the order in which they are met."""
        kinds: dict[Kind, None] = {}
        sources = [each for each in source if not _is_left_out(each)] if isinstance(source, list) else []
        if len(sources) != len(values):
            sources = [_OTHER] * len(values)
        for value, origin in zip(values, sources, strict=True):
            if type(value) is list and not _is_place(value, origin):
                seen.arrays_in_arrays = True
                kinds |= self._items(seen, value, origin, key)
            else:
                kinds[self._kind(seen, value, origin, key, below_arrays=True)] = None
        return kinds

    def _kind(self, seen: Observed, value: Any, source: Any, key: Key, *, below_arrays: bool) -> Kind:
        kind = type(value)
        if kind is str:
            _note_text(seen, value)
            return "key" if isinstance(source, _KEYS) else "string"
        if kind is dict:
            self._inside(seen, value, source, key, below_arrays=below_arrays)
            return "lat/lng" if _has_two_coordinates(value) else "object"
        if kind is list:
            return "place"
        if seen.few_values:
            seen.distinct.add(hash(value))
        if kind is bool:
            return "bool"
        if kind is float:
            return "float"
        return "date" if isinstance(source, _DATES) else "int"

    def _inside(self, seen: Observed, value: dict[str, Any], source: Any, key: Key, *, below_arrays: bool) -> None:
        origin = source if isinstance(source, Mapping) else {}
        for name, item in value.items():
            path = f"{seen.path}.{name}"
            if path not in seen.inside:
                if len(seen.inside) >= MAX_NAMES_INSIDE:
                    seen.too_many_inside = True
                    continue
                seen.inside.add(path)
            child = self._at(path, key)
            if child is not None:
                child.as_level = True
                self._see(child, item, origin.get(name, _OTHER), key, below_arrays=below_arrays)


def _is_left_out(item: Any) -> bool:
    """Whether the mapping leaves an item out of its array."""
    return isinstance(item, _LEFT_OUT) and not (isinstance(item, bytes) and is_uuid(item))


def _count(seen: Observed, form: Form, key: Key) -> None:
    seen.forms[form] += 1
    if seen.forms[form] <= EXAMPLES:
        seen.examples.setdefault(form, []).append(key)


def _note_text(seen: Observed, text: str) -> None:
    if seen.few_values:
        seen.distinct.add(hash(text))
    seen.longest = max(seen.longest, len(text))
    if text.isdigit():
        seen.digits += 1
        seen.leading_zeros += text[0] == "0" and len(text) > 1


def _is_place(value: list[Any], source: Any) -> bool:
    """Whether the mapping has made a place of an object."""
    return isinstance(source, Mapping) and len(value) == 2 and {float} == {type(each) for each in value}


def _has_two_coordinates(value: dict[str, Any]) -> bool:
    if len(value) != 2:
        return False
    latitude = next((each for name, each in value.items() if name in _LATITUDES), None)
    longitude = next((each for name, each in value.items() if name in _LONGITUDES), None)
    return _is_number(latitude, 90) and _is_number(longitude, 180)


def _is_pair(value: list[Any]) -> bool:
    """Whether an array could be [longitude, latitude]."""
    return len(value) == 2 and _is_number(value[0], 180) and _is_number(value[1], 90)


def _is_number(value: Any, most: float) -> bool:
    return type(value) in {int, float} and -most <= value <= most
