"""Refreshes: documents to be synced because what they refer to has changed, and that are too many to queue at once.

A refresh gathers references until it begins. Invariants: it is stored by a majority write before the position passes
the changes that it stands for; it ends only when everything that it queued is synced; what it gathers after it has
begun, another one gathers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bson.timestamp import Timestamp
from pymongo import ReturnDocument

from tsync_stream.core.model import Key
from tsync_stream.core.wake import Wake
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import REFRESHES
from tsync_stream.state.pipeline import new_nonce

# A document holds 16 MB, and a key is at most 1 KB.
MOST_REFERENCES = 5_000
_AT_ONCE = 1_000
_PREFIX = "refresh-"


@dataclass(frozen=True, slots=True)
class Lookup:
    """Documents of `route` refer to documents of `collection` by their field `local`."""

    route: str
    collection: str
    local: str

    def __str__(self) -> str:
        return f"route {self.route}, {self.collection} by {self.local}"


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh as stored: every document that refers to one of `references` is to be synced as of `as_of` or later."""

    id: str
    lookup: Lookup
    references: Sequence[Key]
    as_of: Timestamp


@dataclass(frozen=True, slots=True)
class OpenRefresh:
    """A refresh that has not ended, for people: how many `references` it is for, and whether it has `begun`."""

    id: str
    lookup: Lookup
    references: int
    begun: bool


def is_refresh(job: str) -> bool:
    """Whether the job of a cursor is a refresh (pure)."""
    return job.startswith(_PREFIX)


class Refreshes:
    """The `refreshes` collection. Every call raises the errors of `errors.from_mongo`.

    `stored` rings when this process has stored something to be refreshed.
    """

    def __init__(self, database: MongoDatabase) -> None:
        self.stored = Wake()
        self._collection = database[REFRESHES]

    async def gather(
        self, route: str, collection: str, local: str, references: Sequence[Key], as_of: Timestamp
    ) -> None:
        """Have every document refreshed that refers to one of these, as it is at `as_of` or later."""
        for first in range(0, len(references), _AT_ONCE):
            some = list(references[first : first + _AT_ONCE])
            waiting = {
                "route": route,
                "collection": collection,
                "local": local,
                "begun": False,
                "count": {"$lte": MOST_REFERENCES - len(some)},
            }
            change = {
                "$addToSet": {"references": {"$each": some}},
                "$inc": {"count": len(some)},
                "$max": {"as_of": as_of},
            }
            fresh = {
                **waiting,
                "count": len(some),
                "references": some,
                "as_of": as_of,
                "since": as_of,
            }
            async with translated():
                if not (await self._collection.update_one(waiting, change)).matched_count:
                    await self._collection.insert_one({"_id": f"{_PREFIX}{new_nonce()}", **fresh})
        self.stored.ring()

    async def open(self) -> list[str]:
        """The ids of all refreshes that have not ended."""
        async with translated():
            return [document["_id"] async for document in self._collection.find({}, {"_id": 1})]

    async def waiting(self, limit: int) -> list[OpenRefresh]:
        """Those that have not ended, as people see them; the ones that have begun come first."""
        names = ("route", "collection", "local")
        async with translated():
            cursor = self._collection.find({}, dict.fromkeys((*names, "count", "begun"), 1))
            return [
                OpenRefresh(each["_id"], Lookup(*(each[name] for name in names)), each["count"], each["begun"])
                async for each in cursor.sort([("begun", -1), ("as_of", 1)]).limit(limit)
            ]

    async def since(self) -> dict[str, Timestamp]:
        """For each route with open refreshes: the cluster time of the oldest change that they stand for."""
        found: dict[str, Timestamp] = {}
        async with translated():
            async for document in self._collection.find({}, {"route": 1, "since": 1}):
                route, since = document["route"], document["since"]
                found[route] = min(since, found.get(route, since))
        return found

    async def begin_next(self, running: Sequence[Lookup] = ()) -> Refresh | None:
        """Begin the one that has waited longest, of lookups of which none is running. It gathers no more then.

        One that has begun before comes first.
        """
        others = {"$nor": [asdict(lookup) for lookup in running]} if running else {}
        async with translated():
            found = await self._collection.find_one(others, {"_id": 1}, sort=[("begun", -1), ("as_of", 1)])
            if found is None:
                return None
            begun = await self._collection.find_one_and_update(
                {"_id": found["_id"]}, {"$set": {"begun": True}}, return_document=ReturnDocument.AFTER
            )
        return None if begun is None else _refresh(begun)

    async def end(self, refresh: str) -> None:
        """Everything that it queued is synced, or its route is gone."""
        async with translated():
            await self._collection.delete_one({"_id": refresh})


def _refresh(document: Mapping[str, Any]) -> Refresh:
    return Refresh(
        id=document["_id"],
        lookup=Lookup(document["route"], document["collection"], document["local"]),
        references=document["references"],
        as_of=document["as_of"],
    )


async def nothing_refreshed() -> Mapping[str, Timestamp]:
    """What `Refreshes.since` returns where no route looks anything up."""
    return {}
