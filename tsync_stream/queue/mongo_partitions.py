"""What the calls of the fallback tier do with the documents of an epoch: read, compare and complete them.

Invariant: others work concurrently, and several documents are not read at one moment. So a head is read before its
entries, and again if they do not match it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pymongo import DeleteMany, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError
from pymongo.results import BulkWriteResult
from pymongo.write_concern import WriteConcern

from tsync_stream.core.model import EpochRef, RecordBatch
from tsync_stream.queue import mongo_layout as documents
from tsync_stream.queue.mongo_layout import HEAD, OWNER, Document, PartitionState, document_id, lost
from tsync_stream.queue.tier import Found
from tsync_stream.source.driver import MongoCollection, MongoSession

Write: TypeAlias = UpdateOne | UpdateMany | ReplaceOne[Any] | DeleteMany

# https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml: DuplicateKey
_DUPLICATE_KEY = 11000


class Partitions:
    """The partitions of one epoch, for one call."""

    def __init__(self, queue: MongoCollection, epoch: EpochRef, session: MongoSession | None) -> None:
        self._queue = queue
        self._epoch = epoch
        self._session = session

    async def write(self, operations: Sequence[Write], *, majority: bool = True) -> BulkWriteResult:
        """One bulk write, in this order."""
        queue = self._queue if majority else self._queue.with_options(write_concern=WriteConcern(1))
        result: BulkWriteResult = await queue.bulk_write(operations, session=self._session)
        return result

    async def take(self, partition: int, fence: int) -> Found:
        """Set an owner's fence unless a newer one is there; returns what was there before."""
        owner = {"_id": document_id(self._epoch, partition, OWNER)}
        # The document as it was before; None if it is gone, or already has this fence or a newer one.
        before: Document | None = await self._queue.find_one_and_update(
            {**owner, "fence": {"$lt": fence}}, {"$set": {"fence": fence}}, session=self._session
        )
        before = before or await self._queue.find_one(owner, session=self._session)
        try:
            return Found(before["fence"], before["acked"])  # type: ignore[index]  # None is a TypeError
        except (LookupError, TypeError) as error:
            raise lost(partition, "has no owner as we write it") from error

    async def states(self, partitions: Sequence[int]) -> list[PartitionState]:
        """The heads and owners of partitions. Raises `TierLost` if one is not as we write it."""
        found = await self.find(partitions)
        return [documents.partition_state(partition, found) for partition in partitions]

    async def finish_appends(self, states: Sequence[PartitionState]) -> None:
        """Write the documents of pending payloads."""
        unfinished = [state for state in states if state.pending]
        if unfinished:
            entries = [entry for state in unfinished for entry in state.pending_entries(self._epoch)]
            await self.store(entries, {state.partition: state.last for state in unfinished})

    async def store(
        self,
        entries: Sequence[Document],
        last: Mapping[int, str],
    ) -> None:
        """Write entries that are pending in heads with these `last` ids, and then clear what is pending there.

        Two writers may do so at once, and each may repeat it: they write the same.
        """
        try:
            await self._queue.insert_many(entries, ordered=False, session=self._session)
        except BulkWriteError as error:
            if not _only_duplicates(error):
                raise
        stored = [
            UpdateOne({"_id": document_id(self._epoch, partition, HEAD), "last": last_id}, {"$unset": {"pending": ""}})
            for partition, last_id in last.items()
        ]
        await self.write(stored)

    async def check_ends(self, states: Sequence[PartitionState]) -> None:
        """Raise `TierLost` unless the entries of each partition end where its head says.

        Others append and ack concurrently, so what does not match is also compared with the state read afterwards.
        """
        ends: dict[int, list[int]] = {state.partition: [] for state in states}
        query = {"$or": [documents.from_offset(self._epoch, state.partition, state.stored_offset) for state in states]}
        async for document in self._queue.find(query, {"_id": 1}, session=self._session):
            ends[document["_id"]["p"]].append(document["_id"]["o"])
        unfit = [state for state in states if not state.fits(ends[state.partition], state)]
        if unfit:
            now = await self.states([state.partition for state in unfit])
            for before, after in zip(unfit, now, strict=True):
                if not before.fits(ends[before.partition], after):
                    raise lost(before.partition, f"does not end with entry {before.last}, as its head says")

    async def entries(
        self,
        ranges: Mapping[int, tuple[int, int]],
        limit: int = 0,
    ) -> dict[int, list[RecordBatch]]:
        """The entries found in these ranges of offsets, in order, as a list for each partition.

        `limit` bounds all of them together; without it only the ranges do.
        """
        record_batches: dict[int, list[RecordBatch]] = {partition: [] for partition in ranges}
        query = {"$or": [documents.between(self._epoch, partition, *offsets) for partition, offsets in ranges.items()]}
        async for document in self._queue.find(query, sort=[("_id", 1)], limit=limit, session=self._session):
            record_batches[document["_id"]["p"]].append(documents.record_batch_of(document))
        return record_batches

    async def find(self, partitions: Iterable[int]) -> dict[tuple[int, str], Document]:
        """Heads and owners, by (partition, HEAD or OWNER)."""
        ids = [document_id(self._epoch, partition, which) for partition in partitions for which in (HEAD, OWNER)]
        cursor = self._queue.find({"_id": {"$in": ids}}, session=self._session)
        return {(found["_id"]["p"], found["_id"]["o"]): found async for found in cursor}


def _only_duplicates(error: BulkWriteError) -> bool:
    details: Mapping[str, Any] = error.details or {}
    return not details["writeConcernErrors"] and all(
        write_error["code"] == _DUPLICATE_KEY for write_error in details["writeErrors"]
    )
