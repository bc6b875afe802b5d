"""The effective table: what the routes file declares, with a route for each generation of it (pure).

A generation is an ordinary route of the pipeline. The first one has the name that is declared, `listings`, the others
`listings@2` and so on, which no file can declare. Names go by numbers, and those never change: partitions, and all that
is kept of a route, stay where they are whatever happens to the others.

Invariants: where a route has several generations, each is bound to its own collection, whatever the alias shows. A
single one goes by the declared target, as a route that was never reindexed does, so a person may move the alias. Two
tables of different layouts have different versions. Which generation is live is no part of a version.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from tsync_stream.core.model import FIRST_GENERATION
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_from_bson
from tsync_stream.routes.table import VERSION_DIGITS, RouteTable

_NUMBERED = "@"


class SeenGeneration(Protocol):
    """One generation, as stored; `declaration` None: as the file declares the route."""

    @property
    def number(self) -> int: ...
    @property
    def collection(self) -> str: ...
    @property
    def declaration(self) -> Mapping[str, Any] | None: ...


class SeenLeaving(Protocol):
    """One that is not written any more, and is yet to be deleted."""

    @property
    def collection(self) -> str: ...


class SeenGenerations(Protocol):
    """The generations of one declared route, as stored."""

    @property
    def live(self) -> int: ...
    @property
    def layout(self) -> int: ...
    @property
    def generations(self) -> Sequence[SeenGeneration]: ...
    @property
    def removing(self) -> Sequence[SeenLeaving]: ...


class EffectiveTable(RouteTable):
    """The table to work by. `declared` is the file's; `live` names the live generation of each reindexed route."""

    def __init__(self, declared: RouteTable, documents: Mapping[str, SeenGenerations]) -> None:
        found = {name: documents[name] for name in declared if name in documents}
        super().__init__(each for name in declared for each in _written(declared[name], found.get(name)))
        self.declared = declared
        self.declared_version = declared.version
        self.live = {name: generation_name(name, each.live) for name, each in found.items()}
        if found:
            layouts = sorted((name, each.layout) for name, each in found.items())
            self.version = hashlib.sha256(repr((self.version, layouts)).encode()).hexdigest()[:VERSION_DIGITS]

    def shown_instead_of(self, name: str) -> str | None:
        """For a generation that is not the live one, the live one's collection."""
        live = self.live.get(declared_name(name))
        return None if live is None or live == name or name not in self else self[live].route.target

    @property
    def behind(self) -> Mapping[str, Collection[str]]:
        """The routes behind each name that a schema may refer to: behind an alias, all generations."""
        aliases: dict[str, list[str]] = {}
        for name in self:
            if (declared := declared_name(name)) in self.live:
                aliases.setdefault(self.declared[declared].route.target, []).append(name)
        return {**super().behind, **aliases}

    def was_reindexed_away(self, name: str) -> bool:
        """Whether a route that is not in the table is a generation of one that is declared."""
        return name not in self and declared_name(name) in self.declared

    def resolved(self, name: str) -> str:
        """The name of the route that a person means by `name`, which may be unknown: that of its live generation.

        The first generation has the declared name, so `listings@1` means that one where another is live.
        """
        declared, _, number = name.rpartition(_NUMBERED)
        if number == str(FIRST_GENERATION) and declared in self.live:
            return declared
        return self.live.get(name, name)

    def option(self, route: str) -> str:
        """What a command needs to act on this route alone: ` --route listings`; "" if there is no other."""
        is_first = self.live.get(route, route) != route
        return super().option(f"{route}{_NUMBERED}{FIRST_GENERATION}" if is_first else route)


def effective(declared: RouteTable, documents: Mapping[str, SeenGenerations]) -> EffectiveTable:
    """The table to work by: `documents` has the generations of the routes that were ever reindexed, by their names.

    Documents of routes that are declared no more change nothing. Raises `ConfigurationError` if a stored
    declaration cannot be read by this version.
    """
    return EffectiveTable(declared, documents)


def generation_name(route: str, number: int) -> str:
    """What the generation of a declared route is called."""
    return route if number == FIRST_GENERATION else f"{route}{_NUMBERED}{number}"


def declared_name(name: str) -> str:
    """The declared route of which a route is a generation, or itself."""
    return name.partition(_NUMBERED)[0]


def _written(declared: Declaration, document: SeenGenerations | None) -> Iterator[Declaration]:
    if document is None:
        yield declared
        return
    # A collection of the target's own name, while it gives way to an alias, is not to be written by the one that stays.
    giving_way = any(each.collection == declared.route.target for each in document.removing)
    alone = len(document.generations) == 1 and not giving_way
    for each in document.generations:
        # Nothing holds a single collection to what it was filled by, unless the file asks for that.
        held = None if alone and declared.on_change != "reindex" else each.declaration
        as_filed = declared if held is None else declaration_from_bson(held)
        route = replace(
            as_filed.route,
            name=generation_name(declared.route.name, each.number),
            target=declared.route.target if alone else each.collection,
            declared_in=declared.route.declared_in,
            pinned=not alone,
        )
        yield replace(as_filed, route=route, max_rate=declared.max_rate, on_change=declared.on_change)
