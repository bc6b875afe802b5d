"""The synonyms or curations of one route, wherever the server's release has them.

Up to 29 they are in each collection of the route; from 30 on in a set of the route's own, to which its collections
refer. An upgrade of the server moves what was in a collection into a set called after it: there, what is ours is found
too, and moved into our own set when it is changed.

Invariants: an item is in place if every collection of the route has it, alike. Sets of others are never changed, but
for what an upgrade moved into the set of one of these collections.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tsync_stream.sink.artefact_equality import same_item
from tsync_stream.sink.artefacts import Belongings, ItemKind, Items, references_of, without

Found: TypeAlias = Mapping[str, Mapping[str, Any] | None]
"""Items by id; None for one that is not in place: elsewhere, or not alike in all collections."""

# No name of ours with `_` behind it begins another one: Typesense 30 would remove that one's items with ours.
OUR_SET = "{target}.tsync-stream"
_MIGRATED = "_index"


class OwnedItems:
    """One kind of items of one route. `collections` are its collections, described by Typesense, the live one first."""

    def __init__(
        self, belongings: Belongings, kind: ItemKind, route_target: str, collections: Sequence[Mapping[str, Any]]
    ) -> None:
        self.kind = kind
        self._belongings = belongings
        self._collections = [str(each["name"]) for each in collections]
        self._set = OUR_SET.format(target=route_target)
        self._references = {str(each["name"]): references_of(each, kind) for each in collections}

    def __repr__(self) -> str:
        return f"OwnedItems({self.kind.many} of {', '.join(self._holders)})"

    @property
    def _holders(self) -> list[str]:
        return [self._set] if self._belongings.with_sets else self._collections

    @property
    def _elsewhere(self) -> list[str]:
        """The sets into which an upgrade moved what was in these collections."""
        if not self._belongings.with_sets:
            return []
        names = [name for references in self._references.values() for name in references]
        return [name for name in dict.fromkeys(names) if name.endswith(f"_{self.kind.many}{_MIGRATED}")]

    @property
    def _refers(self) -> bool:
        return all(self._set in references for references in self._references.values())

    async def found(self) -> Found:
        """Everything that is there, whoever made it."""
        held = [await self._belongings.items(self.kind, holder) or {} for holder in self._holders]
        stray = [await self._belongings.items(self.kind, holder) or {} for holder in self._elsewhere]
        names = dict.fromkeys(name for items in [*held, *stray] for name in items)
        unplaced = {name for items in stray for name in items}
        in_place = self._refers or not self._belongings.with_sets
        return {name: _alike(name, held) if in_place and name not in unplaced else None for name in names}

    async def other_sets(self) -> list[str]:
        """The sets of others that the route's collections refer to."""
        names = [name for references in self._references.values() for name in references]
        return without(names, [self._set, *self._elsewhere])

    async def put(self, name: str, item: Mapping[str, Any]) -> None:
        """Make an item or replace it, everywhere."""
        if self._belongings.with_sets:
            await self._belongings.make_set(self.kind, self._set)
        for holder in self._holders:
            await self._belongings.put(self.kind, holder, name, item)
        await self._refer()
        for holder in self._elsewhere:
            await self._belongings.remove(self.kind, holder, name)

    async def remove(self, name: str) -> None:
        """Remove an item everywhere; a set of ours that is empty then goes, too."""
        for holder in [*self._holders, *self._elsewhere]:
            await self._belongings.remove(self.kind, holder, name)
        if self._belongings.with_sets and await self._belongings.items(self.kind, self._set) == {}:
            await self._refer(no_more=True)
            await self._belongings.remove_set(self.kind, self._set)

    async def _refer(self, *, no_more: bool = False) -> None:
        if not self._belongings.with_sets:
            return
        for collection, references in self._references.items():
            wanted = without([*references, self._set], [self._set] if no_more else [])
            if wanted != references:
                await self._belongings.refer(collection, {self.kind: wanted})
                self._references[collection] = wanted


def _alike(name: str, held: Sequence[Items]) -> Mapping[str, Any] | None:
    first = held[0].get(name)
    if first is None or not all(name in items and same_item(first, items[name]) for items in held[1:]):
        return None
    return first
