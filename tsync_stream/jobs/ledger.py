"""What is written down about jobs: which are open, how far they are, and what came of them.

Invariant: every result counts the documents that are refused when the job is done, because people take "done" for
"everything is in Typesense".
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.jobs.progress_log import ProgressLog
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.dead_letter_counts import Refused, refused_among, refused_from_bson
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection
from tsync_stream.state.jobs import (
    BACKUP_JOB,
    PARTIAL,
    RECONCILE,
    REPLAY,
    TIME_LEFT,
    VERIFY,
    Job,
    JobStore,
    without_time_left,
)
from tsync_stream.state.route_state import ReconcileNeed

log = logging.getLogger(__name__)

PAUSED_CHECK = "paused jobs"
# The command that files a kind of job, and steers it.
COMMANDS = {PARTIAL: "reconcile", REPLAY: "replay", VERIFY: "verify"}
MOST_NAMED = 3


class JobLedger:
    """One for each term. Every call raises the errors of MongoDB calls."""

    def __init__(self, store: JobStore, records: DeadLetterRecords, table: RouteTable, health: Health) -> None:
        self._store = store
        self._records = records
        self._table = table
        self._health = health
        self._progress = ProgressLog()
        self._with_keys: set[str] | None = None  # the open jobs that have a list of keys; None: not looked yet

    async def open(self) -> list[Job]:
        """The open jobs that queue something, oldest first. The lists of those that have ended are removed."""
        found = [job for job in await self._store.open() if job.kind != BACKUP_JOB]
        now = {job.id for job in found if job.kind == PARTIAL}
        if self._with_keys is None:
            await self._store.keys.remove_unowned(now)
        elif ended := self._with_keys - now:
            await self._store.keys.remove(ended)
        self._with_keys = now
        return found

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
        await self.fail(job, reason)

    async def fail(self, job: Job, reason: str) -> None:
        """The job cannot be done as it was filed. Raises the errors of MongoDB calls."""
        log.warning(
            "%s is given up: %s",
            self.title(job),
            reason,
            extra=event("job.given_up", job=job.id, kind=job.kind, route=job.route),
        )
        await self._store.end(job.id, "failed", {"error": reason})
        self._progress.forget(job.id)

    def tell_paused(self, jobs: Sequence[Job]) -> None:
        """Health shows the jobs that people have paused, because nobody else would remember them."""
        if not jobs:
            self.forget_paused()
            return
        named = ", ".join(f"{job.kind} {job.id} of route {job.route}" for job in jobs[:MOST_NAMED])
        more = f" and {len(jobs) - MOST_NAMED} more" if len(jobs) > MOST_NAMED else ""
        resume = f"`tsync {COMMANDS[jobs[0].kind]} --resume {jobs[0].id}`"
        self._health.working(
            PAUSED_CHECK,
            f"paused by a person: {named}{more}; live changes and other jobs go on. {resume} lets it go on",
        )

    def forget_paused(self) -> None:
        """None is paused, or another replica tells."""
        self._health.green(PAUSED_CHECK)

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
    if job.kind == PARTIAL:
        total = job.arguments.get("chosen") or job.arguments.get("documents") or 0
        return int(progress.get("looked_at", 0)), int(total), "documents are looked at"
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
