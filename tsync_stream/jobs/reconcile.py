"""Reconcile: queue every key of the source, and every id in Typesense that the source no longer has.

Then every dead letter is of a document that is there: those of others are queued too, or closed if they cannot be.

It is the one repair, and it is the first start. Invariants: it only queues; sync decides by looking, so a sweep
cannot delete what was just inserted. It goes on from its cursor after any interruption. A sweep that would delete
more than the set share of the collection stops and asks.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from tsync_stream.capture.entries import Entries
from tsync_stream.capture.term import CaptureTerm, EntryBatch, JobProgress
from tsync_stream.core.health import Health
from tsync_stream.core.keys import canonical_key
from tsync_stream.core.model import Key, Reason
from tsync_stream.jobs.mass_delete import MassDeleteGuard, Stored
from tsync_stream.jobs.scan import orphans, pages
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.jobs import DONE, SCAN, SWEEP, queued_of

ASK_AGAIN_INTERVAL_S = 1.0
# A job waits while more than this many batches' worth of entries are unacked: live changes queue behind it.
MAX_WAITING_BATCHES = 10


# Dead letters of one read.
MAX_PAGE = 1_000


@dataclass(slots=True)
class ReconcileTools:
    """What the job works with. `wait_for_room` returns when the queue can take more of a job's entries, `scan_synced`
    when all that the scan queued is in Typesense; the other two are about the question of `mass_delete`.
    """

    source: DocumentReader
    target: TypesenseTarget
    dead_letters: DeadLetters
    records: DeadLetterRecords
    count_documents: Callable[[], Awaitable[int]]
    health: Health
    send: Callable[[EntryBatch], Awaitable[object]]
    wait_for_room: Callable[[], Awaitable[None]]
    scan_synced: Callable[[], Awaitable[None]]
    stored_question: Callable[[], Awaitable[Stored]]
    note_asked: Callable[[int], Awaitable[None]]
    mass_delete_share: float
    batch_size: int


class Reconcile:
    """One reconcile under one capture term; `run` goes on from the term's cursor and ends when all is queued."""

    def __init__(self, job: str, term: CaptureTerm, tools: ReconcileTools) -> None:
        self.name = job
        self._term = term
        self._tools = tools
        self.cursor: Mapping[str, Any] | None = term.appended.cursors.get(job)
        # Documents that were queued, and about how many there are; they travel with the cursor, and go back with it.
        self._queued, self._documents = queued_of(self.cursor)

    async def run(self) -> None:
        """Scan the source, then sweep Typesense. Raises the errors of MongoDB and Typesense calls."""
        self._queued, self._documents = queued_of(self.cursor)
        if self._phase() == SCAN:
            await self._scan()
        if self._phase() == SWEEP:
            await self._sweep()

    def _phase(self) -> str:
        return SCAN if self.cursor is None else str(self.cursor["phase"])

    async def _scan(self) -> None:
        tools, route = self._tools, self._term.route
        since = self._term.appended.cluster_time
        if self.cursor is None:
            await tools.dead_letters.doubt_unusable(route.name, self.name)
            self._documents = await tools.count_documents()
        async with aclosing(pages(tools.source, route, self.cursor, since, tools.batch_size)) as scan:
            async for keys, cursor in scan:
                await tools.wait_for_room()
                self._queued += len(keys)
                await self._queue(keys, {"phase": SCAN, **cursor})
        await tools.dead_letters.close_doubted(route.name, self.name)
        await self._queue([], {"phase": SWEEP})

    async def _sweep(self) -> None:
        tools = self._tools
        # Before that the collection is smaller than it will be, and the guard's question would be about another one.
        await tools.scan_synced()
        # While Typesense replays its log after a restart, an export shows only part of what it holds.
        while not await tools.target.settled():
            await asyncio.sleep(ASK_AGAIN_INTERVAL_S)
        guard = MassDeleteGuard(
            tools.mass_delete_share, tools.health, self._count_orphans, tools.stored_question, tools.note_asked
        )
        await guard.wait()
        async with aclosing(self._orphans()) as sweep:
            async for _, found in sweep:
                await self._tools.wait_for_room()
                # A string key is its own Typesense id, so the id's partition and every key behind it are found by it.
                await self._queue(found, {"phase": SWEEP})
        await self._queue_letters_of_others()
        await self._queue([], {"phase": DONE})

    async def _queue_letters_of_others(self) -> None:
        """Of documents that went with a dropped collection, say: nobody else would look at them ever again.

        Only now, since a key that is queued may be deleted from Typesense, and that is for the guard to allow.
        """
        tools, route = self._tools, self._term.route
        after = ""
        while True:
            page = await tools.records.page(Selection(), route.name, after, min(MAX_PAGE, tools.batch_size))
            if not page.ids:
                return
            existing = await tools.source.existing_keys(route, page.keys, page.operation_time)
            known = {canonical_key(key) for key in existing}
            gone = [key for key in page.keys if canonical_key(key) not in known]
            if gone:
                await tools.wait_for_room()
                await self._queue(gone, {"phase": SWEEP})
            after = page.ids[-1]

    async def _count_orphans(self) -> tuple[int, int]:
        """How many documents the source lacks, of how many in Typesense."""
        total = lacking = 0
        async with aclosing(self._orphans()) as sweep:
            async for looked_at, found in sweep:
                total += looked_at
                lacking += len(found)
        return lacking, total

    def _orphans(self) -> AsyncGenerator[tuple[int, list[str]], None]:
        tools, term = self._tools, self._term
        return orphans(tools.source, tools.target, term.route, term.appended.cluster_time, tools.batch_size)

    async def _queue(self, keys: list[Key], cursor: Mapping[str, Any]) -> None:
        term, tools = self._term, self._tools
        # With the time at which they were looked at: what sync then reads is not older than what was seen here.
        entries = Entries(term.route, term.partitions, Reason.RECONCILE, tools.source.operation_time)
        entries.add_keys(keys)
        if entries.rejected:
            await tools.dead_letters.add(entries.rejected)
        cursor = {**cursor, "queued": self._queued, "documents": self._documents}
        progress = JobProgress(self.name, self.cursor, cursor)
        with term.sending() as delivery:
            await tools.send(EntryBatch(delivery, progress, entries.by_partition, entries.count))
        self.cursor = cursor
