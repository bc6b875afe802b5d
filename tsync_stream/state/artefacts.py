"""Which artefacts of Typesense `apply` made, in the collection `artefacts`: one document for each.

What was declared once and is no longer has to be removed, and what somebody else made must not be; Typesense itself
does not tell them apart.

Invariant: names, ids and digests are kept, never what an artefact says and never a key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import ReplaceOne

from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import ARTEFACTS


@dataclass(frozen=True, slots=True)
class Remembered:
    """An artefact of ours. `route` is "" for what belongs to all collections.

    `declared` and `found` are digests: of what was declared, and of how Typesense described it then. `key_id` is the
    number of a search key.
    """

    kind: str
    route: str
    name: str
    declared: str
    found: str
    key_id: int | None = None


class ArtefactMemory:
    """Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database[ARTEFACTS]

    async def all(self) -> list[Remembered]:
        """Everything that is remembered."""
        async with translated():
            return [_of(document) async for document in self._collection.find({})]

    async def names(self, kind: str) -> set[str]:
        """The names of what is remembered of one kind."""
        async with translated():
            return set(await self._collection.distinct("name", {"kind": kind}))

    async def remember(self, made: Iterable[Remembered]) -> None:
        """Store what was made or changed."""
        writes = [ReplaceOne({"_id": _id(each.kind, each.route, each.name)}, _document(each), True) for each in made]
        if writes:
            async with translated():
                await self._collection.bulk_write(writes, ordered=False)

    async def forget(self, kind: str, route: str, names: Iterable[str]) -> None:
        """Remove what is gone."""
        ids = [_id(kind, route, name) for name in names]
        if ids:
            async with translated():
                await self._collection.delete_many({"_id": {"$in": ids}})


def _id(kind: str, route: str, name: str) -> Mapping[str, str]:
    return {"kind": kind, "route": route, "name": name}


def _document(made: Remembered) -> dict[str, Any]:
    digests = {"declared": made.declared, "found": made.found, "key_id": made.key_id}
    parts = _id(made.kind, made.route, made.name)
    return {"_id": parts, **parts, **digests}


def _of(document: Mapping[str, Any]) -> Remembered:
    return Remembered(
        document["kind"],
        document["route"],
        document["name"],
        document["declared"],
        document["found"],
        document.get("key_id"),
    )
