"""A capture term: one stretch in which this replica captures, under one fence, into one epoch.

The change feed, the jobs and the two agents share it. Invariants: offsets are contiguous per partition;
`appended` is the end of what is durable in the queue; once the term is closed nothing more is appended under it, and
whoever waits in `broken` gets the reason. A batch that cannot be appended ends the term, so none is skipped.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from bson.timestamp import Timestamp

from tsync_stream.capture.sources import Sources
from tsync_stream.core.errors import TsyncError, unforeseen
from tsync_stream.core.events import event
from tsync_stream.core.model import BEGINNING_OF_TIME, Barrier, BarrierOrder, Entry, Head, Position, Token
from tsync_stream.queue.tier import Append, Tier
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.change_stream import ChangeBatch
from tsync_stream.state.pipeline import Pipeline

log = logging.getLogger(__name__)

# How long a read of the change stream waits for changes, at the most.
LONGEST_READ_S = 1.0
BARRIER_INTERVAL_S = 1.0
IDLE_BARRIER_INTERVAL_S = 10.0
ENTRIES_PER_BARRIER = 5_000


class BatchLost(TsyncError):
    """A batch does not begin where the last appended one ended: its agent lost one between them."""


@dataclass(frozen=True, slots=True)
class ChangeProgress:
    """A batch of the change stream: the token it starts from, and where it ends."""

    from_token: Token
    token: Token
    cluster_time: Timestamp

    def advance(self, position: Position) -> Position:
        """The position after this batch. Raises `BatchLost` if it does not begin at `position`."""
        if position.token != self.from_token:
            raise BatchLost("a batch of changes was lost before it was persisted")
        return replace(position, token=self.token, cluster_time=self.cluster_time)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A batch of a job: the cursor it starts from (None: the job's beginning), and where it ends."""

    job: str
    from_cursor: Mapping[str, Any] | None
    cursor: Mapping[str, Any]

    def advance(self, position: Position) -> Position:
        """The position after this batch. Raises `BatchLost` if it does not begin at the job's cursor."""
        if position.cursors.get(self.job) != self.from_cursor:
            raise BatchLost("a batch of a job was lost before it was persisted")
        return replace(position, cursors={**position.cursors, self.job: self.cursor})


class Delivery:
    """A batch on its way to the queue: in flight until it is settled, that is appended, dropped or lost.

    Made by `CaptureTerm.sending`. It travels with its batch, and settles itself when an agent fails.
    """

    __slots__ = ("_in_flight", "term")

    def __init__(self, term: "CaptureTerm", in_flight: set["Delivery"]) -> None:
        self.term = term
        self._in_flight = in_flight
        in_flight.add(self)

    def __repr__(self) -> str:
        return f"<Delivery {'settled' if self.settled else 'in flight'}>"

    @property
    def settled(self) -> bool:
        """True once nothing more happens to the batch."""
        return self not in self._in_flight

    def settle(self) -> None:
        """Nothing more happens to the batch. Settling it again changes nothing."""
        self._in_flight.discard(self)

    @contextmanager
    def handled_by(self, agent: str) -> Iterator[None]:
        """Around an agent's work on the batch: whatever goes wrong ends the term and settles the batch."""
        try:
            yield
        except TsyncError as error:
            self.settle()
            self.term.fail(error)
        except Exception as error:  # noqa: BLE001 - the term reports it, and the batch is read again
            self.settle()
            log.error(  # noqa: TRY400
                "%s: unforeseen %s; capture begins again from what is durable",
                agent,
                unforeseen(error),
                extra=event("capture.unforeseen", agent=agent),
            )
            self.term.fail(BatchLost(f"the {agent} agent failed with a batch in hand ({type(error).__name__})"))
        except BaseException:
            self.settle()
            raise


@dataclass(frozen=True, slots=True)
class EntryBatch:
    """Entries by partition, on their way to the queue; `counts` is how many there are of each route.

    `stored_need`: a change of the batch has had a need of a reconcile stored, which ends the term soon. A barrier
    follows at once: otherwise the next term would read that change again, and end in the same way.
    """

    delivery: Delivery
    progress: ChangeProgress | JobProgress
    entries: Mapping[int, Sequence[Entry]]
    counts: Mapping[str, int]
    reason: str
    stored_need: bool = False

    @property
    def count(self) -> int:
        """The number of entries."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class CapturedChanges:
    """One batch of the change stream, and the token it starts from."""

    delivery: Delivery
    from_token: Token
    batch: ChangeBatch


class CaptureTerm:
    """The state that the parts of one term share. `pipeline` is the epoch document as this term stored it."""

    def __init__(
        self, pipeline: Pipeline, tier: Tier, table: RouteTable, heads: Sequence[Head], start: Position
    ) -> None:
        self.pipeline = pipeline
        self.tier = tier
        self.table = table
        self.sources = Sources(table)
        self.fence = pipeline.capture_fence
        self.appended = start
        self._in_flight: set[Delivery] = set()
        self.backlog = 0  # unacked entries, when last measured
        self.synced = pipeline.began  # when the monitor last looked
        self.without_source: Sequence[str] = ()  # the routes whose sources could not be used when the term began
        self.paused = False  # True: the feed waits until everything captured is synced
        self._last = [(head.last_offset, head.fence) for head in heads]
        self._counter = 0
        self._entries_since_barrier = 0
        self._last_barrier_s = float("-inf")
        self._last_barrier: Position | None = None
        self._finished_jobs: set[str] = set()
        self._awaited = BEGINNING_OF_TIME
        self._watched: dict[str, frozenset[str]] = {}
        self._written: dict[str, dict[str, Timestamp]] = {}
        self._failure: asyncio.Future[TsyncError] = asyncio.get_running_loop().create_future()
        self._closed = False

    def __repr__(self) -> str:
        epoch = self.pipeline.epoch
        state = f"failed ({self._failure.result()})" if self._failure.done() else "closed" if self._closed else "open"
        pause = ", paused" if self.paused else ""
        return (
            f"<CaptureTerm epoch {epoch.epoch} on {epoch.tier}, fence {self.fence}, {state}, "
            f"{self.in_flight} in flight, backlog {self.backlog}{pause}>"
        )

    @property
    def partitions(self) -> int:
        """How many partitions the epoch has."""
        return self.pipeline.partitions

    @property
    def closed(self) -> bool:
        """True once nothing more may be appended under this term."""
        return self._closed or self._failure.done()

    def close(self) -> None:
        """The term has ended: drop the batches that are still in flight."""
        self._closed = True

    def fail(self, error: TsyncError) -> None:
        """End the term with a fault. The first one counts."""
        if not self._failure.done():
            self._failure.set_result(error)

    async def broken(self) -> NoReturn:
        """Wait until the term fails, and raise the fault."""
        raise await asyncio.shield(self._failure)

    @property
    def announced(self) -> Position:
        """The position of the last barrier of this term: *synced* gets no further before the next one."""
        return self._last_barrier or self.pipeline.began

    @property
    def in_flight(self) -> int:
        """How many batches are between their producer and the queue."""
        return len(self._in_flight)

    @contextmanager
    def sending(self) -> Iterator[Delivery]:
        """Around putting a batch on a channel: its delivery, which is settled here if the batch cannot be sent."""
        delivery = Delivery(self, self._in_flight)
        try:
            yield delivery
        except BaseException:
            delivery.settle()
            raise

    def appends(self, entries: Mapping[int, Sequence[Entry]], barrier: Barrier | None) -> list[Append]:
        """The tier's calls that append these entries, and behind them a barrier to every partition."""
        partitions = range(self.partitions) if barrier else sorted(entries)
        mark = [barrier] if barrier else []
        calls = []
        for partition in partitions:
            offset, fence = self._last[partition]
            after = f"{offset}-{fence}"
            calls.append(Append(partition, after, offset, [*entries.get(partition, ()), *mark]))
        return calls

    def barrier_due(self, position: Position, count: int, *, at_once: bool = False) -> Barrier | None:
        """The barrier to append behind a batch of `count` entries that ends at `position`, if it is time for one."""
        if not at_once and not self.is_time_for_barrier(position, count):
            return None
        return Barrier(BarrierOrder(self.pipeline.epoch.epoch, self.fence, self._counter + 1), position)

    def is_time_for_barrier(self, position: Position, count: int = 0) -> bool:
        """Whether a barrier should follow a batch of `count` entries that ends at `position`."""
        entries = self._entries_since_barrier + count
        if position == self._last_barrier:
            return False  # it would say nothing new, and barriers would pile up while the feed is paused
        interval_s = BARRIER_INTERVAL_S if entries or self._is_awaited(position) else IDLE_BARRIER_INTERVAL_S
        waited_s = time.monotonic() - self._last_barrier_s
        return waited_s >= interval_s or entries >= ENTRIES_PER_BARRIER

    def _is_awaited(self, position: Position) -> bool:
        last = self._last_barrier
        return last is None or position.cursors != last.cursors or last.cluster_time < self._awaited

    def done(self, appends: Sequence[Append], position: Position, barrier: Barrier | None, count: int) -> None:
        """Note that these appends, up to `position`, are durable."""
        for append in appends:
            self._last[append.partition] = (append.last_offset, self.fence)
        self.appended = self._without_finished_jobs(position)
        self._entries_since_barrier += count
        if barrier is not None:
            self._counter = barrier.order.counter
            self._last_barrier = barrier.position
            self._entries_since_barrier = 0
            self._last_barrier_s = time.monotonic()

    @contextmanager
    def watching(self, route: str, document_ids: Iterable[str]) -> Iterator[Mapping[str, Timestamp]]:
        """Yield, by Typesense id, the cluster time of the last change captured while the block runs.

        Only these ids of the route are watched; one block at a time for each route.
        """
        written = self._written[route] = {}
        self._watched[route] = frozenset(document_ids)
        try:
            yield written
        finally:
            del self._watched[route]

    def note_written(self, route: str, changes: Iterable[tuple[str | None, Timestamp]]) -> None:
        """Note captured changes of a route in the order of their times; the id is None where a key has none."""
        if watched := self._watched.get(route):
            self._written[route].update({name: time for name, time in changes if name is not None and name in watched})

    def await_barrier(self, cluster_time: Timestamp) -> None:
        """Append barriers soon, even if nothing changes: somebody waits until everything up to this time is synced."""
        self._awaited = max(self._awaited, cluster_time)

    def forget_job(self, job: str) -> None:
        """Drop a finished job's cursor from the position, also from an append that is on its way now."""
        self._finished_jobs.add(job)
        self.appended = self._without_finished_jobs(self.appended)

    def _without_finished_jobs(self, position: Position) -> Position:
        if self._finished_jobs.isdisjoint(position.cursors):
            return position
        cursors = {job: cursor for job, cursor in position.cursors.items() if job not in self._finished_jobs}
        return replace(position, cursors=cursors)
