"""What is written down about jobs: which are open, how far they are, and what came of them.

Invariant: every result counts the documents that are refused when the job is done, because people take "done" for
"everything is in Typesense".
"""

import logging
from collections.abc import Mapping
from typing import Any

from tsync_stream.jobs.progress_log import ProgressLog
from tsync_stream.state.dead_letter_counts import Refused, refused_among, refused_from_bson
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.jobs import RECONCILE, REPLAY, TIME_LEFT, VERIFY, Job, JobStore, without_time_left
from tsync_stream.state.route_state import ReconcileNeed

log = logging.getLogger(__name__)


class JobLedger:
    """One for each term, of one route. Every call raises the errors of MongoDB calls."""

    def __init__(self, store: JobStore, records: DeadLetterRecords, route: str) -> None:
        self._store = store
        self._records = records
        self._route = route
        self._progress = ProgressLog()

    async def open(self) -> list[Job]:
        """The open jobs, oldest first."""
        return await self._store.open()

    async def save_progress(self, job: Job, progress: Mapping[str, Any]) -> None:
        """Note how far a job is, if that has changed, and how long it will take."""
        if without_time_left(job.progress) != progress:
            left_s = self._progress.note(job.id, f"{job.kind} {job.id}", *measured(job, progress))
            await self._store.save_progress(job.id, {**progress, TIME_LEFT: left_s})

    async def finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """The job is done."""
        result = {**result, "refused": (await self._refused()).to_bson()}
        await self._store.end(job.id, "done", result)
        self._progress.forget(job.id)
        outcome, well = describe_outcome(job, result)
        log.log(logging.INFO if well else logging.WARNING, "%s %s: done, %s", job.kind, job.id, outcome)

    async def give_up(self, job: Job) -> None:
        """Another version of this program filed the job, and this one does not understand it."""
        log.warning("job %s: this version does not understand it; it is given up", job.id)
        reason = "the version that captures does not understand this job; file it again with the same version"
        await self._store.end(job.id, "failed", {"error": reason})
        self._progress.forget(job.id)

    def note_reconcile(self, job: str, synced: int, documents: int) -> None:
        """Log, now and then, how many of about so many documents are synced."""
        self._progress.note(job, RECONCILE, synced, documents, "documents are synced")

    async def keep_reconcile(self, need: ReconcileNeed, queued: int) -> Refused:
        """Store the result of the reconcile that answers a need; returns which documents are refused now."""
        refused = await self._refused()
        result = {"queued": queued, "refused": refused.to_bson()}
        await self._store.keep_result(need.job, RECONCILE, {"reason": need.reason}, result)
        self._progress.forget(need.job)
        return refused

    async def _refused(self) -> Refused:
        return refused_among(await self._records.count_by_reason(Selection(route=self._route), "open"))


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
