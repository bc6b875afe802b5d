"""Rechecks: keys of in-doubt writes, synced again once the old request can no longer be alive.

Typesense may still apply a write that timed out, later and over newer data, and has no conditional write to prevent it.
So the key is synced again after twice the deadline of the longest request, and twice more after longer pauses.

Invariants: a recheck is majority-written before its entry is acked. Another in-doubt write of the key starts the count
again, and a recheck in hand cannot remove that (`version`). Its owner follows from what never changes, the name of the
route and the Typesense id, and from today's partitions: two owners never sync one document. Those of a suspended route
stay stored; those of a route that is gone from the table are removed, as nothing writes to its collection any more.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from bson.binary import Binary
from pymongo import DeleteOne, UpdateOne

from tsync_stream.core import clock
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import Entry, Key, Operation, partitioner
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import RECHECKS

# Pauses before the rechecks of one in-doubt write, in deadlines of the longest request.
PAUSES_IN_DEADLINES = (2, 6, 18)
# How many waiting rechecks one replica watches; the others wait in MongoDB.
MAX_WATCHED = 10_000
# Rechecks of a route that is not in the table are removed when they have been seen for so long: at first, another
# replica may know the table better than we do.
REMOVED_AFTER_S = 600.0
MAX_REMOVED = 1_000
# A *place* is a partition among this many, from which the partition follows for any number of partitions.
PLACES = 1 << 32


@dataclass(frozen=True, slots=True)
class Recheck:
    """A key to sync again; `done` counts the rechecks it has had."""

    record: Mapping[str, Any]
    version: str
    partition: int
    route: str
    key: Key
    done: int

    def entry(self, cluster_time: Any) -> Entry:
        """The entry that sync takes."""
        return Entry(self.route, self.key, Operation.CHECK, cluster_time)


class _Watch(NamedTuple):
    """One in-doubt write of a key (its version) after `done` rechecks."""

    partition: int
    version: str
    done: int


class Rechecks:
    """The `rechecks` collection as one replica sees it, which syncs these routes.

    Calls raise the errors of `errors.from_mongo`.
    """

    def __init__(
        self, database: MongoDatabase, longest_request_s: float, routes: Collection[str], partitions: int
    ) -> None:
        self._collection = database[RECHECKS]
        self._longest_request_s = longest_request_s
        self._routes = sorted(routes)
        self._partitions = partitions
        self._places_of = cache(lambda route: partitioner(route, PLACES))
        self._due_s: dict[_Watch, float] = {}
        self._unknown_s: dict[str, float] = {}  # since when we have seen rechecks of a route that is not in the table
        self._sought_s = float("-inf")

    async def start(self) -> None:
        """Create the index that owners search."""
        async with translated():
            await self._collection.create_index([("route", 1), ("done", 1)])

    async def add(self, in_doubt: Iterable[tuple[int, Entry]]) -> int:
        """Store keys whose last write is in doubt; returns how many keys that are."""
        updates: dict[tuple[str, bytes], UpdateOne] = {}
        for _, entry in in_doubt:
            place = self._place(entry)
            if place is None:
                continue
            record_key = canonical_key(entry.key)
            fields = {
                "place": place,
                "route": entry.route,
                "key": entry.key,
                "done": 0,
                "version": secrets.token_hex(8),
            }
            updates[entry.route, record_key] = UpdateOne(
                {"_id": {"route": entry.route, "key": Binary(record_key)}}, {"$set": fields}, upsert=True
            )
        if updates:
            async with translated():
                await self._collection.bulk_write(list(updates.values()), ordered=False)
        return len(updates)

    async def due(self, partitions: Collection[int], limit: int, suspended: Collection[str] = ()) -> list[Recheck]:
        """Rechecks of these partitions that are due. Each waits from when we first saw it, on our clock.

        Those of `suspended` routes are left out. To be called by whoever owns the partitions, in an epoch of our table.
        """
        now_s = clock.now_s()
        await self._remove_unknown(now_s)
        due: list[Recheck] = []
        seen: set[_Watch] = set()
        async with translated():
            cursor = self._collection.find(self._of(partitions, suspended)).limit(MAX_WATCHED)
            async for document in cursor:
                partition = int(document["place"]) % self._partitions
                watch = _Watch(partition, document["version"], document["done"])
                seen.add(watch)
                pause_s = PAUSES_IN_DEADLINES[document["done"]] * self._longest_request_s
                if self._due_s.setdefault(watch, now_s + pause_s) <= now_s and len(due) < limit:
                    due.append(_recheck(document, partition))
        # Each lane asks for its own partitions; those of other lanes stay watched.
        for watch in [watch for watch in self._due_s if watch.partition in partitions and watch not in seen]:
            del self._due_s[watch]
        return due

    async def done(self, rechecks: Sequence[Recheck]) -> None:
        """Count rechecks that were synced, and remove those that had their last."""
        writes: list[UpdateOne | DeleteOne] = []
        for recheck in rechecks:
            current = {"_id": recheck.record, "version": recheck.version}
            if recheck.done + 1 >= len(PAUSES_IN_DEADLINES):
                writes.append(DeleteOne(current))
            else:
                writes.append(UpdateOne(current, {"$set": {"done": recheck.done + 1}}))
        if writes:
            async with translated():
                await self._collection.bulk_write(writes, ordered=False)

    async def _remove_unknown(self, now_s: float) -> None:
        """Now and then, remove some rechecks of routes that have been gone from the table for a while."""
        if now_s - self._sought_s < REMOVED_AFTER_S:
            return
        self._sought_s = now_s
        async with translated():
            unknown = set(await self._collection.distinct("route")).difference(self._routes)
            self._unknown_s = {route: self._unknown_s.get(route, now_s) for route in unknown}
            gone = [route for route, since_s in self._unknown_s.items() if now_s - since_s >= REMOVED_AFTER_S]
            if gone:
                some = self._collection.find({"route": {"$in": gone}}, {"_id": 1}).limit(MAX_REMOVED)
                ids = [document["_id"] async for document in some]
                await self._collection.delete_many({"_id": {"$in": ids}})

    def _of(self, partitions: Collection[int], suspended: Collection[str]) -> dict[str, Any]:
        """A query for our routes' rechecks in these partitions, but for those of suspended routes."""
        routes = [route for route in self._routes if route not in suspended]
        places = [{"place": {"$mod": [self._partitions, partition]}} for partition in partitions]
        return {"route": {"$in": routes}, "$or": places}

    def _place(self, entry: Entry) -> int | None:
        """The place of an entry's key; None if it has no Typesense id, and so was never written."""
        try:
            return self._places_of(entry.route)(typesense_id(entry.key))
        except DocumentRejected:
            return None

    async def waiting(self, route: str, keys: Iterable[Key]) -> list[Recheck]:
        """Those of these keys of a route, which need not be one of ours."""
        records = [{"route": route, "key": Binary(canonical_key(key))} for key in keys]
        async with translated():
            cursor = self._collection.find({"_id": {"$in": records}})
            return [_recheck(document, int(document["place"]) % self._partitions) async for document in cursor]

    async def count(self) -> int:
        """How many keys are waiting, approximately."""
        async with translated():
            return await self._collection.estimated_document_count()


def _recheck(document: Mapping[str, Any], partition: int) -> Recheck:
    return Recheck(
        record=document["_id"],
        version=document["version"],
        partition=partition,
        route=document["route"],
        key=document["key"],
        done=document["done"],
    )
