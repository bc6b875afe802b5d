"""Which routes an event of the change stream is about (pure).

Invariants: a change of a document is about every route whose source its collection is, unless it is an update of
fields that the route is known not to depend on. That a collection was dropped,
renamed or replaced is about every route that shows its documents, looked up ones included, and about no other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tsync_stream.capture.followed import followed, owner_paths
from tsync_stream.core.errors import PositionLost
from tsync_stream.core.model import Route
from tsync_stream.routes.relevance import relevance_of
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.change_stream import ENDING_OPERATIONS
from tsync_stream.source.stream_scope import scope_of

# What happens to a whole collection or database, and leaves a stream of several collections open.
_OF_COLLECTIONS = ENDING_OPERATIONS - {"invalidate"}
_DROP_DATABASE = "dropDatabase"
_UPDATE = "update"


class Sources:
    """The sources of a table of routes, by their names as events have them: `database.collection`."""

    def __init__(self, table: RouteTable) -> None:
        relevances = {name: relevance_of(declaration) for name, declaration in table.items()}
        self._relevances = {name: each for name, each in relevances.items() if each.may_be_irrelevant}
        lookups = followed(table)
        names = bool(self._relevances) or any(
            each.relevance.may_be_irrelevant for some in lookups.values() for each in some
        )
        self.scope = scope_of(table.namespaces, changed_paths=names, before=owner_paths(table))
        self._of_source: dict[str, list[Route]] = {}
        self._touched: dict[str, list[str]] = {}
        for declaration in table.values():
            self._of_source.setdefault(".".join(declaration.source), []).append(declaration.route)
            for namespace in declaration.namespaces:
                self._touched.setdefault(".".join(namespace), []).append(declaration.route.name)

    def __repr__(self) -> str:
        return f"Sources({', '.join(self._touched)})"

    def by_collection(
        self, changes: Sequence[Mapping[str, Any]]
    ) -> Iterable[tuple[Sequence[Route], Sequence[Mapping[str, Any]]]]:
        """The events of each collection that is a source, with its routes.

        Raises `LookupError` for events of another form.
        """
        if self.scope.is_single:
            return [(routes, changes) for routes in self._of_source.values()] if changes else []
        named = self.by_name(changes).items()
        return [(self._of_source[name], events) for name, events in named if name in self._of_source]

    def by_name(self, changes: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The events of each collection, by its name. Raises `LookupError` for events of another form."""
        if self.scope.is_single:
            return dict.fromkeys(self._touched, changes)
        found: dict[str, list[Mapping[str, Any]]] = {}
        for change in changes:
            name = change["namespace"]
            if name in found:
                found[name].append(change)
            else:
                found[name] = [change]
        return found

    def relevant(self, route: str, changes: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Those of the changes of its source that may change what a route shows: the same list if all may."""
        relevance = self._relevances.get(route)
        if relevance is None:
            return changes
        return [
            change
            for change in changes
            if change["operation"] != _UPDATE or relevance.touched_by(change.get("changed"))
        ]

    def needs(self, events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Why which routes must be reconciled, after events that are not about one document.

        Raises `PositionLost` for an event that ends the stream, or whose meaning is unknown.
        """
        reasons: dict[str, str] = {}
        for event in events:
            operation = event["operation"]
            if operation not in _OF_COLLECTIONS or self.scope.is_single:
                raise _position_lost(operation)
            for name in self._named_by(event):
                for route in self._touched.get(name, ()):
                    reasons.setdefault(route, f"{name} saw {operation}")
        return reasons

    def _named_by(self, event: Mapping[str, Any]) -> list[str]:
        name = event["namespace"]
        if event["operation"] == _DROP_DATABASE:
            return [known for known in self._touched if known.startswith(name)]
        new = event.get("to")
        return [name] if new is None else [name, f"{new['db']}.{new['coll']}"]


def _position_lost(operation: str) -> PositionLost:
    if operation in ENDING_OPERATIONS:
        return PositionLost(f"the source collection saw {operation}")
    return PositionLost(f"the change stream sent {operation}, and what that means for documents is unknown")
