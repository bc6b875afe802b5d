"""The third tier: a queue in MongoDB, for when neither Redis can be the queue.

Invariants:

- No transactions: every step changes one document or may be repeated. A transaction whose client dies holds its locks
  for `transactionLifetimeLimitSeconds` (60 s), and a replica that takes over would wait for them.
- An append is done once the partition's head has the new last id and the payloads (`pending`), by one compare-and-set.
  Their own documents follow. If the writer dies first, the next one begins by writing them; readers read only entries
  that have documents.
- What was delivered and what is acked are two offsets beside the owner's fence. An entry's `status` is for people; it
  is set before the offset that covers it.
- Everything but removals is written with w:majority. Within one call, reads see its writes, even those that changed
  nothing: a majority-acknowledged write that changes nothing waits for the write that made it so.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pymongo
from pymongo import DeleteMany, ReplaceOne, UpdateMany, UpdateOne

from tsync_stream.core.errors import DependencyUnavailable, Fenced
from tsync_stream.core.model import EpochRef, Head, PartitionBatches, RecordBatch, Token
from tsync_stream.queue import mongo_layout as documents
from tsync_stream.queue.codec import encode_record_batch
from tsync_stream.queue.mongo_layout import DELIVERED, HEAD, OWNER, Document, PartitionState, document_id, lost
from tsync_stream.queue.mongo_partitions import Partitions
from tsync_stream.queue.tier import Append, Claimed, Found, Read
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import FALLBACK_QUEUE

# The deadline for all that one call asks of MongoDB.
REQUEST_TIMEOUT_S = 5.0
# How often a waiting read looks again; each look is one query by `_id` for two documents per partition.
LOOK_INTERVAL_S = 0.05
# Documents that a clean-up removes at once, well within REQUEST_TIMEOUT_S.
REMOVE_AT_ONCE = 5_000
_PROBE_ID = "probe"


class MongoFallback:
    """A collection of the state database as a tier. Keeps the contract of `queue.tier.Tier`."""

    def __init__(self, database: MongoDatabase) -> None:
        self.name = "mongo"
        self._database = database
        self._queue = database[FALLBACK_QUEUE]

    def __repr__(self) -> str:
        return f"<MongoFallback {self._database.name}.{FALLBACK_QUEUE}>"

    async def start(self) -> None:
        """Nothing to open: the collection is created with the first epoch."""

    async def probe(self, entries: int = 0) -> None:
        """`entries` is ignored: a MongoDB without disk space stops, and the source with it."""
        async with _one_call():
            await self._queue.update_one({"_id": _PROBE_ID}, {"$inc": {"probes": 1}}, upsert=True)
            await self._queue.delete_one({"_id": _PROBE_ID})

    async def create(self, epoch: EpochRef, partitions: int, fence: int, token: Token) -> None:
        made = [
            ReplaceOne({"_id": document["_id"]}, document, upsert=True)
            for partition in range(partitions)
            for document in documents.new_partition(epoch, partition, fence, token)
        ]
        async with self._at(epoch) as at:
            await at.write(made)

    async def take_over(self, epoch: EpochRef, partitions: int, fence: int) -> Sequence[Head]:
        taken = [
            UpdateOne({"_id": document_id(epoch, partition, HEAD), "fence": {"$lt": fence}}, {"$set": {"fence": fence}})
            for partition in range(partitions)
        ]
        async with self._at(epoch) as at:
            await at.write(taken)
            states = await at.states(range(partitions))
            _check_fences(states, fence)
            await at.finish_appends(states)
            await at.check_ends(states)
        return [state.head() for state in states]

    async def append(self, epoch: EpochRef, fence: int, token: Token, appends: Sequence[Append]) -> None:
        """An append is at most one reply of the change stream (16 MB) or one batch of a job.

        So the head's `pending` stays under MongoDB's limit of 16 MB per document: an entry takes 75 bytes, its key and
        the route's name, but a change event some 170 bytes and its key three times. A job's batch has at most 10,000
        keys of up to 1 KB.
        """
        async with self._at(epoch) as at:
            partitions = [append.partition for append in appends]
            await at.check_ends(await at.states(partitions))
            # Each entry alone, because here a document is what is read and acked.
            payloads = [[encode_record_batch([item]) for item in append.items] for append in appends]
            both = list(zip(appends, payloads, strict=True))
            outcome = await at.write([_append_to_head(epoch, fence, token, *call) for call in both])
            if outcome.matched_count == len(appends):
                entries = [entry for call in both for entry in _entries_of(epoch, fence, *call)]
                await at.store(entries, {append.partition: append.last_id(fence) for append in appends})
                return
            states = await at.states(partitions)
            _check_fences(states, fence)
            await at.finish_appends(states)
            for state, append in zip(states, appends, strict=True):
                if state.last != append.last_id(fence):
                    raise lost(state.partition, "does not end where it was left")

    async def own(self, epoch: EpochRef, fences: Mapping[int, int]) -> Mapping[int, Found]:
        found = {}
        async with self._at(epoch) as at:
            for partition, fence in fences.items():
                found[partition] = await at.take(partition, fence)
        return found

    async def claim(self, epoch: EpochRef, partition: int, consumer: str, limit: int) -> Claimed:
        """The consumer is not stored: the owner's fence, not a name, decides who may ack."""
        async with self._at(epoch) as at:
            states = await at.states([partition])
            await at.check_ends(states)
            (state,) = states
            pending = {partition: (state.acked + 1, state.delivered)}
            record_batches = (await at.entries(pending, limit + 1))[partition]
        return Claimed({partition: record_batches[:limit]}, state.delivered, complete=len(record_batches) <= limit)

    async def read(self, epoch: EpochRef, partitions: Sequence[int], consumer: str, limit: int, wait_s: float) -> Read:
        """Waits by looking again every LOOK_INTERVAL_S."""
        deadline_s = time.monotonic() + wait_s
        while True:
            found = await self._read_once(epoch, partitions, limit)
            left_s = deadline_s - time.monotonic()
            if found or left_s <= 0:
                return Read(found, full=any(len(record_batches) >= limit for record_batches in found.values()))
            await asyncio.sleep(min(LOOK_INTERVAL_S, left_s))

    async def ack(
        self, epoch: EpochRef, acks: Mapping[int, Sequence[bytes]], fences: Mapping[int, int]
    ) -> Collection[int]:
        """The offset first, then the entries it covers: what a fault leaves is removed with the next ack."""
        last = {partition: max(map(documents.last_offset, ids)) for partition, ids in acks.items()}
        async with self._at(epoch) as at:
            outcome = await at.write(
                [
                    UpdateOne(
                        {"_id": document_id(epoch, partition, OWNER), "fence": fences[partition]},
                        {"$max": {"acked": last[partition]}},
                    )
                    for partition in acks
                ],
            )
            refused = []
            if outcome.matched_count < len(acks):
                found = await at.find(acks)
                refused = [p for p in acks if found.get((p, OWNER), {}).get("fence") != fences[p]]
            removals = [
                DeleteMany(documents.between(epoch, partition, 0, last[partition]))
                for partition in acks
                if partition not in refused
            ]
            if removals:
                # Without majority: an acked entry may come back, and is removed with the next ack.
                await at.write(removals, majority=False)
        return refused

    async def backlog(self, epoch: EpochRef, partitions: int) -> Sequence[int]:
        async with self._at(epoch) as at:
            found = await at.find(range(partitions))
        return [_unacked(partition, found) for partition in range(partitions)]

    async def peek(self, epoch: EpochRef, partition: int, limit: int) -> Sequence[RecordBatch]:
        async with self._at(epoch) as at:
            (state,) = await at.states([partition])
            found = await at.entries({partition: (state.acked + 1, state.acked + limit)})
        return found[partition]

    async def remove_older(self, epoch: EpochRef) -> int:
        return await self._remove(documents.older_epochs(epoch))

    async def remove(self, epoch: EpochRef, partitions: int) -> None:
        await self._remove(documents.whole_epoch(epoch))

    async def close(self) -> None:
        """The client belongs to whoever created it."""

    @asynccontextmanager
    async def _at(self, epoch: EpochRef) -> AsyncIterator[Partitions]:
        """One call to this tier: within its deadline, causally consistent, and with our errors."""
        async with _one_call(), await self._database.client.start_session(causal_consistency=True) as session:
            yield Partitions(self._queue, epoch, session)

    async def _read_once(self, epoch: EpochRef, partitions: Sequence[int], limit: int) -> PartitionBatches:
        async with _one_call():  # most looks find nothing, and need no session
            states = await Partitions(self._queue, epoch, None).states(partitions)
        waiting = [state for state in states if state.stored_offset > state.delivered]
        if not waiting:
            return {}
        async with self._at(epoch) as at:
            await at.check_ends(waiting)
            ranges = {
                state.partition: (state.delivered + 1, min(state.delivered + limit, state.stored_offset))
                for state in waiting
            }
            record_batches = await at.entries(ranges)
            empty = [state for state in waiting if not record_batches[state.partition]]
            if empty:
                now = await at.states([state.partition for state in empty])
                if all(before.delivered == after.delivered for before, after in zip(empty, now, strict=True)):
                    raise lost(empty[0].partition, f"lacks the entries after {empty[0].delivered}")
                raise _read_by_another()
            await _deliver(at, epoch, waiting, record_batches)
        return record_batches

    async def _remove(self, query: Mapping[str, Any]) -> int:
        """Delete in bounded steps, so that a time-out does not undo what earlier steps removed."""
        removed = 0
        while True:
            async with _one_call():
                cursor = self._queue.find(query, {"_id": 1}, sort=[("_id", 1)], limit=REMOVE_AT_ONCE)
                ids = [document["_id"] async for document in cursor]
                if not ids:
                    return removed
                step = {"_id": {"$gte": ids[0], "$lte": ids[-1]}}
                removed += (await self._queue.delete_many(step)).deleted_count


@asynccontextmanager
async def _one_call() -> AsyncIterator[None]:
    async with translated():
        with pymongo.timeout(REQUEST_TIMEOUT_S):
            yield


async def _deliver(
    at: Partitions,
    epoch: EpochRef,
    states: Sequence[PartitionState],
    record_batches: PartitionBatches,
) -> None:
    """Store what is delivered now. Raises `DependencyUnavailable` if another reader was faster."""
    marks: list[UpdateMany | UpdateOne] = []
    for state in states:
        last = record_batches[state.partition][-1].last_offset
        given = documents.between(epoch, state.partition, state.delivered + 1, last)
        marks.append(UpdateMany(given, {"$set": {"status": DELIVERED}}))
        owner = {"_id": document_id(epoch, state.partition, OWNER), "delivered": state.delivered}
        marks.append(UpdateOne(owner, {"$set": {"delivered": last}}))
    outcome = await at.write(marks)
    if outcome.matched_count < len(states) + sum(map(len, record_batches.values())):
        raise _read_by_another()


def _entries_of(epoch: EpochRef, fence: int, append: Append, payloads: Sequence[bytes]) -> list[dict[str, Any]]:
    return documents.new_entries(epoch, append.partition, append.after_offset + 1, fence, payloads)


def _append_to_head(epoch: EpochRef, fence: int, token: Token, append: Append, payloads: Sequence[bytes]) -> UpdateOne:
    """The compare-and-set that is an append."""
    as_left = {
        "_id": document_id(epoch, append.partition, HEAD),
        "fence": {"$lte": fence},
        "last": append.after,
        "pending": {"$exists": False},
    }
    appended = {"fence": fence, "last": append.last_id(fence), "token": dict(token), "pending": payloads}
    return UpdateOne(as_left, {"$set": appended})


def _check_fences(states: Sequence[PartitionState], fence: int) -> None:
    for state in states:
        if state.fence > fence:
            raise Fenced(f"MongoDB fallback: partition {state.partition} has a newer capturing replica")


def _read_by_another() -> DependencyUnavailable:
    """As after a lost reply: what was marked as delivered is pending, and will be claimed."""
    return DependencyUnavailable("MongoDB fallback: another replica reads the same partition")


def _unacked(partition: int, found: Mapping[tuple[int, str], Document]) -> int:
    """How many entries are not acked, by the two offsets; 0 if the partition is not complete."""
    if (partition, HEAD) not in found or (partition, OWNER) not in found:
        return 0
    state = documents.partition_state(partition, found)
    # The two documents may be of two moments.
    return max(0, state.last_offset - state.acked)
