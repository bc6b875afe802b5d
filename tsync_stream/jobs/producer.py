"""How a job queues keys: in batches that carry its cursor, so that it goes on from there after any interruption.

Invariants: a batch is queued only behind the job's last one; jobs wait while the queue holds many entries, because
live changes queue behind them, and they take turns; they queue no faster than the limit of the rate lets sync write,
nor than a person wants; `cursor` is where the last batch ends, which may still be on its way to the queue.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.capture.entries import Entries
from tsync_stream.capture.term import CaptureTerm, Delivery, EntryBatch, JobProgress
from tsync_stream.core.model import Key, Route
from tsync_stream.core.pacer import MaxRates
from tsync_stream.jobs.control import JobControl
from tsync_stream.jobs.job_pace import JobPace
from tsync_stream.state.jobs import queued_of

ROOM_INTERVAL_S = 0.01

Send = Callable[[EntryBatch], Awaitable[object]]


class Room:
    """The queue's room for the batches of all jobs of a term. They wait while more than `most_waiting` are unacked.

    `less` is another such room, with a smaller limit; whoever waits for it makes the others wait too. `page`: how many
    keys at most are queued together; None: any number.
    """

    def __init__(
        self,
        term: CaptureTerm,
        most_waiting: int,
        pace: JobPace | None = None,
        turn: asyncio.Lock | None = None,
        page: int | None = None,
    ) -> None:
        self._term = term
        self._most_waiting = most_waiting
        self.pace = pace or JobPace(MaxRates())
        self._turn = turn or asyncio.Lock()
        self.page = page

    def less(self, most_waiting: int) -> "Room":
        """Room for few entries: live changes queue behind them. A third of them are queued together."""
        page = max(1, most_waiting // 3)
        return Room(self._term, min(most_waiting, self._most_waiting), self.pace, self._turn, page)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Around queueing one batch: jobs get their turns in the order in which they ask. Raises the tier's errors."""
        term = self._term
        async with self._turn:
            while sum(await term.tier.backlog(term.pipeline.epoch, term.partitions)) + term.in_flight > (
                self.pace.most_waiting(self._most_waiting)
            ):
                await asyncio.sleep(ROOM_INTERVAL_S)
            yield


class Producer:
    """Queues the keys of one job of a route under one term. `control` is what a person wants of it."""

    def __init__(
        self,
        route: Route,
        job: str,
        reason: str,
        term: CaptureTerm,
        send: Send,
        room: Room,
        control: JobControl | None = None,
    ) -> None:
        self.route = route
        self.job = job
        self.control = control or JobControl()
        self._reason = reason
        self._term = term
        self._send = send
        self._room = room
        self._last: Delivery | None = None
        self.cursor: Mapping[str, Any] | None = self.appended_cursor

    def __repr__(self) -> str:
        state = "appended" if self.arrived else "lost" if self.lost else "in flight"
        return f"<Producer of {self.job}: last batch {state}>"

    @property
    def captured_time(self) -> Timestamp:
        """The cluster time up to which changes are in the queue: what the job reads must not be older."""
        return self._term.appended.cluster_time

    @property
    def appended_cursor(self) -> Mapping[str, Any] | None:
        """The end of the last batch that is in the queue; None before the first one."""
        return self._term.appended.cursors.get(self.job)

    @property
    def arrived(self) -> bool:
        """Whether the last batch is in the queue."""
        return self.appended_cursor == self.cursor

    @property
    def lost(self) -> bool:
        """Whether the last batch will never be in the queue."""
        return not self.arrived and (self._last is None or self._last.settled)

    def page(self, most: int) -> int:
        """How many keys to queue together now, at most `most`."""
        most = most if self._room.page is None else min(most, self._room.page)
        return self.control.page(self._room.pace.page(self.route.name, most))

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Around `queue`, if the batch holds entries: it is this job's turn, and the queue has room.

        Raises `JobPaused` if a person wants the job to wait.
        """
        await self.control.turn()
        await self._room.pace.turn(self.route.name, self._unsynced)
        async with self._room.turn():
            self.control.check()  # it may have waited long
            yield

    def _unsynced(self) -> int:
        queued, _ = queued_of(self.cursor)
        synced, _ = queued_of(self._term.synced.cursors.get(self.job))
        return queued - synced

    def entries(self, keys: Collection[Key], as_of: Timestamp) -> Entries:
        """Entries for keys that were looked at as they were at `as_of`: sync reads nothing older than that."""
        entries = Entries(self.route, self._term.partitions, self._reason, as_of)
        entries.add_keys(keys)
        return entries

    async def queue(self, entries: Entries, cursor: Mapping[str, Any]) -> None:
        """Put entries on their way to the queue; the job then stands at `cursor`."""
        self._room.pace.took(self.route.name, entries.count)
        self.control.took(entries.count)
        progress = JobProgress(self.job, self.cursor, cursor)
        with self._term.sending() as delivery:
            await self._send(EntryBatch(delivery, progress, entries.by_partition, entries.counts, entries.reason))
        self._last, self.cursor = delivery, cursor
