"""Reconcile: queue every key of the source, and every id in Typesense that the source no longer has.

It is the one repair, and it is the first start. Invariants: it only queues; sync decides by looking, so a sweep
cannot delete what was just inserted. It goes on from its cursor after any interruption. A sweep that would delete
more than the set share of the collection stops and asks.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tsync_stream.coordination.entries import Entries
from tsync_stream.coordination.term import CaptureTerm, EntryBatch, JobProgress
from tsync_stream.dead_letters import DeadLetters
from tsync_stream.errors import DocumentRejected
from tsync_stream.model import Key, Reason
from tsync_stream.observe.health import Health
from tsync_stream.source.documents import DocumentReader
from tsync_stream.source.keys import candidate_keys, canonical_key
from tsync_stream.target.typesense import TypesenseTarget

SCAN = "scan"
SWEEP = "sweep"
DONE = "done"
ASK_AGAIN_INTERVAL_S = 1.0
COUNT_AGAIN_INTERVAL_S = 300.0
# A job waits while more than this many batches' worth of entries are unacked: live changes queue behind it.
MAX_WAITING_BATCHES = 10


@dataclass(slots=True)
class ReconcileTools:
    """What the job works with. `wait_for_room` returns when the queue can take more of a job's entries."""

    source: DocumentReader
    target: TypesenseTarget
    dead_letters: DeadLetters
    health: Health
    send: Callable[[EntryBatch], Awaitable[object]]
    wait_for_room: Callable[[], Awaitable[None]]
    mass_delete_allowed: Callable[[], Awaitable[bool]]
    mass_delete_share: float
    batch_size: int


class Reconcile:
    """One reconcile under one capture term; `run` goes on from the term's cursor and ends when all is queued."""

    def __init__(self, job: str, term: CaptureTerm, tools: ReconcileTools) -> None:
        self.name = job
        self._term = term
        self._tools = tools
        self.cursor: Mapping[str, Any] | None = term.appended.cursors.get(job)

    async def run(self) -> None:
        """Scan the source, then sweep Typesense. Raises the errors of MongoDB and Typesense calls."""
        if self._phase() == SCAN:
            await self._scan()
        if self._phase() == SWEEP:
            await self._sweep()

    def _phase(self) -> str:
        return SCAN if self.cursor is None else str(self.cursor["phase"])

    async def _scan(self) -> None:
        tools, route = self._tools, self._term.route
        since = self._term.appended.cluster_time
        count = tools.batch_size
        while True:
            await tools.wait_for_room()
            keys = await tools.source.scan_keys(route, self.cursor, since, count)
            if not keys:
                await self._queue([], {"phase": SWEEP})
                return
            last = next((key for key in reversed(keys) if can_be_stored(key)), None)
            if last is None:
                count *= 2  # a whole read of keys that no cursor can hold: read past them
                continue
            count = tools.batch_size
            await self._queue(keys, {"phase": SCAN, "_id": last})

    async def _sweep(self) -> None:
        # While Typesense replays its log after a restart, an export shows only part of what it holds.
        while not await self._tools.target.settled():
            await asyncio.sleep(ASK_AGAIN_INTERVAL_S)
        await self._guard()
        async for _, orphans in self._orphans():
            await self._tools.wait_for_room()
            # A string key is its own Typesense id, so the id's partition and every key behind it are found by it.
            await self._queue(orphans, {"phase": SWEEP})
        await self._queue([], {"phase": DONE})

    async def _guard(self) -> None:
        """Wait until the sweep is small enough, or a person allows it."""
        tools = self._tools
        while True:
            total = orphans = 0
            async for ids, batch in self._orphans():
                total += ids
                orphans += len(batch)
            if orphans <= tools.mass_delete_share * total or await tools.mass_delete_allowed():
                break
            tools.health.red(
                "reconcile",
                f"the source lacks {orphans} of the {total} documents in Typesense, more than MASS_DELETE_SHARE; none "
                "of them is deleted until `faust -A tsync_stream reconcile --allow-mass-delete` says so",
                needs_person=True,
            )
            if await self._allowed_within(COUNT_AGAIN_INTERVAL_S):
                break
        tools.health.green("reconcile")

    async def _allowed_within(self, wait_s: float) -> bool:
        """Ask for the permission until it is given or `wait_s` are over: counting is dear, asking is not."""
        for _ in range(int(wait_s / ASK_AGAIN_INTERVAL_S)):
            if await self._tools.mass_delete_allowed():
                return True
            await asyncio.sleep(ASK_AGAIN_INTERVAL_S)
        return False

    async def _orphans(self) -> AsyncIterator[tuple[int, list[str]]]:
        """How many ids of Typesense were looked at, and those for which the source has no possible key."""
        tools, route = self._tools, self._term.route
        async for ids in tools.target.export_ids(route.target, tools.batch_size):
            keys = [key for document_id in ids for key in candidate_keys(document_id)]
            existing = await tools.source.existing_ids(route, keys, self._term.appended.cluster_time)
            yield len(ids), [document_id for document_id in ids if document_id not in existing]

    async def _queue(self, keys: list[Key], cursor: Mapping[str, Any]) -> None:
        term, tools = self._term, self._tools
        entries = Entries(term.route, term.partitions)
        # With the time at which they were looked at: what sync then reads is not older than what was seen here.
        entries.add_keys(keys, Reason.RECONCILE, tools.source.operation_time)
        if entries.rejected:
            await tools.dead_letters.add(entries.rejected)
        progress = JobProgress(self.name, self.cursor, cursor)
        with term.sending():
            await tools.send(EntryBatch(term, progress, entries.payloads, entries.count))
        self.cursor = cursor


def can_be_stored(key: Key) -> bool:
    """Whether a key can be written as BSON again (pure): one that is not valid UTF-8 can be read, but not written."""
    try:
        canonical_key(key)
    except DocumentRejected:
        return False
    return True
