"""The reconcile that a route needs: runs it, and clears the need when everything that it queued is synced.

Invariants: a need is met when a barrier behind the job's last entry is synced; the result is stored before the need is
cleared, so whoever waits for that finds it. The need of a suspended route waits until the route can be synced, and
nothing is scanned before its suspension has ended (`state/suspension.py`).
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from bson.timestamp import Timestamp

from tsync_stream.core.errors import Fenced, TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.core.model import BEGINNING_OF_TIME
from tsync_stream.jobs.control import JobControl, JobPaused
from tsync_stream.jobs.job_metrics import PAUSED, SYNCING, WAITING, JobState, phase_of
from tsync_stream.jobs.kinds import JobKinds
from tsync_stream.jobs.ledger import JobLedger
from tsync_stream.jobs.mass_delete import MassDeleteGuard, Stored
from tsync_stream.jobs.reconcile import Reconcile
from tsync_stream.jobs.term import JobTerm
from tsync_stream.routes.usability import pause_before_s
from tsync_stream.state.dead_letter_counts import describe_reconcile
from tsync_stream.state.jobs import RECONCILE, SCAN, queued_of
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.route_state import ReconcileNeed, wishes

log = logging.getLogger(__name__)

# Between two looks whether a suspended route can be synced again.
USABLE_INTERVAL_S = 5.0


class NeededReconcile:
    """One for each term and route, whether it needs a reconcile or not. The reconciles of a term run side by side."""

    def __init__(
        self, route: str, term: JobTerm, kinds: JobKinds, ledger: JobLedger, positions: PositionStore, health: Health
    ) -> None:
        self._route = route
        self._title = ledger.check(RECONCILE, route)
        self._term = term
        self._kinds = kinds
        self._ledger = ledger
        self._positions = positions
        self._health = health
        need = self.need
        # A need that is replaced ends the term, so this is the control of one job.
        self._control = JobControl(self._title, **wishes(need))

    def __repr__(self) -> str:
        need = self.need
        return f"<NeededReconcile of {self._route}: {'none' if need is None else need.job}>"

    @property
    def need(self) -> ReconcileNeed | None:
        """The open need of the route, as this term knows it."""
        return self._term.need(self._route)

    async def run(self, need: ReconcileNeed) -> NoReturn:
        """Run the reconcile. Raises `BatchLost` and `Fenced`; outages are waited out."""
        term = self._term
        not_before = await self._resumed(need)
        sides = self._kinds.open_sides()
        guard = MassDeleteGuard(
            self._title,
            self._ledger.option(self._route),
            self._kinds.mass_delete_share,
            self._health,
            lambda: sides.find_orphans(max(not_before, term.capture.appended.cluster_time)),
            partial(self._stored_question, need),
            partial(self._positions.note_asked, need.job),
        )

        async def may_sweep() -> Sequence[str] | None:
            # Until then the collection is smaller than it will be, and the guard would ask about another one.
            await term.until_synced(job, lambda: _scan_is_over(term.synced_cursor(need.job)))
            await sides.until_settled()
            return await guard.wait()

        log.info(
            "%s: began (%s)", self._title, need.reason, extra=event("reconcile.began", job=need.job, route=self._route)
        )
        job: Reconcile = self._kinds.reconcile(need.job, term, sides, may_sweep, not_before, self._control)
        try:
            await self._queue_everything(job)
        finally:
            await sides.source.close()
        await term.until_synced(job, lambda: self.need is None)
        while True:  # the term ends by other means
            await asyncio.Event().wait()

    async def _queue_everything(self, job: Reconcile) -> None:
        """However often it is paused, and however many outages it takes."""
        while True:
            try:
                await self._term.persevere(self._title, job.run)
            except JobPaused:
                await self._control.resumed()
            else:
                return

    async def _resumed(self, need: ReconcileNeed) -> Timestamp:
        """Return once the route is not suspended: since when what was dropped is seen by whoever reads the source."""
        capture, route = self._term.capture, self._route
        suspended = capture.pipeline.routes[route].suspended
        if suspended is None:  # an earlier term has ended the last suspension, or there was none
            return await self._time_of_now() if need.suspensions else BEGINNING_OF_TIME
        await asyncio.sleep(pause_before_s(need.suspensions))
        while not await self._is_usable():
            await asyncio.sleep(USABLE_INTERVAL_S)
        resumed: list[Timestamp | None] = []

        async def resume() -> None:
            resumed.append(await self._positions.resume(route, suspended.nonce))

        await self._term.persevere(self._title, resume)
        (since,) = resumed
        if since is None:
            raise Fenced(f"the suspension of route {route} has ended already")
        capture.pipeline = capture.pipeline.with_route(route, suspended=None)
        log.info(
            "route %s: it can be synced again, and is reconciled now", route, extra=event("route.usable", route=route)
        )
        return since

    async def _time_of_now(self) -> Timestamp:
        times: list[Timestamp] = []

        async def ask() -> None:
            times.append(await self._positions.time_of_now())

        await self._term.persevere(self._title, ask)
        return times[-1]

    async def _is_usable(self) -> bool:
        try:
            await self._kinds.require_usable()
        except TsyncError:  # health shows why the route was suspended, and the servers' checks an outage
            return False
        return True

    def state(self) -> JobState | None:
        """What the reconcile does now; None if there is none."""
        need, capture = self.need, self._term.capture
        if need is None:
            return None
        cursor = capture.appended.cursors.get(need.job)
        done, _ = queued_of(self._term.synced_cursor(need.job))
        _, documents = queued_of(cursor)
        phase = SCAN if cursor is None else phase_of(str(cursor["phase"]))
        if capture.pipeline.routes[self._route].suspended is not None:
            phase = WAITING
        elif self._control.paused and phase != SYNCING:
            phase = PAUSED
        return JobState(RECONCILE, self._route, phase, done, documents)

    async def look(self, stored: Pipeline) -> None:
        """Once a second: follow what people want, log the progress, and clear the need when it is met."""
        capture = self._term.capture
        need = stored.need(self._route)
        if need is None:
            return
        self._control.note(paused=need.paused, rate_per_s=need.rate_per_s)
        cursor = self._term.synced_cursor(need.job)
        done, _ = queued_of(cursor)
        _, documents = queued_of(capture.appended.cursors.get(need.job))
        self._ledger.note_reconcile(need.job, self._title, done, documents)
        if self._term.is_synced(need.job):
            refused = await self._ledger.keep_reconcile(self._route, need, done)
            await self._positions.clear_reconcile(need.job)
            capture.pipeline = capture.pipeline.with_route(self._route, reconcile=None)
            capture.forget_job(need.job)
            level = logging.WARNING if refused.total else logging.INFO
            log.log(
                level,
                "%s: done (%s), %s",
                self._title,
                need.reason,
                describe_reconcile(done, refused),
                extra=event("reconcile.done", job=need.job, route=self._route),
            )

    async def _stored_question(self, need: ReconcileNeed) -> Stored:
        stored = await self._positions.load()
        now = (stored and stored.need(self._route)) or need
        return Stored(now.allow_mass_delete, now.asked_of)


def _scan_is_over(cursor: Mapping[str, Any] | None) -> bool:
    """Whether a reconcile's cursor is behind everything the source has (pure)."""
    return cursor is not None and cursor["phase"] != SCAN
