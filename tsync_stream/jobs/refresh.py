"""Refreshes: queue every document that shows something that has changed, where those are too many for one batch.

Nobody files or cancels a refresh: capture stores it before the change passes (`state/refreshes.py`), and it runs beside
all other jobs. Invariants: a refresh ends when everything that it queued is synced, and only then its cursor is
dropped. It begins again after an interruption, since queueing a key twice does no harm. Of one lookup, one runs at a
time: further changes gather meanwhile. Few of their entries wait in the queue: live changes queue behind them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import NoReturn

from bson.timestamp import Timestamp

from tsync_stream.core.events import event
from tsync_stream.core.model import Key, Reason, Route
from tsync_stream.core.tasks import end_tasks, one_ahead
from tsync_stream.jobs.producer import Producer
from tsync_stream.jobs.term import LOOK_INTERVAL_S, JobTerm
from tsync_stream.routes.declaration import Parent
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.references import References
from tsync_stream.state.jobs import DONE
from tsync_stream.state.refreshes import Lookup, Refresh, Refreshes, is_refresh

log = logging.getLogger(__name__)

QUEUEING = "queueing"
PAGE = 250
# Each reads with a session of its own, and they take turns at the queue.
MOST_AT_ONCE = 8


class RefreshRun:
    """One refresh under one capture term."""

    def __init__(
        self, refresh: Refresh, route: Route, producer: Producer, term: JobTerm, references: References
    ) -> None:
        self.producer = producer
        self._refresh = refresh
        self._route = route
        self._term = term
        self._references = references
        self.queued = 0

    async def run(self) -> None:
        """Queue all pages. Raises the errors of MongoDB calls, and the tier's."""
        producer, refresh = self.producer, self._refresh
        if producer.cursor is not None and producer.cursor["phase"] == DONE:
            return
        self.queued = 0
        place = (self._route.database, self._route.collection)
        pages = self._references.pages(place, refresh.lookup.local, refresh.references, refresh.as_of, PAGE)
        # The next page is read while this one waits for its turn.
        async with aclosing(one_ahead(pages)) as found:
            async for keys in found:
                # With the time of our read: what was written by then is captured as a change of its own.
                as_of = max(refresh.as_of, self._references.operation_time)
                await self._queue_in_turns(keys, as_of)
        empty = producer.entries([], refresh.as_of)
        await producer.queue(empty, {"phase": DONE, "queued": self.queued})

    async def _queue_in_turns(self, keys: Sequence[Key], as_of: Timestamp) -> None:
        while keys:
            async with self.producer.turn():
                count = self.producer.page(len(keys))
                await self._queue(keys[:count], as_of)
            keys = keys[count:]

    async def _queue(self, keys: Sequence[Key], as_of: Timestamp) -> None:
        entries = self.producer.entries(keys, as_of)
        self._term.capture.note_written(self._route.name, ((name, as_of) for name in entries.ids))
        self.queued += len(keys)
        await self.producer.queue(entries, {"phase": QUEUEING, "queued": self.queued})


class RefreshJobs:
    """The refreshes of one capture term, those of several lookups side by side."""

    def __init__(
        self, term: JobTerm, table: RouteTable, refreshes: Refreshes, open_references: Callable[[], References]
    ) -> None:
        self._term = term
        self._table = table
        self._refreshes = refreshes
        self._open_references = open_references
        self._running: dict[Lookup, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<RefreshJobs running {', '.join(map(str, self._running)) or 'nothing'}>"

    async def run(self) -> NoReturn:
        """Run whatever capture stores. Raises `BatchLost`; outages are waited out."""
        running, stored = self._running, self._refreshes.stored
        try:
            while True:
                if (refresh := await self._begin_next()) is not None:
                    task = asyncio.create_task(self._run_one(refresh))
                    task.add_done_callback(lambda _: stored.ring())  # another one of its lookup may have waited
                    running[refresh.lookup] = task
                else:
                    if not running:
                        self._drop_cursors()
                    if not running and not self._table.looks_up:
                        await asyncio.Event().wait()  # this term stores none
                    await stored.wait(LOOK_INTERVAL_S)
                for lookup in [lookup for lookup, task in running.items() if task.done()]:
                    running.pop(lookup).result()
        finally:
            await end_tasks(running.values())

    async def _begin_next(self) -> Refresh | None:
        if len(self._running) >= MOST_AT_ONCE:
            return None
        return await self._term.persevere("refreshes", partial(self._refreshes.begin_next, list(self._running)))

    async def _run_one(self, refresh: Refresh) -> None:
        route = self._route_of(refresh)
        check = f"refresh ({refresh.lookup})"
        if route is not None:
            await self._queue_and_sync(refresh, route, check)
        await self._term.persevere(check, partial(self._refreshes.end, refresh.id))
        self._term.capture.forget_job(refresh.id)

    async def _queue_and_sync(self, refresh: Refresh, route: Route, check: str) -> None:
        references = self._open_references()
        producer = self._term.producer(route, refresh.id, Reason.REFRESH, quietly=True)
        running = RefreshRun(refresh, route, producer, self._term, references)
        log.info(
            "%s: began, for %d changed documents",
            check,
            len(refresh.references),
            extra=event("refresh.began", check=check, route=route.name),
        )
        try:
            await self._term.persevere(check, running.run)
        finally:
            await references.close()
        await self._term.until_synced(running, lambda: self._term.is_synced(refresh.id))
        log.info(
            "%s: done, %d documents queued",
            check,
            running.queued,
            extra=event("refresh.done", check=check, route=route.name),
        )

    def _route_of(self, refresh: Refresh) -> Route | None:
        """None if the route does not declare this lookup any more: it was reconciled for that."""
        declaration = self._table.get(refresh.lookup.route)
        if declaration is None:
            return None
        parents = (lookup for lookup in declaration.lookups if isinstance(lookup, Parent))
        looked_up = {(lookup.collection, lookup.local) for lookup in parents}
        return declaration.route if (refresh.lookup.collection, refresh.lookup.local) in looked_up else None

    def _drop_cursors(self) -> None:
        """Of refreshes that a term ended without dropping their cursors: none is open now."""
        for job in list(self._term.capture.appended.cursors):
            if is_refresh(job):
                self._term.capture.forget_job(job)
