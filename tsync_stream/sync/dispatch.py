"""Sends a lane's batch to the sync agent until it is synced, however long that takes: the one retry loop of sync.

The first TYPESENSE_MAX_RETRIES attempts follow soon after each other. From then on health tells, and a server that
timed out is given longer pauses. A retry is about what is not synced yet: a route's part that is done is not repeated
for another's failure. What belongs to a suspended route is dropped (`sync/suspended.py`).

Invariants: a batch is given up only when it has to be (a lease is gone or wanted back, a stop), and then it stays
unacked; what may have been sent by then is named, or stays in doubt. An agent that gives no sign of life loses its
batch, and with it the right to send anything more of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from tsync_stream.cluster.assignment import partition_lease
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.model import Entry
from tsync_stream.core.wake import Backoff
from tsync_stream.observe.metrics import Metrics
from tsync_stream.source.documents import DocumentReader
from tsync_stream.sync.batch import PartsFailed, SyncBatch, SyncFailed, SyncResult
from tsync_stream.sync.in_doubt import InDoubt
from tsync_stream.sync.rate_limit import RateLimit
from tsync_stream.sync.remaining import Item, Remaining
from tsync_stream.sync.suspended import SuspendedRoutes

# An agent gives a sign of life before every request, when it is let through the write gate. A request ends by its
# deadline, a wait at the gate by twice that, and reading the documents soon.
SILENCE_S = 60.0
SILENCE_IN_REQUESTS = 4


class BatchGivenUp(DependencyUnavailable):
    """A batch is left in the queue for its next owner. `may_be_written` are those of its entries in doubt."""

    def __init__(self, may_be_written: Sequence[Item]) -> None:
        self.may_be_written = may_be_written
        super().__init__("a batch is left in the queue for its next owner")


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What became of a batch: `in_doubt` are its entries whose write is in doubt.

    `dropped` counts by route what was not synced, because its route is suspended.
    """

    in_doubt: list[Item]
    dropped: Mapping[str, int]


class AgentCall:
    """One lane's calls of the sync agent: a batch goes out by `send`, its result comes back as a future."""

    def __init__(
        self,
        send: Callable[[SyncBatch], Awaitable[object]],
        reader: DocumentReader,
        leases: LeaseKeeper,
        longest_request_s: float,
    ) -> None:
        self._send = send
        self._reader = reader
        self._leases = leases
        self._silence_s = max(SILENCE_S, SILENCE_IN_REQUESTS * longest_request_s)

    async def sync(self, entries: Sequence[Entry], fences: Mapping[int, int]) -> SyncResult:
        """Have the entries synced, in one attempt. Raises `SyncFailed`."""
        result: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
        sign_s, given_up = clock.now_s(), False

        def lease_left_s() -> float:
            """Of this batch's leases: a replica that was declared expired has new ones, but not these."""
            nonlocal sign_s
            sign_s = clock.now_s()
            ours = not given_up and not self.lost(fences)
            return self._leases.time_left_s() if ours else 0.0

        batch = SyncBatch(self._reader, entries, self._leases.operation_time, lease_left_s, result)
        try:
            async with asyncio.timeout(self._silence_s):
                await self._send(batch)
        except TimeoutError:
            raise SyncFailed(DependencyUnavailable("no sync agent takes a batch"), in_doubt=False) from None
        while True:
            done, _ = await asyncio.wait({result}, timeout=self._silence_s)
            if done:
                return result.result()
            if clock.now_s() - sign_s >= self._silence_s:
                given_up = True
                result.cancel()
                raise SyncFailed(DependencyUnavailable("the sync agent gives no sign of life"), in_doubt=True)

    def lost(self, fences: Mapping[int, int]) -> set[int]:
        """The partitions whose leases are not ours any more."""
        still_ours = self._leases.still_ours
        return {partition for partition, fence in fences.items() if not still_ours(partition_lease(partition), fence)}

    async def close(self) -> None:
        """End the session that documents are read in."""
        await self._reader.close()


class Dispatch:
    """What stands between one lane and the sync agent. Health tells once `attempts` at a batch have failed."""

    def __init__(
        self,
        name: str,
        call: AgentCall,
        in_doubt: InDoubt,
        suspended: SuspendedRoutes,
        rate_limit: RateLimit,
        backoff: Backoff,
        attempts: int,
        health: Health,
        metrics: Metrics,
    ) -> None:
        self.suspended = suspended
        self._check = f"sync, {name}"
        self._call = call
        self._in_doubt = in_doubt
        self._rate_limit = rate_limit
        self._backoff = backoff
        self._attempts = attempts
        self._health = health
        self._metrics = metrics
        self._failures = 0  # in a row, of the batch in hand
        self._waited_s = 0.0
        self._waiting_since_s: float | None = None

    def __repr__(self) -> str:
        return f"Dispatch({self._check}: {self._failures} of {self._attempts} attempts failed, {self._backoff})"

    @property
    def is_retrying(self) -> bool:
        """Whether the last attempt at the batch in hand has failed."""
        return self._failures > 0

    @property
    def most_in_hand(self) -> int | None:
        """How many entries the lane should have in hand at most; None: any number."""
        return self._rate_limit.most_in_hand

    @property
    def waited_s(self) -> float:
        """How long it has waited for the rate since the lane last moved: that is no standstill."""
        return self._waited_s + (clock.now_s() - self._waiting_since_s if self._waiting_since_s is not None else 0.0)

    def lane_moved(self) -> None:
        """The lane has finished a batch, or has none."""
        self._waited_s = 0.0

    async def sync(
        self, entries: Sequence[Item], fences: Mapping[int, int], may_go_on: Callable[[], bool]
    ) -> Dispatched:
        """Have the entries synced, each with its partition, or dropped if their route is suspended.

        Raises `BatchGivenUp` as soon as `may_go_on` says no, after a failed attempt or while it waits for the rate.
        """
        left = Remaining(entries)
        self._failures = 0
        while piece := left.piece(self._rate_limit.portion):
            if left.documents and not await self._turn(left.documents, may_go_on):
                raise BatchGivenUp(left.in_doubt)
            try:
                if self.suspended.known and (dropped := await self.suspended.confirmed(left.routes())):
                    left.drop(dropped)
                    continue
                result = await self._call.sync([entry for _, entry in piece], fences)
            except SyncFailed as error:
                left.failed(error)
                self._note_in_doubt(left)
                await self._after_failure(error, may_go_on, left)
            except TsyncError as error:  # whether a route is suspended cannot be found out
                await self._after_failure(SyncFailed(error, in_doubt=False), may_go_on, left)
            else:
                self._worked()
                left.synced(result.in_doubt)
        if left.dropped:  # the last piece, perhaps; then nothing has turned the check green
            self._worked()
        self._note_in_doubt(left)
        lost = self._call.lost(fences)
        return Dispatched(left.in_doubt if not lost else left.in_doubt_or_of(lost), left.dropped)

    async def _turn(self, documents: Mapping[str, int], may_go_on: Callable[[], bool]) -> bool:
        self._waiting_since_s = clock.now_s()
        try:
            return await self._rate_limit.turn(documents, may_go_on)
        finally:
            self._waited_s, self._waiting_since_s = self.waited_s, None

    def _worked(self) -> None:
        self._failures = 0
        self._backoff.reset()
        self._health.green(self._check)

    def _note_in_doubt(self, left: Remaining) -> None:
        self._in_doubt.add({partition for partition, _ in left.in_doubt})

    def has_nothing_to_do(self) -> None:
        """Show no failure: the next owner reports what the last batch failed with, and no success of ours would."""
        self._health.green(self._check)

    async def close(self) -> None:
        """Let go of what calls of the agent hold."""
        await self._call.close()

    async def _after_failure(self, error: SyncFailed, may_go_on: Callable[[], bool], left: Remaining) -> None:
        self._metrics.batches_retried.inc()
        causes = (
            {route: failure.cause for route, failure in error.failed.items()} if isinstance(error, PartsFailed) else {}
        )
        for route in await self.suspended.suspend(causes):
            del causes[route]
        if causes or not isinstance(error, PartsFailed):
            await self._pause(next(iter(causes.values()), error.cause), may_go_on, left)
        elif not may_go_on():  # otherwise what failed is dropped at once
            raise BatchGivenUp(left.in_doubt)

    async def _pause(self, cause: TsyncError, may_go_on: Callable[[], bool], left: Remaining) -> None:
        self._failures += 1
        person = isinstance(cause, ConfigurationError)
        waiting = person or self._failures >= self._attempts
        if waiting:
            next_step = "nothing is written until it is fixed" if person else "retrying; the queue grows meanwhile"
            self._health.fault(self._check, f"{cause}; {next_step}", needs_person=person)
        if not may_go_on():
            raise BatchGivenUp(left.in_doubt)
        timed_out = isinstance(cause, DependencyUnavailable) and cause.timed_out
        await self._backoff.pause(busy=waiting and timed_out)
