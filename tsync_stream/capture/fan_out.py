"""Follows changes of looked-up documents to the documents that show them.

Invariants: before the position passes such a change, every document that may show it is in the same batch, or a refresh
of them is stored, or the need of a reconcile is. A document that begins to refer to another one later is itself a
change. Routes without lookups cost nothing here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.capture.entries import Entries
from tsync_stream.capture.followed import Followed, followed, owners, usable
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core import clock
from tsync_stream.core.model import Key, Reason, UnreadableKey
from tsync_stream.routes.declaration import Children, Parent
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.references import References
from tsync_stream.state.refreshes import Refreshes

OF_DOCUMENTS = frozenset({"insert", "update", "replace", "delete"})
# A look that takes so long is not repeated for a while: what it would find is left to refreshes.
SLOW_S = 0.4
SLOW_FOR_S = 60.0
UNREADABLE = "a looked-up document has a key that cannot be read"


@dataclass(slots=True)
class Shown:
    """Where changes of a batch are shown: the entries of those documents, and routes that must be reconciled."""

    entries: list[Entries] = field(default_factory=list)
    needs: dict[str, str] = field(default_factory=dict)


class FanOut:
    """What the capture agent follows lookups by. `most`: so many documents are queued in a batch of changes itself."""

    def __init__(self, table: RouteTable, references: References, refreshes: Refreshes, most: int) -> None:
        self._followed = followed(table)
        self._references = references
        self._refreshes = refreshes
        self._most = most
        self._slow_until_s: dict[tuple[str, str], float] = {}

    def __repr__(self) -> str:
        return f"FanOut({', '.join(self._followed) or 'no lookups'})"

    @property
    def any(self) -> bool:
        """Whether any route looks up anything."""
        return bool(self._followed)

    async def follow(self, term: CaptureTerm, changes: Sequence[Mapping[str, Any]], as_of: Timestamp) -> Shown:
        """Follow a batch of changes, none of them later than `as_of`.

        Raises the errors of MongoDB calls; then nothing of the batch may pass.
        """
        shown = Shown()
        left = self._most
        of_documents = [change for change in changes if change["operation"] in OF_DOCUMENTS]
        for name, of_collection in term.sources.by_name(of_documents).items():
            for each in self._followed.get(name, ()):
                relevant = each.relevant(of_collection)
                if not relevant:
                    continue
                if isinstance(each.lookup, Parent):
                    keys = await self._referring(each, each.lookup, relevant, as_of, left, shown)
                else:
                    keys = await self._owners(each, each.lookup, relevant, as_of, shown)
                if keys:
                    left = max(0, left - len(keys))
                    shown.entries.append(self._entries(term, each, keys, as_of))
        return shown

    async def _referring(
        self,
        each: Followed,
        lookup: Parent,
        changes: Sequence[Mapping[str, Any]],
        as_of: Timestamp,
        most: int,
        shown: Shown,
    ) -> Sequence[Key]:
        route = each.route
        references = [change["key"] for change in changes if not isinstance(change["key"], UnreadableKey)]
        if len(references) < len(changes):
            shown.needs[route.name] = UNREADABLE
        keys = await self._look(each, lookup, references, as_of, most)
        if keys is None:
            await self._refreshes.gather(route.name, lookup.collection, lookup.local, references, as_of)
            return ()
        return keys

    async def _look(
        self, each: Followed, lookup: Parent, references: Sequence[Key], as_of: Timestamp, most: int
    ) -> Sequence[Key] | None:
        """The keys of referring documents; None if they are for a refresh."""
        which, began_s = (each.route.name, lookup.local), clock.now_s()
        if began_s < self._slow_until_s.get(which, began_s):
            return None
        place = (each.route.database, each.route.collection)
        keys = await self._references.referring(place, lookup.local, references, as_of, most)
        now_s = clock.now_s()
        if keys is None and now_s - began_s >= SLOW_S:
            # Without an index, say. Other routes must not wait for this one with every change.
            self._slow_until_s[which] = now_s + SLOW_FOR_S
        return keys

    async def _owners(
        self, each: Followed, lookup: Children, changes: Sequence[Mapping[str, Any]], as_of: Timestamp, shown: Shown
    ) -> Sequence[Key]:
        found = owners(lookup, changes)
        if found.unknown:
            shown.needs[each.route.name] = (
                f"a change of {each.route.database}.{lookup.collection} came without the document as it was before"
            )
        place = (each.route.database, lookup.collection)
        after = await self._references.values(place, found.children, lookup.foreign, as_of)
        return usable([*found.before, *after])

    def _entries(self, term: CaptureTerm, each: Followed, keys: Sequence[Key], as_of: Timestamp) -> Entries:
        entries = Entries(each.route, term.partitions, Reason.CHANGE, as_of)
        entries.add_keys(keys)
        term.note_written(each.route.name, ((document_id, as_of) for document_id in entries.ids))
        return entries
