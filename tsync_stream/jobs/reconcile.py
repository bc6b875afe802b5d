"""Reconcile: queue every key of the source, and every id in Typesense that the source no longer has.

It is the one repair, and it is the first start. Invariants: it only queues; sync decides by looking, so a sweep
cannot delete what was just inserted. It goes on from its cursor after any interruption. A sweep that would delete
more than the set share of the collection stops and asks.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from tsync_stream.coordination.entries import Entries
from tsync_stream.coordination.jobs import DONE, SCAN, SWEEP
from tsync_stream.coordination.term import CaptureTerm, EntryBatch, JobProgress
from tsync_stream.dead_letters import DeadLetters
from tsync_stream.jobs.scanning import orphans, pages
from tsync_stream.model import Key, Reason
from tsync_stream.observe.health import Health
from tsync_stream.source.documents import DocumentReader
from tsync_stream.target.typesense import TypesenseTarget

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
        async with aclosing(pages(tools.source, route, self.cursor, since, tools.batch_size)) as scan:
            async for keys, cursor in scan:
                await tools.wait_for_room()
                await self._queue(keys, {"phase": SCAN, **cursor})
        await self._queue([], {"phase": SWEEP})

    async def _sweep(self) -> None:
        # While Typesense replays its log after a restart, an export shows only part of what it holds.
        while not await self._tools.target.settled():
            await asyncio.sleep(ASK_AGAIN_INTERVAL_S)
        await self._guard()
        async with aclosing(self._orphans()) as sweep:
            async for _, found in sweep:
                await self._tools.wait_for_room()
                # A string key is its own Typesense id, so the id's partition and every key behind it are found by it.
                await self._queue(found, {"phase": SWEEP})
        await self._queue([], {"phase": DONE})

    async def _guard(self) -> None:
        """Wait until the sweep is small enough, or a person allows it."""
        tools = self._tools
        while True:
            total = lacking = 0
            async with aclosing(self._orphans()) as sweep:
                async for looked_at, found in sweep:
                    total += looked_at
                    lacking += len(found)
            if lacking <= tools.mass_delete_share * total or await tools.mass_delete_allowed():
                break
            tools.health.red(
                "reconcile",
                f"the source lacks {lacking} of the {total} documents in Typesense, more than MASS_DELETE_SHARE; none "
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
        progress = JobProgress(self.name, self.cursor, cursor)
        with term.sending():
            await tools.send(EntryBatch(term, progress, entries.by_partition, entries.count))
        self.cursor = cursor
