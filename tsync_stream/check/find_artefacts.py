"""Finds what differs between the artefacts that are declared and those that Typesense has. Changes nothing.

Invariant: nothing is asked about a kind of which nothing is declared and nothing remembered: it needs no right then.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tsync_stream.check.artefact_difference import Group
from tsync_stream.check.artefact_places import GlobalPlace, ItemPlace, KeyPlace, Place
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.model import Route
from tsync_stream.routes.artefact_declarations import DeclaredArtefacts, OfRoute
from tsync_stream.routes.declared import declared_artefacts, declared_routes
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings
from tsync_stream.sink.aliases import shown_by
from tsync_stream.sink.artefacts import ITEM_KINDS, Belongings, ItemKind, has_sets
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.global_artefacts import ALIASES, KEYS, PRESETS, STOPWORDS
from tsync_stream.sink.owned_items import OwnedItems
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.state.artefacts import ArtefactMemory, Remembered
from tsync_stream.state.generation_store import GenerationStore

Names: TypeAlias = Mapping[str, Remembered]
Collections: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Compared:
    """A group as it was compared, and where its artefacts are."""

    group: Group
    place: Place


async def find_artefacts(
    settings: Settings, table: RouteTable, target: TypesenseTarget, state: MongoDatabase, only: str = ""
) -> list[Compared]:
    """What is declared or remembered of these routes, and of all collections if these are all routes.

    `only`: of this kind alone. Raises the errors of the calls; that the API key lacks a right is the problem of a
    group.
    """
    remembered = await ArtefactMemory(state).all()
    looking = _Looking(settings, target, state, declared_artefacts(settings), remembered, only)
    found = [each for route in table.routes async for each in looking.of_route(route)]
    if len(table) == len(declared_routes(settings)):
        found += [each async for each in looking.of_all()]
    return found


async def find_one(
    settings: Settings, kind: str, route: str, target: TypesenseTarget, state: MongoDatabase
) -> Compared | None:
    """The group of one kind and route (of all collections if it is empty); None if there is nothing to compare."""
    every = declared_routes(settings)
    if route and route not in every:
        return None
    table = RouteTable([every[route]]) if route else every
    found = await find_artefacts(settings, table, target, state, only=kind)
    return next((each for each in found if (each.group.kind, each.group.route) == (kind, route)), None)


class _Looking:
    def __init__(
        self,
        settings: Settings,
        target: TypesenseTarget,
        state: MongoDatabase,
        declared: DeclaredArtefacts,
        remembered: Sequence[Remembered],
        only: str,
    ) -> None:
        self._only = only
        self._settings = settings
        self._target = target
        self._state = state
        self._declared = declared
        self._remembered = remembered
        self._belongings: Belongings | None = None

    async def of_route(self, route: Route) -> AsyncIterator[Compared]:
        """The groups of a route; none while its collection is missing, which a start creates."""
        declared = self._declared.routes.get(route.name, OfRoute())
        wanted = {"synonyms": declared.synonyms, "curations": declared.curations}
        for kind in ITEM_KINDS:
            remembered = self._of(kind.many, route.name)
            if not self._wants(kind.many, wanted[kind.many], route.name):
                continue
            if not (collections := await self._collections(route)):
                return

            async def opened(kind: ItemKind = kind, collections: Collections = collections) -> OwnedItems:
                return OwnedItems(await self._form(), kind, route.target, collections)

            yield await _compared(kind.many, route.name, ItemPlace(opened, wanted[kind.many]), remembered)

    async def of_all(self) -> AsyncIterator[Compared]:
        """The groups of all collections."""
        declared, target = self._declared, self._target
        if self._wants(STOPWORDS.many, declared.stopwords):
            stopwords = GlobalPlace(target, STOPWORDS, declared.stopwords)
            yield await _compared(STOPWORDS.many, "", stopwords, self._of(STOPWORDS.many))
        if self._wants(PRESETS.many, declared.presets):
            presets = {name: {"value": value} for name, value in declared.presets.items()}
            yield await _compared(PRESETS.many, "", GlobalPlace(target, PRESETS, presets), self._of(PRESETS.many))
        if self._wants(ALIASES.many, declared.aliases):
            yield await self._aliases()
        if self._wants(KEYS.many, declared.search_keys):
            remembered = self._of(KEYS.many)
            numbers = {name: each.key_id for name, each in remembered.items() if each.key_id is not None}
            place = KeyPlace(target, self._settings.typesense, declared.search_keys, numbers)
            yield await _compared(KEYS.many, "", place, remembered)

    async def _aliases(self) -> Compared:
        """An alias that is to show what a route's target shows waits until that exists."""
        targets = frozenset(route.target for route in declared_routes(self._settings).routes)
        wanted: dict[str, Mapping[str, Any]] = {}
        waiting = set()
        for alias, name in self._declared.aliases.items():
            shown = await shown_by(self._target, name) if name in targets else None
            if shown is not None and not shown.exists:
                waiting.add(alias)
            else:
                wanted[alias] = {"collection_name": name if shown is None else shown.collection}
        remembered = {name: each for name, each in self._of(ALIASES.many).items() if name not in waiting}
        place = GlobalPlace(self._target, ALIASES, wanted, targets | waiting)
        return await _compared(ALIASES.many, "", place, remembered)

    def _wants(self, kind: str, declared: Mapping[str, Any], route: str = "") -> bool:
        return self._only in {"", kind} and bool(declared or self._of(kind, route))

    async def _collections(self, route: Route) -> Collections:
        """The collections of a route's generations that exist, the live one first; [] if that one is missing."""
        stored = await GenerationStore(self._state).load(route.name)
        names = [route.target]
        if stored is not None:
            names += [each.collection for each in stored.generations]
        found = {str(live["name"]): live for name in names if (live := await self._target.collection(name)) is not None}
        live = await self._target.collection(route.target)
        return [] if live is None else list(found.values())

    async def _form(self) -> Belongings:
        if self._belongings is None:
            self._belongings = Belongings(self._target, with_sets=await has_sets(self._target))
        return self._belongings

    def _of(self, kind: str, route: str = "") -> Names:
        return {each.name: each for each in self._remembered if (each.kind, each.route) == (kind, route)}


async def _compared(kind: str, route: str, place: Place, remembered: Names) -> Compared:
    try:
        found, others = await place.found()
    except ConfigurationError as error:
        group = Group(kind, route, place.declared, remembered, {}, place.normal, problem=str(error))
    else:
        group = Group(kind, route, place.declared, remembered, found, place.normal, others=others)
    return Compared(group, place)
