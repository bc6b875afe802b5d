"""What is written down about jobs: which are open, how far they are, and what came of them.

Invariant: every result counts the documents that are refused when the job is done, because people take "done" for
"everything is in Typesense".
"""

import logging
from collections.abc import Mapping
from typing import Any

from tsync_stream.core.events import event
from tsync_stream.jobs.progress_log import ProgressLog
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.dead_letter_counts import Refused, refused_among, refused_from_bson
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.jobs import BACKUP_JOB, RECONCILE, REPLAY, TIME_LEFT, VERIFY, Job, JobStore, without_time_left
from tsync_stream.state.route_state import ReconcileNeed

log = logging.getLogger(__name__)


class JobLedger:
    """One for each term. Every call raises the errors of MongoDB calls."""

    def __init__(self, store: JobStore, records: DeadLetterRecords, table: RouteTable) -> None:
        self._store = store
        self._records = records
        self._table = table
        self._progress = ProgressLog()

    async def open(self) -> list[Job]:
        """The open jobs that queue something, oldest first."""
        return [job for job in await self._store.open() if job.kind != BACKUP_JOB]

    async def save_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """Note how far a job is, if that has changed, and how long it will take."""
        if without_time_left(job.progress) != progress:
            left_s = self._progress.note(job.id, self.title(job), *measured(job, progress))
            await self._store.save_progress(job.id, {**progress, TIME_LEFT: left_s})

    async def finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """The job is done."""
        result = {**result, "refused": (await self._refused(job.route)).to_bson()}
        await self._store.end(job.id, "done", result)
        self._progress.forget(job.id)
        outcome, well = describe_outcome(job, result)
        log.log(
            logging.INFO if well else logging.WARNING,
            "%s: done, %s",
            self.title(job),
            outcome,
            extra=event("job.done", job=job.id, kind=job.kind, route=job.route),
        )

    async def give_up(self, job: Job) -> None:
        """The job is of a route that is not declared, or another version of this program filed it."""
        if job.route in self._table:
            reason = "the version that captures does not understand this job; file it again with the same version"
        else:
            reason = f"there is no route {job.route} any more"
        log.warning(
            "%s is given up: %s",
            self.title(job),
            reason,
            extra=event("job.given_up", job=job.id, kind=job.kind, route=job.route),
        )
        await self._store.end(job.id, "failed", {"error": reason})
        self._progress.forget(job.id)

    def check(self, kind: str, route: str) -> str:
        """The health check of a kind of job of one route."""
        return self._table.title(kind, route)

    def option(self, route: str) -> str:
        """What a command needs to act on this route alone."""
        return self._table.option(route)

    def title(self, job: Job) -> str:
        """What a filed job is called in the log."""
        return f"{self.check(job.kind, job.route)} {job.id}"

    def note_reconcile(self, job: str, title: str, synced: int, documents: int) -> None:
        """Log, now and then, how many of about so many documents are synced."""
        self._progress.note(job, title, synced, documents, "documents are synced")

    async def keep_reconcile(self, route: str, need: ReconcileNeed, queued: int) -> Refused:
        """Store the result of the reconcile that answers a route's need; returns which documents are refused now."""
        refused = await self._refused(route)
        result = {"queued": queued, "refused": refused.to_bson()}
        await self._store.keep_result(need.job, RECONCILE, route, {"reason": need.reason}, result)
        self._progress.forget(need.job)
        return refused

    async def _refused(self, route: str) -> Refused:
        return refused_among(await self._records.count_by_reason(Selection(route=route), "open"))


def measured(job: Job, progress: Mapping[str, Any]) -> tuple[int, int, str]:
    """How much is done, of about how much, and what that counts (pure)."""
    if job.kind == VERIFY:
        return int(progress.get("compared", 0)), int(job.arguments.get("documents", 0)), "documents are compared"
    return int(progress.get("queued", 0)), int(job.arguments.get("chosen") or 0), "dead letters are queued"


def describe_outcome(job: Job, result: Mapping[str, Any]) -> tuple[str, bool]:
    """What came of a job, for the log, and whether all is well; what is refused now comes first (pure)."""
    refused = refused_from_bson(result["refused"])
    if job.kind == REPLAY:
        failed = refused_from_bson(result["failed"])
        counts = [f"queued: {result['queued']}", f"resolved: {result['resolved']}", f"failed again: {failed.total}"]
    else:
        counts = [f"{name}: {count}" for name, count in result.items() if type(count) is int]
    return f"{refused}; {', '.join(counts)}", not refused.total
