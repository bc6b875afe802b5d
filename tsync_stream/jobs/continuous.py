"""Continuous verification: passes over every route in the background, at VERIFY_RATE documents a second.

It compares as a filed verification does (`comparing.py`, `judge.py`), and repairs what differs through the queue.

Invariants: it never holds up a change or a filed job: it is paced, its repairs wait while other entries do, and it
pauses while its route is reconciled, suspended or has a filed job. Its cursor is in MongoDB, beside the pipeline's
state; it moves past a difference only when the repair is synced. An outage pauses it, and is reported by others.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any, NoReturn

from bson.timestamp import Timestamp

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError, unforeseen
from tsync_stream.core.events import event
from tsync_stream.core.model import Key, Reason
from tsync_stream.core.pacer import Pacer
from tsync_stream.core.quiet import about
from tsync_stream.core.tasks import end_tasks
from tsync_stream.core.terminal import printable, shorten
from tsync_stream.jobs.compare import Difference, Tally
from tsync_stream.jobs.comparing import MAX_PAGE, Comparing
from tsync_stream.jobs.control import Latch
from tsync_stream.jobs.kinds import JobKinds
from tsync_stream.jobs.producer import Producer
from tsync_stream.jobs.scan import Sides
from tsync_stream.jobs.term import JOB_RETRY_S, LOOK_INTERVAL_S, JobTerm
from tsync_stream.observe.metrics import Metrics
from tsync_stream.state.jobs import DONE
from tsync_stream.state.pipeline import new_nonce
from tsync_stream.state.verifications import Verification, VerificationStore

log = logging.getLogger(__name__)

MOST_PAGES = 5
# The documents of about a second make a page: few requests, and none that takes long.
PAGE_S = 1.0
# The cursor is stored when so much time has passed: what a crash repeats costs reading alone.
SAVE_INTERVAL_S = 10.0
# Between two passes of a route, and what beginning one costs, in documents: a small route takes few requests.
PAUSE_S = 10.0
PASS_COST = 50
UNFORESEEN_PAUSE_S = 600.0
# So many differences of one step have a line in the log each.
MOST_LINES = 20
LONGEST_ID = 200
_PREFIX = "repair-"


def is_repair(job: str) -> bool:
    """Whether the job of a cursor is a repair of a background verification (pure)."""
    return job.startswith(_PREFIX)


@dataclass(slots=True)
class _Repair:
    """A batch of keys on its way to Typesense."""

    producer: Producer

    async def run(self) -> None:
        """It is queued as a whole."""


class ContinuousVerification:
    """The background verifications of one capture term. `has_filed_jobs` tells whether a route has any that is open."""

    def __init__(
        self,
        term: JobTerm,
        kinds: Mapping[str, JobKinds],
        store: VerificationStore,
        pacer: Pacer,
        metrics: Metrics,
        has_filed_jobs: Callable[[str], bool],
    ) -> None:
        self._term = term
        self._kinds = kinds
        self._store = store
        self._pacer = pacer
        self._metrics = metrics
        self._has_filed_jobs = has_filed_jobs
        self._routes: dict[str, RouteVerification] = {}

    def __repr__(self) -> str:
        return f"<ContinuousVerification {', '.join(map(repr, self._routes.values())) or 'not begun'}>"

    async def run(self) -> NoReturn:
        """Verify all routes, again and again. Raises `BatchLost`; outages are waited out."""
        for job in list(self._term.capture.appended.cursors):
            if is_repair(job):  # of a term that ended before it was synced: its documents are compared again
                self._term.capture.forget_job(job)
        stored = await self._loaded()
        for name, kinds in self._kinds.items():
            made_from = self._made_from(name)
            known = stored.get(name)
            if known is None or known.made_from != made_from:
                known = Verification(name, made_from)
            self._routes[name] = RouteVerification(
                known, self._term, kinds, self._store, self._pacer, self._metrics, partial(self._may_run, name)
            )
        tasks = [asyncio.create_task(route.run()) for route in self._routes.values()]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            raise AssertionError("a background verification ended")
        finally:
            await end_tasks(tasks)

    def _made_from(self, route: str) -> str:
        fingerprint = self._term.capture.pipeline.routes[route].fingerprint
        return sha256(repr(sorted(fingerprint.items())).encode()).hexdigest()

    async def _loaded(self) -> Mapping[str, Verification]:
        while True:
            try:
                return await self._store.load()
            except TsyncError:  # health shows why
                await asyncio.sleep(JOB_RETRY_S)

    def _may_run(self, route: str) -> bool:
        term = self._term
        return term.need(route) is None and route not in term.capture.without_source and not self._has_filed_jobs(route)


def verification_at(
    rate_per_s: int,
    term: JobTerm,
    kinds: Mapping[str, JobKinds],
    store: VerificationStore,
    metrics: Metrics,
    has_filed_jobs: Callable[[str], bool],
) -> ContinuousVerification | None:
    """The background verifications of a term at so many documents a second; None at 0."""
    if not rate_per_s:
        return None
    pacer = Pacer(lambda: rate_per_s)
    return ContinuousVerification(term, kinds, store, pacer, metrics, has_filed_jobs)


class RouteVerification:
    """The background verification of one route under one term; it is also the way that its comparisons take."""

    repair = True
    most_pages = MOST_PAGES
    pages_at_once = 1  # it has time

    def __init__(
        self,
        stored: Verification,
        term: JobTerm,
        kinds: JobKinds,
        store: VerificationStore,
        pacer: Pacer,
        metrics: Metrics,
        may_run: Callable[[], bool],
    ) -> None:
        self._state = stored
        self._term = term
        self._kinds = kinds
        self._store = store
        self._pacer = pacer
        self._metrics = metrics
        self._may_run = may_run
        self._saved_s = float("-inf")
        self._sides: Sides | None = None

    def __repr__(self) -> str:
        state = self._state
        paused = ", paused" if state.paused else ""
        return f"<RouteVerification {state.route}: {state.tally.get('compared', 0)} compared{paused}>"

    async def run(self) -> NoReturn:
        """One pass after another."""
        self._show()
        while True:
            try:
                if self._may_run():
                    await self._go_on()
            except (DependencyUnavailable, ConfigurationError) as error:
                await self._note_paused(str(error))
                await asyncio.sleep(JOB_RETRY_S)
            except TsyncError:
                raise  # the term's: a lost batch, a newer replica that captures
            except Exception as error:  # noqa: BLE001 - capture must not stop for it
                what = unforeseen(error)
                text = "verification of route %s: unforeseen %s; it is tried again"
                route = self._state.route
                log.error(text, route, what, extra=event("verification.unforeseen", route=route))  # noqa: TRY400
                await self._note_paused(what)
                await asyncio.sleep(UNFORESEEN_PAUSE_S)
            await asyncio.sleep(PAUSE_S if self._state.complete else LOOK_INTERVAL_S)

    async def _go_on(self) -> None:
        """Begin a pass, or go on with the present one, until it is complete or has to pause."""
        state = self._state
        if state.complete:
            state = state.next_pass()
        if state.began is None:
            await self._pacer.turn(PASS_COST)
            documents = await self._kinds.count_documents()
            state = replace(state, began=self.captured_time, documents=documents)
        self._state = replace(state, paused="")
        sides = self._kinds.open_sides()
        page_size = self._pacer.portion(PAGE_S, min(MAX_PAGE, sides.page_size))
        sides = self._sides = replace(sides, page_size=page_size)
        wanted = Latch(self._may_run)
        try:
            judge_without = partial(self._kinds.judge, self._term, sides, wanted)
            await Comparing(sides, self, judge_without, self._kinds.mass_delete_share, wanted).run()
        finally:
            await sides.source.close()

    # ---- the way of a comparison ----

    @property
    def cursor(self) -> Mapping[str, Any] | None:
        """Where the present pass stands."""
        return self._state.cursor

    @property
    def captured_time(self) -> Timestamp:
        """What is read must not be older."""
        return self._term.capture.appended.cluster_time

    async def before_page(self, documents: int) -> None:
        """Wait for a turn."""
        await self._pacer.turn(documents)

    async def advance(self, found: Sequence[Difference], repairs: Sequence[Key], cursor: Mapping[str, Any]) -> None:
        """Report what differs, have it synced, and store where the pass stands now and then."""
        assert self._sides is not None
        seen = self._sides.source.operation_time
        self._report(found, repaired=bool(repairs))
        if repairs:
            await self._queue_and_sync(self._sides, repairs, seen)
        before = self._state
        self._state = replace(before, cursor=cursor, latest=max(seen, self.captured_time))
        compared = int(cursor["tally"]["compared"]) - int(before.tally.get("compared", 0))
        self._metrics.documents_verified.labels(before.route).inc(max(0, compared))
        self._show()
        moved = before.cursor is None or before.cursor["phase"] != cursor["phase"]
        if moved or found or clock.now_s() - self._saved_s >= SAVE_INTERVAL_S:
            self._saved_s = clock.now_s()
            await self._store.save(self._state)
        if self._state.complete:
            self._report_end(Tally(**cursor["tally"]))

    async def _queue_and_sync(self, sides: Sides, keys: Sequence[Key], seen: Timestamp) -> None:
        job = f"{_PREFIX}{new_nonce()}"
        producer = self._term.producer(sides.route, job, Reason.VERIFY, quietly=True)
        async with producer.turn():
            await producer.queue(producer.entries(keys, seen), {"phase": DONE})
        await self._term.until_synced(_Repair(producer), lambda: self._term.is_synced(job))
        self._term.capture.forget_job(job)

    # ---- what is said of it ----

    def _report(self, found: Sequence[Difference], *, repaired: bool) -> None:
        route = self._state.route
        what = "it is synced again"
        if not repaired:
            what = "it is not deleted, because MASS_DELETE_SHARE does not allow so many"
        for each in found[:MOST_LINES]:
            shown = shorten(printable(each.document_id), LONGEST_ID)
            log.error(
                "verification of route %s: the document %s is %s in Typesense; %s",
                route,
                shown,
                each.kind,
                what,
                # A topic of its own: lines that differ in their ids alone would be held back as repetitions.
                extra={**event("verification.differs", route=route), **about(f"{route} {shown}", each.kind)},
            )
        if len(found) > MOST_LINES:
            log.error(
                "verification of route %s: and %d more documents differ",
                route,
                len(found) - MOST_LINES,
                extra=event("verification.differs", route=route),
            )
        for each in found:
            self._metrics.documents_drifted.labels(route, each.kind).inc()

    def _report_end(self, tally: Tally) -> None:
        text = "verification of route %s: every document was compared, %d in all; %d differed, %d are refused"
        route = self._state.route
        level = logging.INFO if tally.differences else logging.DEBUG
        log.log(
            level,
            text,
            route,
            tally.compared,
            tally.differences,
            tally.excepted,
            extra=event("verification.done", route=route),
        )

    def _show(self) -> None:
        self._metrics.show_verified(self._state)

    async def _note_paused(self, why: str) -> None:
        """Health shows outages already; here they say why the pass does not go on."""
        if self._state.paused == why:
            return
        self._state = replace(self._state, paused=why)
        try:
            await self._store.save(self._state)
        except TsyncError:
            self._state = replace(self._state, paused="")  # to be stored when MongoDB answers
