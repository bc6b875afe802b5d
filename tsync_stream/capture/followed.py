"""Which lookups a change concerns, and which references or owners it names (pure).

Invariant: a change of a looked-up document is followed unless it is an update of fields that the lookup does not show.
What an event cannot tell is `unknown`, never left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import Key, Route, UnreadableKey
from tsync_stream.routes.declaration import Children, Lookup, Parent
from tsync_stream.routes.relevance import Relevance, relevance_of_children, relevance_of_parent
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.references import value_at

_UPDATE, _INSERT = "update", "insert"


@dataclass(frozen=True, slots=True)
class Followed:
    """A lookup of a route, and what it depends on in the documents that it finds."""

    route: Route
    lookup: Lookup
    relevance: Relevance

    def relevant(self, changes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those of the changes of the looked-up collection that may change what is shown."""
        touched_by = self.relevance.touched_by
        return [each for each in changes if each["operation"] != _UPDATE or touched_by(each.get("changed"))]


@dataclass(frozen=True, slots=True)
class Owners:
    """The documents that own some children: `before` by their pre-images; `children` are still to be read.

    `unknown`: a child had an owner that nothing names any more.
    """

    before: Sequence[Key]
    children: Sequence[Key]
    unknown: bool


def followed(table: RouteTable) -> dict[str, list[Followed]]:
    """All lookups, by the collections that they look in: `database.collection`."""
    found: dict[str, list[Followed]] = {}
    for declaration in table.values():
        for lookup in declaration.lookups:
            relevance = relevance_of_parent(lookup) if isinstance(lookup, Parent) else relevance_of_children(lookup)
            name = f"{declaration.route.database}.{lookup.collection}"
            found.setdefault(name, []).append(Followed(declaration.route, lookup, relevance))
    return found


def owner_paths(table: RouteTable) -> list[str]:
    """The fields that name the owners of children: what pre-images are needed for."""
    lookups = (lookup for declaration in table.values() for lookup in declaration.lookups)
    return sorted({lookup.foreign for lookup in lookups if isinstance(lookup, Children)})


def owners(lookup: Children, changes: Sequence[Mapping[str, Any]]) -> Owners:
    """Whose children these changes are about."""
    before: list[Key] = []
    unknown = False
    for change in changes:
        if change["operation"] == _INSERT:
            continue
        image = change.get("before")
        if image is not None:
            before += value_at(image, lookup.foreign)
        elif change["operation"] != _UPDATE or _may_have_moved(lookup, change):
            unknown = True
    children = [change["key"] for change in changes if not isinstance(change["key"], UnreadableKey)]
    return Owners(before, children, unknown or len(children) < len(changes))


def usable(keys: Iterable[Any]) -> list[Key]:
    """Those that can be the key of a document in Typesense: no other document shows anything."""
    return [key for key in keys if _has_id(key)]


def _may_have_moved(lookup: Children, change: Mapping[str, Any]) -> bool:
    return Relevance([lookup.foreign]).touched_by(change.get("changed"))


def _has_id(key: Any) -> bool:
    try:
        typesense_id(key)
    except DocumentRejected:
        return False
    return True
