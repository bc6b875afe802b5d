"""Runs the jobs of one capture term: the reconcile that the epoch document needs, and what people filed, oldest first.

The term runs `work` beside the change feed, and calls `look` once a second. Invariants: a job is ended when a barrier
behind its last entry is synced, and only then is its cursor dropped; filed jobs run one at a time.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, NoReturn

from tsync_stream.core.model import Position
from tsync_stream.jobs.kinds import Filed, JobKinds
from tsync_stream.jobs.ledger import JobLedger
from tsync_stream.jobs.need import NeededReconcile
from tsync_stream.jobs.producer import Producer
from tsync_stream.jobs.term import LOOK_INTERVAL_S, JobTerm
from tsync_stream.state.jobs import VERIFY, Job
from tsync_stream.state.pipeline import Pipeline

log = logging.getLogger(__name__)


class FiledJobs:
    """The jobs that people filed. One for each term."""

    def __init__(self, term: JobTerm, kinds: JobKinds, ledger: JobLedger) -> None:
        self._term = term
        self._kinds = kinds
        self._ledger = ledger
        self._open: list[Job] = []  # when last looked
        self._ended: set[str] = set()  # in this term: their cursors are dropped, they must not begin again
        self._running: Filed | None = None
        # Those that ran in this term: a batch of a cancelled job may still be on its way.
        self._landing: dict[str, Producer] = {}

    def __repr__(self) -> str:
        running = "nothing" if self._running is None else self._running.producer.job
        return f"<FiledJobs {len(self._open)} open, running {running}>"

    async def run(self) -> NoReturn:
        """Run one job after another; the next look finds what was filed meanwhile. Raises `BatchLost`."""
        while True:
            job = next(filter(self._may_begin, self._open), None)
            if job is None:
                await asyncio.sleep(LOOK_INTERVAL_S)
                continue
            sides = self._kinds.open_sides()
            try:
                running = self._kinds.filed(job, self._term, sides, partial(self._is_open, job.id))
                if running is None:
                    await self._ledger.give_up(job)
                    self._note_ended(job.id)
                else:
                    await self._run_one(job, running)
            finally:
                await sides.source.close()

    async def look(self) -> None:
        """Once a second: note what is open, drop the cursors of what has ended, and save the progress."""
        # One may be ended while we read.
        self._open = [job for job in await self._ledger.open() if job.id not in self._ended]
        self._drop_cursors()
        for job in self._open:
            if self._running is not None and self._running.producer.job == job.id:
                await self._ledger.save_progress(job, self._running.progress())

    def _may_begin(self, job: Job) -> bool:
        """While a reconcile is open, *synced* says nothing about what it still has to queue."""
        return job.kind != VERIFY or self._term.need is None

    async def _run_one(self, job: Job, running: Filed) -> None:
        log.info("%s %s: began", job.kind, job.id)
        self._running = running
        try:
            await self._term.persevere(job.kind, running.run)
            await self._term.until_synced(running, lambda: self._term.is_synced(job.id) or not self._is_open(job.id))
            if self._is_open(job.id):
                await self._term.persevere(job.kind, partial(self._finish, job, running))
        finally:
            self._landing[job.id] = running.producer
            self._running = None

    async def _finish(self, job: Job, running: Filed) -> None:
        await self._ledger.finish(job, await running.result())
        self._note_ended(job.id)
        self._term.capture.forget_job(job.id)

    def _drop_cursors(self) -> None:
        """Of jobs that were cancelled, or ended by a term that could not go on to drop them."""
        capture = self._term.capture
        need = self._term.need
        kept = {job.id for job in self._open}
        kept |= {self._running.producer.job} if self._running else set()
        kept |= {need.job} if need else set()
        for job, cursor in list(capture.appended.cursors.items()):
            landing = self._landing.get(job)
            # A batch that is still on its way begins at the cursor, and must find it.
            if job not in kept and (landing is None or landing.cursor == cursor):
                capture.forget_job(job)

    def _is_open(self, name: str) -> bool:
        return any(job.id == name for job in self._open)

    def _note_ended(self, name: str) -> None:
        self._ended.add(name)
        self._open = [job for job in self._open if job.id != name]


class TermJobs:
    """All jobs of one term."""

    def __init__(self, term: JobTerm, filed: FiledJobs, needed: NeededReconcile) -> None:
        self._term = term
        self._filed = filed
        self._needed = needed

    def __repr__(self) -> str:
        return f"<TermJobs {self._filed}, {self._needed}>"

    def work(self) -> list[Coroutine[Any, Any, NoReturn]]:
        """What runs while the term lasts; whatever one of them raises ends it."""
        need = self._term.need
        return [self._filed.run(), *([] if need is None else [self._needed.run(need)])]

    async def look(self, stored: Pipeline, synced: Position) -> None:
        """Once a second: everything up to `synced` is in Typesense now, or a dead letter."""
        self._term.synced = synced
        await self._needed.look(stored)
        await self._filed.look()
