"""The jobs of one capture term: the reconcile that the epoch document asks for, and what people filed, oldest first.

Capturing runs `work` beside the change feed, and calls `look` once a second. Invariants: an outage is a job's own, it
goes on from its cursor and capture never stops for it; a job is ended when a barrier behind its last entry is synced,
and only then its cursor is dropped; a job that loses a batch ends the term, and goes on in the next.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.capture.begin import CaptureTools
from tsync_stream.capture.term import LONGEST_READ_S, BatchLost, CaptureTerm
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.model import Position
from tsync_stream.jobs.kinds import Filed, JobKinds, Running, ending, measured
from tsync_stream.jobs.mass_delete import Stored
from tsync_stream.jobs.progress_log import ProgressLog
from tsync_stream.jobs.reconcile import MAX_WAITING_BATCHES, Reconcile, ReconcileTools
from tsync_stream.source.documents import DocumentReader, count_documents
from tsync_stream.state.dead_letter_counts import Refused, describe_reconcile, refused_among
from tsync_stream.state.dead_letter_search import Selection
from tsync_stream.state.jobs import DONE, RECONCILE, SCAN, TIME_LEFT, VERIFY, Job, queued_of, without_time_left
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.route_state import ReconcileNeed

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
JOB_RETRY_S = 2.0
ROOM_INTERVAL_S = 0.05
# The time of an empty batch may be ahead of its token by as long as a read of the stream waits.
SURELY_CAPTURED_S = int(2 * LONGEST_READ_S)


class RunningJobs:
    """See the module's first lines. One for each term."""

    def __init__(self, tools: CaptureTools, term: CaptureTerm) -> None:
        self._tools = tools
        self._term = term
        self._synced = term.pipeline.began
        self._filed: list[Job] = []  # open, as last looked
        self._ended: set[str] = set()  # by this term: their cursors are dropped, they must not begin again
        self._running: Filed | None = None
        self._kinds = JobKinds(tools, term, self._wait_for_room, self._synced_up_to)
        self._progress = ProgressLog()
        self._landing: dict[str, Running] = {}  # ran in this term; a batch of one that was cancelled may be on its way

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run while the term lasts; whatever one of them raises ends it."""
        work = [self._run_filed()]
        if (need := self._need()) is not None:
            work.append(self._reconcile(need))
        return work

    def _need(self) -> ReconcileNeed | None:
        """The open reconcile of our route, as this term knows it."""
        return self._term.pipeline.need(self._term.route.name)

    async def look(self, stored: Pipeline, synced: Position) -> None:
        """Once a second: note what is synced and what is filed, drop the cursors of what has ended."""
        self._synced = synced
        await self._finish_reconcile(stored, synced)
        # One may have been ended while we read.
        self._filed = [job for job in await self._tools.jobs.open() if job.id not in self._ended]
        self._drop_cursors()
        await self._save_progress()

    # ---- the reconcile ----

    async def _finish_reconcile(self, stored: Pipeline, synced: Position) -> None:
        """The need is met when a barrier behind the job's last entry is synced."""
        term = self._term
        need = stored.need(term.route.name)
        if need is None:
            return
        job = need.job
        cursor = synced.cursors.get(job)
        done, _ = queued_of(cursor)
        _, documents = queued_of(term.appended.cursors.get(job))
        self._progress.note(job, RECONCILE, done, documents, "documents are synced")
        if cursor is not None and cursor["phase"] == DONE:
            queued, _ = queued_of(cursor)
            refused = await self._refused()
            result = {"queued": queued, "refused": refused.to_bson()}
            # First, so that whoever waits for the need to be met finds it.
            await self._tools.jobs.keep_result(job, RECONCILE, {"reason": need.reason}, result)
            await self._tools.positions.clear_reconcile(job)
            term.pipeline = term.pipeline.with_route(term.route.name, reconcile=None)
            term.forget_job(job)
            self._progress.forget(job)
            level = logging.WARNING if refused.total else logging.INFO
            log.log(level, "reconcile: done (%s), %s", need.reason, describe_reconcile(queued, refused))

    async def _refused(self) -> Refused:
        """What every "done" counts."""
        selection = Selection(route=self._term.route.name)
        return refused_among(await self._tools.dead_letter_records.count_by_reason(selection, "open"))

    async def _reconcile(self, need: ReconcileNeed) -> None:
        tools, settings, term = self._tools, self._tools.settings, self._term

        async def stored_question() -> Stored:
            stored = await tools.positions.load()
            now = (stored and stored.need(term.route.name)) or need
            return Stored(now.allow_mass_delete, now.asked_of)

        async def scan_synced() -> None:
            await self._until_synced(job, lambda: _scan_is_over(self._synced.cursors.get(need.job)))

        source = DocumentReader(tools.client, settings.lease_ttl_s, tools.dense_turn)
        job_tools = ReconcileTools(
            source=source,
            target=tools.target,
            dead_letters=tools.dead_letters,
            records=tools.dead_letter_records,
            count_documents=partial(count_documents, tools.client, tools.route.database, tools.route.collection),
            health=tools.health,
            send=tools.send_entries,
            wait_for_room=self._wait_for_room,
            scan_synced=scan_synced,
            stored_question=stored_question,
            note_asked=partial(tools.positions.note_asked, need.job),
            mass_delete_share=settings.mass_delete_share,
            batch_size=settings.buffer.max_buffer_size,
        )
        log.info("reconcile: began (%s)", need.reason)
        job = Reconcile(need.job, term, job_tools)
        try:
            await self._persevere("reconcile", job.run)
        finally:
            await source.close()
        await self._until_synced(job, lambda: self._need() is None)
        await asyncio.Event().wait()  # the term ends by other means

    # ---- what people filed ----

    async def _run_filed(self) -> None:
        """One after the other; a job that was filed meanwhile is seen by the next look."""
        while True:
            job = next(filter(self._may_begin, self._filed), None)
            if job is None:
                await asyncio.sleep(LOOK_INTERVAL_S)
                continue
            running = self._kinds.make(job, partial(self._is_filed, job.id))
            if running is None:
                await self._refuse(job)
                continue
            await self._run_one(job, running)

    def _may_begin(self, job: Job) -> bool:
        """While a reconcile is open, *synced* says nothing about what it still has to queue."""
        return job.kind != VERIFY or self._need() is None

    async def _run_one(self, job: Job, running: Filed) -> None:
        log.info("%s %s: began", job.kind, job.id)
        self._running = running
        try:
            await self._persevere(job.kind, running.run)
            await self._until_synced(running, lambda: self._is_synced(running) or not self._is_filed(job.id))
            if self._is_filed(job.id):
                await self._persevere(job.kind, partial(self._finish, job, running))
        finally:
            self._landing[job.id] = running
            self._running = None

    async def _refuse(self, job: Job) -> None:
        """Another version of ours filed it."""
        log.warning("job %s: this version does not understand it; it is given up", job.id)
        reason = "the version that captures does not understand this job; file it again with the same version"
        await self._tools.jobs.end(job.id, "failed", {"error": reason})
        self._no_longer_filed(job.id)

    def _is_synced(self, running: Running) -> bool:
        cursor = self._synced.cursors.get(running.name)
        return cursor is not None and cursor["phase"] == DONE

    async def _finish(self, job: Job, running: Filed) -> None:
        result = {**await running.result(), "refused": (await self._refused()).to_bson()}
        await self._tools.jobs.end(job.id, "done", result)
        self._no_longer_filed(job.id)
        self._term.forget_job(job.id)
        ended, well = ending(job, result)
        log.log(logging.INFO if well else logging.WARNING, "%s %s: done, %s", job.kind, job.id, ended)

    async def _save_progress(self) -> None:
        for job in self._filed:
            if self._running is not None and self._running.name == job.id:
                progress = self._running.progress()
                if without_time_left(job.progress) != progress:
                    left_s = self._progress.note(job.id, f"{job.kind} {job.id}", *measured(job, progress))
                    await self._tools.jobs.save_progress(job.id, {**progress, TIME_LEFT: left_s})

    def _drop_cursors(self) -> None:
        """Of jobs that were cancelled, or ended by a term that could not go on to drop them."""
        need = self._need()
        kept = {job.id for job in self._filed}
        kept |= {self._running.name} if self._running else set()
        kept |= {need.job} if need else set()
        for job, cursor in list(self._term.appended.cursors.items()):
            landing = self._landing.get(job)
            # A batch that is still on its way begins at the cursor, and must find it.
            if job not in kept and (landing is None or landing.cursor == cursor):
                self._term.forget_job(job)

    def _is_filed(self, name: str) -> bool:
        return any(job.id == name for job in self._filed)

    def _no_longer_filed(self, name: str) -> None:
        self._ended.add(name)
        self._progress.forget(name)
        self._filed = [job for job in self._filed if job.id != name]

    # ---- what they share ----

    async def _wait_for_room(self) -> None:
        """Live changes queue behind a job's entries: there are never many of them."""
        term = self._term
        most = MAX_WAITING_BATCHES * self._tools.settings.buffer.batch_size * term.partitions
        while sum(await term.tier.backlog(term.pipeline.epoch, term.partitions)) + term.in_flight > most:
            await asyncio.sleep(ROOM_INTERVAL_S)

    async def _synced_up_to(self, cluster_time: Timestamp, wanted: Callable[[], bool]) -> None:
        """Wait until every change up to this time is synced, while that is wanted."""
        surely = Timestamp(cluster_time.time + SURELY_CAPTURED_S, cluster_time.inc)
        self._term.await_barrier(surely)
        while wanted() and self._synced.cluster_time < surely:
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _persevere(self, check: str, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step of a job to its end. An outage is the job's own: it is waited out, and capture goes on."""
        health = self._tools.health
        try:
            while True:
                try:
                    await step()
                except (DependencyUnavailable, ConfigurationError) as error:
                    person = isinstance(error, ConfigurationError)
                    health.red(check, f"{error}; it goes on where it is when that is mended", needs_person=person)
                    await asyncio.sleep(JOB_RETRY_S)
                else:
                    return
        finally:
            # Also when the term ends under it: it may be another replica's then.
            health.green(check)

    async def _until_synced(self, job: Running, ended: Callable[[], bool]) -> None:
        """All is queued when the last batch is; `look` sees when it is synced. Raises `BatchLost` if it is not."""
        while not ended():
            arrived = self._term.appended.cursors.get(job.name) == job.cursor
            if self._term.in_flight == 0 and not arrived:
                raise BatchLost(f"the last batch of a {type(job).__name__.lower()} was lost before it was persisted")
            await asyncio.sleep(LOOK_INTERVAL_S)


def _scan_is_over(cursor: Mapping[str, Any] | None) -> bool:
    """Whether a reconcile's cursor stands behind all that the source has (pure)."""
    return cursor is not None and cursor["phase"] != SCAN
