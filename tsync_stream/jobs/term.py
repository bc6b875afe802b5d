"""What the jobs of one capture term share: how they queue keys, wait for what is synced, and outlast outages.

Invariants: an outage is the job's own: it retries from its cursor, and capture never stops for it. A job that loses a
batch ends the term, and goes on in the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

from bson.timestamp import Timestamp

from tsync_stream.capture.term import LONGEST_READ_S, BatchLost, CaptureTerm
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.health import Health
from tsync_stream.core.model import Route
from tsync_stream.jobs.control import JobControl
from tsync_stream.jobs.job_pace import JobPace
from tsync_stream.jobs.producer import Producer, Room, Send
from tsync_stream.state.jobs import DONE
from tsync_stream.state.route_state import ReconcileNeed

T = TypeVar("T")

LOOK_INTERVAL_S = 1.0
JOB_RETRY_S = 2.0
# The time of an empty batch may be ahead of its token by as long as a read of the stream waits.
SURELY_CAPTURED_S = int(2 * LONGEST_READ_S)
# All jobs wait while more than this many batches' worth of entries are unacked in each partition.
MAX_WAITING_BATCHES = 10
# So many unacked entries, in all partitions, are the most that a live change may find before it.
MAX_WAITING_QUIETLY = 700


class Running(Protocol):
    """A job under a term."""

    producer: Producer

    async def run(self) -> None:
        """Queue everything, from the cursor on."""


class JobTerm:
    """A capture term as its jobs see it. `synced` is how far everything was synced at the last look.

    `open_refreshes` returns the ids of the refreshes that have not ended. `pace`: how fast jobs queue; None: no limit.
    """

    def __init__(
        self,
        term: CaptureTerm,
        send: Send,
        batch_size: int,
        health: Health,
        open_refreshes: Callable[[], Awaitable[Collection[str]]],
        pace: JobPace | None = None,
    ) -> None:
        self.capture = term
        self.synced = term.pipeline.began
        self._send = send
        self._room = Room(term, MAX_WAITING_BATCHES * batch_size * term.partitions, pace)
        self._quiet_room = self._room.less(MAX_WAITING_QUIETLY)
        self._open_refreshes = open_refreshes
        self._health = health
        self._settling: dict[str, asyncio.Lock] = {}

    def need(self, route: str) -> ReconcileNeed | None:
        """The open reconcile of a route, as this term knows it."""
        return self.capture.pipeline.need(route)

    def producer(
        self, route: Route, job: str, reason: str, *, quietly: bool = False, control: JobControl | None = None
    ) -> Producer:
        """The way to the queue for a job that queues keys of this route for this reason.

        `quietly`: few of them wait at a time, so that live changes are not delayed. The same holds while the route has
        several generations, one of which is shown. `control`: what a person wants of it; None: nobody can say.
        """
        room = self._quiet_room if quietly or route.pinned else self._room
        return Producer(route, job, reason, self.capture, self._send, room, control)

    def settling(self, route: str) -> asyncio.Lock:
        """Held by whoever finds out which differences of the route are real."""
        return self._settling.setdefault(route, asyncio.Lock())

    def synced_cursor(self, job: str) -> Mapping[str, Any] | None:
        """How far what the job queued is synced; None: nothing is."""
        return self.synced.cursors.get(job)

    def is_synced(self, job: str) -> bool:
        """Whether everything that the job queued is synced."""
        cursor = self.synced_cursor(job)
        return cursor is not None and cursor["phase"] == DONE

    async def synced_up_to(self, cluster_time: Timestamp, wanted: Callable[[], bool]) -> None:
        """Return when every change up to this time is synced wherever it is shown, or when that is no longer wanted.

        Raises the errors of MongoDB calls.
        """
        surely = Timestamp(cluster_time.time + SURELY_CAPTURED_S, cluster_time.inc)
        self.capture.await_barrier(surely)
        while wanted() and self.synced.cluster_time < surely:
            await asyncio.sleep(LOOK_INTERVAL_S)
        # Documents that show what those changes changed are on their way as long as these refreshes are open.
        waiting = set(await self._open_refreshes())
        while waiting and wanted():
            await asyncio.sleep(LOOK_INTERVAL_S)
            waiting.intersection_update(await self._open_refreshes())

    async def until_synced(self, running: Running, ended: Callable[[], bool]) -> None:
        """Return when `ended` says so. Raises `BatchLost` if the job's last batch never reaches the queue."""
        while not ended():
            if running.producer.lost:
                kind = type(running).__name__.lower()
                raise BatchLost(f"the last batch of a {kind} was lost before it was persisted")
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def persevere(self, check: str, step: Callable[[], Awaitable[T]]) -> T:
        """Finish a step of a job, however many outages it takes. `check` is where health reports them."""
        try:
            while True:
                try:
                    return await step()
                except (DependencyUnavailable, ConfigurationError) as error:
                    person = isinstance(error, ConfigurationError)
                    text = f"{error}; the job goes on where it stopped once this is repaired"
                    self._health.fault(check, text, needs_person=person)
                    await asyncio.sleep(JOB_RETRY_S)
        finally:
            # Also when the term ends under the step: another replica may run the job then.
            self._health.green(check)
