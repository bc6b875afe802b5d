"""Rechecks: keys of in-doubt writes, synced again once the old request can no longer be alive.

Typesense may still apply a write that timed out, later and over newer data, and has no conditional write to prevent it.
So the key is synced again after twice the deadline of the longest request, and twice more after longer pauses.

Invariants: a recheck is majority-written before its entry is acked. Another in-doubt write of the key starts the count
again, and a recheck in hand cannot remove that (`version`). Its owner follows from what never changes, the name of the
route and the Typesense id, and from today's partitions: two owners never sync one document.
"""

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """The `rechecks` collection as one replica sees it. Calls raise the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase, longest_request_s: float, route: str, partitions: int) -> None:
        self._collection = database[RECHECKS]
        self._longest_request_s = longest_request_s
        self._route = route
        self._partitions = partitions
        self._place_of = partitioner(route, PLACES)
        self._due_s: dict[_Watch, float] = {}

    async def start(self) -> None:
        """Create the index that owners search."""
        async with translated():
            await self._collection.create_index([("route", 1), ("done", 1)])

    async def add(self, in_doubt: Iterable[tuple[int, Entry]]) -> int:
        """Store keys whose last write is in doubt; returns how many keys that are."""
        updates: dict[tuple[str, bytes], UpdateOne] = {}
        for _, entry in in_doubt:
            place = self._place(entry.key)
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

    async def due(self, partitions: Collection[int], limit: int) -> list[Recheck]:
        """Rechecks of these partitions that are due. Each waits from when we first saw it, on our clock."""
        now_s = clock.now_s()
        due: list[Recheck] = []
        seen: set[_Watch] = set()
        async with translated():
            cursor = self._collection.find(self._of(partitions)).limit(MAX_WATCHED)
            async for document in cursor:
                partition = self._partition(document)
                if partition is None or partition not in partitions:
                    continue
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

    def _of(self, partitions: Collection[int]) -> dict[str, Any]:
        """A query for our route's rechecks in these partitions; older versions stored no place."""
        places: list[dict[str, Any]] = [{"place": {"$mod": [self._partitions, partition]}} for partition in partitions]
        return {"route": self._route, "$or": [*places, {"place": None}]}

    def _partition(self, document: Mapping[str, Any]) -> int | None:
        place = document["place"] if "place" in document else self._place(document["key"])
        return None if place is None else int(place) % self._partitions

    def _place(self, key: Key) -> int | None:
        """The key's place; None if it has no Typesense id, and so was never written."""
        try:
            return self._place_of(typesense_id(key))
        except DocumentRejected:
            return None

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
