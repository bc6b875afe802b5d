"""Proposes a collection schema that holds all values that were observed, and names every conflict. Pure.

Invariants: every field is optional, and `.*` follows: a document that lacks a field, or has another one, is accepted.
A type is proposed only if each observed value can be stored in it, by the mapping's rules for that type
(docs/mapping.md). Where no type can, the whole top-level field is stored without being searchable. No text here holds a
value.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tsync_stream.core.model import Key
from tsync_stream.routes.observations import EXAMPLES, MAX_NAMES_INSIDE, Form, Kind, Observations, Observed
from tsync_stream.routes.usefulness import facet, sort_of_text, sorts_documents
from tsync_stream.sink.values import path_text

MAX_FIELDS = 500
CATCH_ALL = {"name": ".*", "type": "auto"}

_TWO_SPELLINGS = "is a name with a dot in some documents, and a name inside an object in others"
_OBJECTS: frozenset[Kind] = frozenset({"object", "lat/lng"})
_PLACES: frozenset[Kind] = frozenset({"place", "lat/lng"})
_NUMBERS: frozenset[Kind] = frozenset({"int", "float", "date"})
_TEXTS: frozenset[Kind] = frozenset({"string", "key"})


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something about a field that a person should know. `problem` and `proposal` are parts of a sentence.

    A note loses nothing and needs no decision. `examples` are keys of documents that have the rarest form.
    """

    level: Literal["conflict", "note"]
    path: str
    problem: str
    proposal: str
    examples: Sequence[Key] = ()

    def __str__(self) -> str:
        return f"`{path_text(self.path)}` {self.problem}: {self.proposal}"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A schema's fields, and what was noticed. `sorting` names the fields that `default_sorting_field` could name."""

    fields: Sequence[dict[str, Any]] = ()
    conflicts: Sequence[Conflict] = ()
    sorting: Sequence[str] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The schema in Typesense's own words, without its name."""
        return {"enable_nested_fields": True, "fields": [*self.fields, CATCH_ALL]}


class _Unsearchable(Exception):
    """No type holds the values at a path."""

    def __init__(self, seen: Observed, problem: str) -> None:
        self.seen = seen
        self.problem = problem
        super().__init__(problem)


@dataclass(slots=True)
class _Draft:
    """The proposal so far. `places` are the paths that MongoDB has an index of places on."""

    seen: Observations
    places: Collection[str]
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)


def propose(observations: Observations, places: Collection[str] = ()) -> Proposal:
    """The proposal for what was observed. A pair of numbers counts as a place only if its path is among `places`."""
    draft = _Draft(observations, places)
    if observations.renamed_id:
        draft.conflicts.append(Conflict("note", "id", "is taken in Typesense for the key", "it is shown as `id_`"))
    for root, names in _by_root(observations.top).items():
        _add_root(draft, root, names)
    fields = list(draft.fields.values())
    if observations.left_out or len(fields) > MAX_FIELDS:
        text = f"are more than {MAX_FIELDS} in the sample"
        draft.conflicts.append(Conflict("note", ".*", text, "the others get the type of their first value"))
    tops = [observations.paths[each["name"]] for each in fields if each["name"] in observations.paths]
    sorting = [seen.path for seen in tops if sorts_documents(seen, draft.fields[seen.path]["type"], observations)]
    return Proposal(fields[:MAX_FIELDS], draft.conflicts, sorting)


def _by_root(names: Collection[str]) -> dict[str, list[str]]:
    """The top-level names by their first part: `a` and `a.b` belong to one field, as Typesense sees it."""
    roots: dict[str, list[str]] = {}
    for name in names:
        roots.setdefault(name.partition(".")[0], []).append(name)
    return roots


def _add_root(draft: _Draft, root: str, names: Sequence[str]) -> None:
    found: dict[str, tuple[Observed, str]] = {}
    try:
        for name in names:
            for seen, kind in _typed(draft, draft.seen.paths[name], below_arrays=False):
                _add(found, seen, kind)
    except _Unsearchable as unsearchable:
        seen = unsearchable.seen
        stored = f"`{path_text(root)}` is stored and shown, but not searchable"
        examples = _rarest(seen)
        draft.conflicts.append(Conflict("conflict", seen.path, unsearchable.problem, stored, examples))
        # As a pattern, it covers the names inside too (Typesense 0.25 and newer); before, a plain type is checked.
        pattern = f"{_literal(root)}(\\..*)?"
        draft.fields[root] = {"name": pattern, "type": "auto", "index": False, "optional": True}
        return
    for seen, kind in found.values():
        draft.conflicts += _notes(seen, kind)
        if kind:
            draft.fields[seen.path] = _field(seen, kind)


def _add(found: dict[str, tuple[Observed, str]], seen: Observed, kind: str) -> None:
    """A path that is reached by two spellings needs one type. Raises `_Unsearchable` if it has two."""
    if found.setdefault(seen.path, (seen, kind)) != (seen, kind):
        raise _Unsearchable(seen, _TWO_SPELLINGS)


def _typed(draft: _Draft, seen: Observed, *, below_arrays: bool) -> Iterator[tuple[Observed, str]]:
    """The path with its type, and the paths inside it. Raises `_Unsearchable`."""
    kind = _type_of(seen, draft.places, below_arrays=below_arrays)
    yield seen, kind
    if kind in {"object", "object[]"}:
        for path in sorted(seen.inside):
            child = draft.seen.paths.get(path)
            if child is not None:
                yield from _typed(draft, child, below_arrays=below_arrays or kind == "object[]")


def _type_of(seen: Observed, places: Collection[str], *, below_arrays: bool) -> str:
    """Typesense's type for a path; "" if only empty arrays were seen. Raises `_Unsearchable`."""
    kinds = seen.kinds
    several = "[]" if below_arrays or seen.many else ""
    if seen.arrays_in_arrays and (seen.as_dotted_name or not seen.as_level):
        raise _Unsearchable(seen, "holds arrays inside arrays")
    if not kinds:
        return ""
    if kinds <= _PLACES and not seen.arrays_in_arrays:
        return f"geopoint{several}"
    if kinds & _OBJECTS:
        _require_objects(seen, kinds)
        return "object[]" if seen.many else "object"
    if "place" in kinds:
        raise _Unsearchable(seen, f"holds {_listed(seen)}")
    if seen.path in places and seen.pairs == seen.arrays == seen.documents and not below_arrays:
        return "geopoint"
    return f"{_scalar(kinds)}{several}"


def _require_objects(seen: Observed, kinds: set[Kind]) -> None:
    if not kinds <= _OBJECTS:
        raise _Unsearchable(seen, f"holds {_listed(seen)}")
    if seen.arrays_in_arrays:
        raise _Unsearchable(seen, "holds arrays of objects inside arrays")
    if seen.too_many_inside:
        raise _Unsearchable(seen, f"has more than {MAX_NAMES_INSIDE} names inside, which look like data")


def _scalar(kinds: set[Kind]) -> str:
    """The type that holds all of these: text, as a last resort, since the mapping writes the others as text there."""
    if kinds <= _NUMBERS:
        return "float" if "float" in kinds else "int64"
    return "bool" if kinds == {"bool"} else "string"


def _notes(seen: Observed, kind: str) -> Iterator[Conflict]:
    """What a person should know of a path that has a type."""
    path, kinds, base = seen.path, seen.kinds, kind.removesuffix("[]")
    if seen.as_level and seen.as_dotted_name:
        yield Conflict("conflict", path, _TWO_SPELLINGS, "to Typesense both are one field", _rarest(seen))
    mixed = base != "geopoint" and len(kinds) > 1 and not (kinds <= _TEXTS or kinds <= _PLACES or kinds <= _OBJECTS)
    if mixed and base in {"float", "int64"}:
        yield Conflict("conflict", path, f"holds {_listed(seen)}", f"`{kind}` holds all of them", _rarest(seen))
    elif mixed:
        yield Conflict("conflict", path, f"holds {_listed(seen)}", "all are stored as text", _rarest(seen))
    single = [form for form in seen.forms if not form.many]
    if kind.endswith("[]") and single and seen.many and not seen.below_arrays:
        text = f"holds one value in some documents and an array in others ({_counts(seen)})"
        yield Conflict("conflict", path, text, f"`{kind}`, and one value becomes an array of one", _rarest(seen))
    if base == "string" and seen.leading_zeros:
        yield Conflict("note", path, "holds digits with zeros in front", "it stays text")
    if base == "float" and seen.arrays and seen.pairs == seen.arrays and not single:
        text = "holds pairs of numbers"
        yield Conflict("note", path, text, "if they are [longitude, latitude], declare it `geopoint`")


def _field(seen: Observed, kind: str) -> dict[str, Any]:
    described: dict[str, Any] = {"name": seen.path, "type": kind}
    if facet(seen, kind):
        described["facet"] = True
    if sort_of_text(seen, kind):
        described["sort"] = True
    return {**described, "optional": True}


def _listed(seen: Observed) -> str:
    return f"values of different types ({_counts(seen)})"


def _counts(seen: Observed) -> str:
    return ", ".join(f"{form} {count:,}" for form, count in seen.forms.most_common())


def _rarest(seen: Observed) -> Sequence[Key]:
    rarest: Form = min(seen.forms, key=lambda form: seen.forms[form])
    return tuple(seen.examples[rarest][:EXAMPLES])


def _literal(name: str) -> str:
    """A name within a pattern. `re.escape` would also escape what C++ then refuses."""
    return re.sub(r"([.*+?()\[\]{}^$|\\])", r"\\\1", name)
