"""The kinds of jobs that this version understands, and how each is made.

Invariant: what another version filed, and this one does not understand, is not made into a job.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from bson.timestamp import Timestamp

from tsync_stream.core.model import Reason
from tsync_stream.jobs.compare import Comparison
from tsync_stream.jobs.comparing import MAX_PAGE
from tsync_stream.jobs.control import JobControl, Latch
from tsync_stream.jobs.judge import Judge
from tsync_stream.jobs.partial import PartialReconcile
from tsync_stream.jobs.reconcile import Reconcile
from tsync_stream.jobs.replay import Replay
from tsync_stream.jobs.scan import Sides
from tsync_stream.jobs.term import JobTerm, Running
from tsync_stream.jobs.verify import Verify
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.state.dead_letter_search import DeadLetterRecords
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.job_keys import JobKeys
from tsync_stream.state.jobs import PARTIAL, REPLAY, VERIFY, Job

# What a verification with a rate of its own compares together: few requests, and none that takes long.
PAGE_S = 1.0


class Filed(Running, Protocol):
    """A job that a person filed."""

    async def run(self) -> None:
        """Queue everything, from the cursor on. Raises `JobPaused`, and `JobFailed` if that is not possible."""

    def progress(self) -> Mapping[str, Any]:
        """How far it is, for people."""

    async def result(self) -> Mapping[str, Any]:
        """What came of it, once all that it queued is synced."""


class JobKinds:
    """Makes the jobs of one route. `open_sides` gives a job its own view of both sides; the job's runner closes it.

    `require_usable` raises a `TsyncError` while the route cannot be synced.
    """

    def __init__(
        self,
        open_sides: Callable[[], Sides],
        require_usable: Callable[[], Awaitable[None]],
        count_documents: Callable[[], Awaitable[int]],
        schema: LiveSchema,
        dead_letters: DeadLetters,
        records: DeadLetterRecords,
        job_keys: JobKeys,
        mass_delete_share: float,
    ) -> None:
        self.open_sides = open_sides
        self.require_usable = require_usable
        self.mass_delete_share = mass_delete_share
        self.count_documents = count_documents
        self._schema = schema
        self._dead_letters = dead_letters
        self._records = records
        self._job_keys = job_keys

    def reconcile(
        self,
        job: str,
        term: JobTerm,
        sides: Sides,
        may_sweep: Callable[[], Awaitable[Sequence[str] | None]],
        not_before: Timestamp,
        control: JobControl,
    ) -> Reconcile:
        """The reconcile that answers a need; it reads the source as it was at `not_before`, or later."""
        producer = term.producer(sides.route, job, Reason.RECONCILE, control=control)
        return Reconcile(
            producer, sides, self._dead_letters, self._records, self.count_documents, may_sweep, not_before
        )

    def filed(
        self, job: Job, term: JobTerm, sides: Sides, wanted: Callable[[], bool], control: JobControl
    ) -> Filed | None:
        """A filed job, ready to run; None if this version does not understand it. `wanted`: nobody cancelled it."""
        make = {PARTIAL: self._partial, REPLAY: self._replay, VERIFY: self._verify}.get(job.kind)
        try:
            return None if make is None else make(job, term, sides, wanted, control)
        except (LookupError, TypeError):
            return None

    def _partial(self, job: Job, term: JobTerm, sides: Sides, wanted: Callable[[], bool], control: JobControl) -> Filed:
        producer = term.producer(sides.route, job.id, Reason.RECONCILE, control=control)
        return PartialReconcile(job, producer, sides, self._job_keys, self.mass_delete_share, wanted)

    def _replay(self, job: Job, term: JobTerm, sides: Sides, wanted: Callable[[], bool], control: JobControl) -> Filed:
        producer = term.producer(sides.route, job.id, Reason.REPLAY, control=control)
        return Replay(job, producer, self._records, sides.page_size, wanted)

    def _verify(self, job: Job, term: JobTerm, sides: Sides, wanted: Callable[[], bool], control: JobControl) -> Filed:
        sides = replace(sides, page_size=control.page(min(MAX_PAGE, sides.page_size), PAGE_S))
        producer = term.producer(sides.route, job.id, Reason.VERIFY, control=control)
        may_go_on = Latch(lambda: wanted() and not control.paused)
        judge_without = partial(self.judge, term, sides, may_go_on)
        return Verify(job, producer, sides, judge_without, self.mass_delete_share, wanted, may_go_on)

    def judge(self, term: JobTerm, sides: Sides, wanted: Callable[[], bool], left_out: frozenset[str]) -> Judge:
        """Decides what differs between these sides, but for the fields in `left_out`."""
        comparison = Comparison(sides, self._schema, left_out)
        synced_up_to = partial(term.synced_up_to, wanted=wanted)
        settling = term.settling(sides.route.name)
        return Judge(term.capture, comparison, self._dead_letters, synced_up_to, wanted, settling)
