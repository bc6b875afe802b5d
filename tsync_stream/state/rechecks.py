"""Rechecks: keys of doubtful writes, synced once more when the old request can no longer be alive.

A write that timed out may still be applied by Typesense later, over newer data, and Typesense has no conditional
write to stop it. So the key is looked at again after twice the longest request's deadline, and twice more after longer
pauses. Invariants: a recheck is majority-written before its entry is acked; a new doubt starts the count again,
and a recheck that was synced meanwhile cannot remove it (`version`). Whose it is follows from what never changes, the
route's name and the Typesense id, with the partitions of today: two owners never sync one document.
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
from tsync_stream.core.model import Entry, Key, Operation, Reason, partitioner
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import RECHECKS

# Pauses before the rechecks of one doubt, in deadlines of the longest request.
PAUSES_IN_DEADLINES = (2, 6, 18)
# How many waiting rechecks one replica keeps an eye on; the others wait their turn in MongoDB.
MAX_WATCHED = 10_000
# A *place* is a partition among so many: what any number of partitions follows from, whatever it was then.
PLACES = 1 << 32


@dataclass(frozen=True, slots=True)
class Recheck:
    """A key to sync again; `done` counts its rechecks so far."""

    record: Mapping[str, Any]
    version: str
    partition: int
    route: str
    key: Key
    done: int

    def entry(self, cluster_time: Any) -> Entry:
        """The key as sync takes it."""
        return Entry(self.route, self.key, Operation.CHECK, cluster_time, Reason.RECHECK)


class _Watch(NamedTuple):
    """One doubt of one key (its version) after so many rechecks."""

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
        """Make the index that owners look through."""
        async with translated():
            await self._collection.create_index([("route", 1), ("done", 1)])

    async def add(self, doubtful: Iterable[tuple[int, Entry]]) -> int:
        """Store keys whose last write is doubtful; returns how many keys there are."""
        updates: dict[tuple[str, bytes], UpdateOne] = {}
        for _, entry in doubtful:
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
        """Rechecks of these partitions that are due. The wait counts from when we first saw them, on our clock."""
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
        # Each lane asks for its own partitions: those of the others stay watched.
        for watch in [watch for watch in self._due_s if watch.partition in partitions and watch not in seen]:
            del self._due_s[watch]
        return due

    async def done(self, rechecks: Sequence[Recheck]) -> None:
        """These were synced: count them, and forget those that had their last."""
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
        """What finds those of our route in these partitions; older versions stored a partition, and no place."""
        places: list[dict[str, Any]] = [{"place": {"$mod": [self._partitions, partition]}} for partition in partitions]
        return {"route": self._route, "$or": [*places, {"place": None}]}

    def _partition(self, document: Mapping[str, Any]) -> int | None:
        place = document["place"] if "place" in document else self._place(document["key"])
        return None if place is None else int(place) % self._partitions

    def _place(self, key: Key) -> int | None:
        """None for a key that has no Typesense id: it was never written."""
        try:
            return self._place_of(typesense_id(key))
        except DocumentRejected:
            return None

    async def count(self) -> int:
        """How many keys wait."""
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
