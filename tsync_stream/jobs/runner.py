"""Runs the jobs of one capture term: the reconciles that the epoch document needs, and what people filed, oldest first.

The term runs `work` beside the change feed, and calls `look` once a second. Invariants: a job is ended when a barrier
behind its last entry is synced, and only then is its cursor dropped. Of one route, filed jobs run one at a time. Those
of several routes take turns: a job that fails or waits for what is synced lets another one work meanwhile. A paused job
leaves its place to the next one, and goes on from its cursor when it is resumed.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from tsync_stream.core.events import event
from tsync_stream.core.model import Position
from tsync_stream.core.tasks import end_tasks
from tsync_stream.jobs.continuous import ContinuousVerification, is_repair
from tsync_stream.jobs.control import JobControl, JobFailed, JobPaused
from tsync_stream.jobs.job_metrics import PAUSED, RUNNING, SYNCING, WAITING, JobState, show_jobs
from tsync_stream.jobs.kinds import Filed, JobKinds
from tsync_stream.jobs.ledger import JobLedger, measured
from tsync_stream.jobs.need import NeededReconcile
from tsync_stream.jobs.producer import Producer
from tsync_stream.jobs.refresh import RefreshJobs
from tsync_stream.jobs.reindex.controller import Reindexes
from tsync_stream.jobs.term import LOOK_INTERVAL_S, JobTerm
from tsync_stream.observe.metrics import Metrics
from tsync_stream.state.jobs import DONE, VERIFY, Job
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.refreshes import is_refresh

log = logging.getLogger(__name__)


class FiledJobs:
    """The jobs that people filed. One for each term. `kinds` makes the jobs of each route."""

    def __init__(self, term: JobTerm, kinds: Mapping[str, JobKinds], ledger: JobLedger) -> None:
        self._term = term
        self._kinds = kinds
        self._ledger = ledger
        self._open: list[Job] = []  # when last looked
        self._ended: set[str] = set()  # in this term: their cursors are dropped, they must not begin again
        self._running: dict[str, Filed] = {}
        self._controls: dict[str, JobControl] = {}  # of the open ones
        # One job reads documents at a time, so memory does not grow with the number of routes.
        self._turn = asyncio.Lock()
        # Those that ran in this term: a batch of a cancelled job may still be on its way.
        self._landing: dict[str, Producer] = {}

    def __repr__(self) -> str:
        return f"<FiledJobs {len(self._open)} open, running {', '.join(self._running) or 'nothing'}>"

    async def run(self) -> NoReturn:
        """Run one job after another of each route; the next look finds what was filed meanwhile. Raises `BatchLost`."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for job in self._open:
                    if job.route not in tasks and self._may_begin(job):
                        tasks[job.route] = asyncio.create_task(self._begin(job))
                if tasks:
                    await asyncio.wait(tasks.values(), timeout=LOOK_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(LOOK_INTERVAL_S)
                for route in [route for route, task in tasks.items() if task.done()]:
                    tasks.pop(route).result()
        finally:
            await end_tasks(tasks.values())
            self._ledger.forget_paused()

    async def look(self) -> None:
        """Once a second: note what is open and wanted, drop the cursors of what has ended, and save the progress."""
        # One may be ended while we read.
        self._open = [job for job in await self._ledger.open() if job.id not in self._ended]
        self._follow_wishes()
        self._drop_cursors()
        for job in self._open:
            if (running := self._running.get(job.id)) is not None:
                await self._ledger.save_progress(job, running.progress())

    def states(self) -> list[JobState]:
        """What the open jobs do now, oldest first."""
        cursors = self._term.capture.appended.cursors
        found = []
        for job in self._open:
            running = self._running.get(job.id)
            queued = cursors.get(job.id, {}).get("phase") == DONE
            phase = RUNNING if running is not None else WAITING
            phase = SYNCING if queued else PAUSED if job.paused else phase
            done, total, _ = measured(job, job.progress if running is None else running.progress())
            found.append(JobState(job.kind, job.route, phase, done, total))
        return found

    def has_open(self, route: str) -> bool:
        """Whether a job of this route is open, or has not ended yet; one that is paused disturbs nobody."""
        return any(job.route == route and (not job.paused or job.id in self._running) for job in self._open)

    def _may_begin(self, job: Job) -> bool:
        """While a reconcile of its route is open, *synced* says nothing about what that still has to queue."""
        return not job.paused and (job.kind != VERIFY or self._term.need(job.route) is None)

    def _follow_wishes(self) -> None:
        before, self._controls = self._controls, {}
        for job in self._open:
            control = before.get(job.id) or JobControl(self._ledger.title(job))
            control.note(paused=job.paused, rate_per_s=job.rate_per_s)
            self._controls[job.id] = control
        self._ledger.tell_paused([job for job in self._open if job.paused])

    async def _begin(self, job: Job) -> None:
        kinds = self._kinds.get(job.route)
        if kinds is None:
            await self._give_up(job)
            return
        control = self._controls.get(job.id) or JobControl()  # it may have ended just now
        sides = kinds.open_sides()
        try:
            wanted = partial(self._is_open, job.id)
            running = kinds.filed(job, self._term, sides, wanted, control)
            if running is None:
                await self._give_up(job)
            else:
                await self._run_one(job, running, self._ledger.check(job.kind, job.route))
        finally:
            await sides.source.close()

    async def _give_up(self, job: Job) -> None:
        await self._ledger.give_up(job)
        self._note_ended(job.id)

    async def _run_one(self, job: Job, running: Filed, check: str) -> None:
        async def work() -> None:
            async with self._turn:
                await running.run()

        log.info(
            "%s: began", self._ledger.title(job), extra=event("job.began", job=job.id, kind=job.kind, route=job.route)
        )
        self._running[job.id] = running
        try:
            await self._term.persevere(check, work)
            await self._term.until_synced(running, lambda: self._term.is_synced(job.id) or not self._is_open(job.id))
            if self._is_open(job.id):
                await self._term.persevere(check, partial(self._finish, job, running))
        except JobPaused:
            # Whoever goes on with it begins at its last batch, which has to be in the queue for that.
            await self._term.until_synced(running, lambda: running.producer.arrived)
        except JobFailed as error:
            await self._term.persevere(check, partial(self._fail, job, str(error)))
        finally:
            self._landing[job.id] = running.producer
            del self._running[job.id]

    async def _finish(self, job: Job, running: Filed) -> None:
        await self._ledger.finish(job, await running.result())
        self._note_ended(job.id)
        self._term.capture.forget_job(job.id)

    async def _fail(self, job: Job, reason: str) -> None:
        await self._ledger.fail(job, reason)
        self._note_ended(job.id)

    def _drop_cursors(self) -> None:
        """Of jobs that were cancelled, or ended by a term that could not go on to drop them."""
        capture = self._term.capture
        kept = {job.id for job in self._open} | self._running.keys() | set(capture.pipeline.reconciles().values())
        for job, cursor in list(capture.appended.cursors.items()):
            landing = self._landing.get(job)
            # A batch that is still on its way begins at the cursor, and must find it.
            theirs = is_refresh(job) or is_repair(job)  # they drop their own
            if job not in kept and not theirs and (landing is None or landing.cursor == cursor):
                capture.forget_job(job)

    def _is_open(self, name: str) -> bool:
        return any(job.id == name for job in self._open)

    def _note_ended(self, name: str) -> None:
        self._ended.add(name)
        self._open = [job for job in self._open if job.id != name]


class TermJobs:
    """All jobs of one term; `needed` has one part for each route. `refreshes` is None where nothing is looked up.

    `continuous` is None where nothing is verified in the background, `reindexes` where nothing is reindexed.
    """

    def __init__(
        self,
        term: JobTerm,
        filed: FiledJobs,
        needed: Sequence[NeededReconcile],
        metrics: Metrics,
        refreshes: RefreshJobs | None = None,
        continuous: ContinuousVerification | None = None,
        reindexes: Reindexes | None = None,
    ) -> None:
        self._metrics = metrics
        self._reindexes = reindexes
        self._term = term
        self._filed = filed
        self._needed = needed
        self._refreshes = refreshes
        self._continuous = continuous

    def __repr__(self) -> str:
        return f"<TermJobs {self._filed}, {', '.join(map(repr, self._needed))}, {self._refreshes}, {self._continuous}>"

    def work(self) -> list[Coroutine[Any, Any, NoReturn]]:
        """What runs while the term lasts; whatever one of them raises ends it."""
        reconciles = [needed.run(need) for needed in self._needed if (need := needed.need) is not None]
        refreshes = [] if self._refreshes is None else [self._refreshes.run()]
        continuous = [] if self._continuous is None else [self._continuous.run()]
        reindexes = [] if self._reindexes is None else [self._reindexes.run()]
        return [self._filed.run(), *reconciles, *refreshes, *continuous, *reindexes]

    async def look(self, stored: Pipeline, synced: Position) -> None:
        """Once a second: everything up to `synced` is in Typesense now, or a dead letter."""
        self._term.synced = synced
        for needed in self._needed:
            await needed.look(stored)
        await self._filed.look()
        reconciles = [state for needed in self._needed if (state := needed.state()) is not None]
        show_jobs(self._metrics, [*reconciles, *self._filed.states()])
