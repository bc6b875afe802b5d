"""The collection `generations`: one document for each declared route that was ever reindexed.

Invariants: a document changes by compare-and-set on its revision alone, and is read and written with a majority.
What a newer version of ours has added to it is not kept by this one.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

from pymongo.errors import DuplicateKeyError

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import GENERATIONS
from tsync_stream.state.generations import (
    Generation,
    Generations,
    LastReindex,
    Leaving,
    Reindex,
    ReindexOptions,
    UnreadableGenerations,
)

# Few write a document, and each for its own reason: a person, the capturing replica.
ATTEMPTS = 5

Value = TypeVar("Value")


class GenerationStore:
    """Every call raises the errors of `errors.from_mongo`; those that read, `UnreadableGenerations`."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database[GENERATIONS]

    async def load(self, route: str) -> Generations | None:
        """The document of a declared route; None if it was never reindexed."""
        async with translated():
            document = await self._collection.find_one({"_id": route})
        return None if document is None else from_bson(document)

    async def all(self) -> dict[str, Generations]:
        """Those of all declared routes that have one, by their names."""
        async with translated():
            return {document["_id"]: from_bson(document) async for document in self._collection.find({})}

    async def replace(self, old: Generations, new: Generations) -> Generations | None:
        """Store `new` in the place of `old`, as it was read; returns it as stored, None if `old` is not current.

        An `old` of revision 0 must not be stored yet.
        """
        stored = replace(new, revision=old.revision + 1)
        document = to_bson(stored)
        async with translated():
            if old.revision:
                result = await self._collection.replace_one({"_id": old.route, "revision": old.revision}, document)
                if result.matched_count:
                    return stored
            else:
                try:
                    await self._collection.insert_one(document)
                except DuplicateKeyError:
                    pass
                else:
                    return stored
        # A write whose reply was lost is repeated, and then finds its own work. Times must be in whole milliseconds.
        return stored if await self.load(old.route) == stored else None

    async def update(self, route: str, change: Callable[[Generations], Generations]) -> Generations | None:
        """Store what `change` makes of the document as it is now; None if there is none. It may be called again."""
        for _ in range(ATTEMPTS):
            old = await self.load(route)
            if old is None:
                return None
            new = change(old)
            if new == old:
                return old
            if (stored := await self.replace(old, new)) is not None:
                return stored
        raise DependencyUnavailable(f"the generations of route {route} keep changing; try again")


def to_bson(generations: Generations) -> dict[str, Any]:
    """As stored."""
    document = asdict(generations)
    return {"_id": document.pop("route"), **document}


def from_bson(document: Mapping[str, Any]) -> Generations:
    """The inverse of `to_bson`. Raises `UnreadableGenerations`."""
    try:
        return _from_bson(document)
    except (AttributeError, LookupError, TypeError) as error:
        raise UnreadableGenerations(
            f"what STATE_DATABASE holds of the generations of route {document['_id']} cannot be read by this version"
        ) from error


def _from_bson(document: Mapping[str, Any]) -> Generations:
    reindex, last = document["reindex"], document["last"]
    return Generations(
        route=document["_id"],
        target=document["target"],
        live=document["live"],
        next_number=document["next_number"],
        generations=tuple(_known(Generation, each) for each in document["generations"]),
        layout=document["layout"],
        revision=document["revision"],
        reindex=None if reindex is None else _reindex(reindex),
        removing=tuple(_known(Leaving, each) for each in document["removing"]),
        last=None if last is None else _known(LastReindex, last),
    )


def _reindex(document: Mapping[str, Any]) -> Reindex:
    return replace(_known(Reindex, document), options=_known(ReindexOptions, document["options"]))


def _known(kind: type[Value], document: Mapping[str, Any]) -> Value:
    """A value of the fields that we know; a newer version may have stored others."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # all of them are dataclasses
    return kind(**{name: value for name, value in document.items() if name in names})
