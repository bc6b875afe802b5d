"""A lane with everything around it in memory: what it does, in what order, with no server and no time."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from bson.timestamp import Timestamp

from tsync_stream.cluster.assignment import Held, partition_lease
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.health import Health
from tsync_stream.core.linger import SyncPace
from tsync_stream.core.model import Barrier, Entry, EpochRef, Key, Operation, Position, RecordBatch, Route
from tsync_stream.core.pacer import MaxRates
from tsync_stream.core.wake import Backoff, Wake
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.tier import Claimed, Found, Read
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.fingerprint import DIVISION_VERSION
from tsync_stream.routes.table import RouteTable
from tsync_stream.sink.load_control import LoadControl
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.rechecks import Recheck
from tsync_stream.state.route_state import ReconcileNeed, RouteState, Suspension, suspended_state
from tsync_stream.sync.batch import SyncBatch, SyncResult
from tsync_stream.sync.current_queue import CurrentQueue, ReadLimits
from tsync_stream.sync.dispatch import AgentCall, Dispatch
from tsync_stream.sync.in_doubt import InDoubt
from tsync_stream.sync.lane import Lane, LaneSteps
from tsync_stream.sync.losses import LossReports
from tsync_stream.sync.owned import OwnedPartitions
from tsync_stream.sync.rate_limit import RateLimit
from tsync_stream.sync.recheck_turns import RecheckTurns
from tsync_stream.sync.suspended import SuspendedRoutes

DEADLINE_S = 5.0
ATTEMPTS = 3
EPOCH = EpochRef("deployment", 4, "nonce", "memory")
ROUTE = Route("listings", "shop", "listings", "window")
TABLE = RouteTable([Declaration(ROUTE)])
FINGERPRINT = {"source": "shop.listings", "target": "window", "division": DIVISION_VERSION}
START = Position({"_data": "00"}, Timestamp(1, 0))


@dataclass
class MemoryTier:
    """The reader's side of a tier. `events` is shared with all others that the lane talks to."""

    events: list[tuple[Any, ...]]
    streams: dict[int, list[RecordBatch]] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    delivered: dict[int, int] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)
    acked: dict[int, int] = field(default_factory=dict)

    def put(self, partition: int, *items: Key | Barrier) -> None:
        """Append keys and barriers, each a record batch of its own."""
        for item in items:
            self.put_together(partition, item)

    def put_together(self, partition: int, *items: Key | Barrier) -> None:
        """Append keys and barriers as one record batch."""
        first = self.last.get(partition, 0) + 1
        last = self.last[partition] = self.last.get(partition, 0) + len(items)
        values = [item if isinstance(item, Barrier) else entry(item) for item in items]
        self.streams.setdefault(partition, []).append(RecordBatch(f"{last}-1".encode(), first, values))

    def lose(self, partition: int, *offsets: int) -> None:
        """Entries vanish."""
        self.streams[partition] = [item for item in self.streams[partition] if item.first_offset not in offsets]

    def begin_again(self) -> None:
        """As the tier of a new epoch is."""
        for state in (self.streams, self.last, self.delivered, self.owners, self.acked):
            state.clear()

    async def own(self, epoch: EpochRef, fences: Mapping[int, int]) -> Mapping[int, Found]:
        found = {partition: Found(self.owners.get(partition, 0), self.acked.get(partition, 0)) for partition in fences}
        self.owners |= {partition: max(fence, found[partition].fence) for partition, fence in fences.items()}
        return found

    async def claim(self, epoch: EpochRef, partition: int, consumer: str, limit: int) -> Claimed:
        delivered = self.delivered.get(partition, 0)
        pending = [item for item in self.streams.get(partition, ()) if item.first_offset <= delivered]
        return Claimed({partition: pending[:limit]}, delivered, len(pending) <= limit)

    async def read(self, epoch: EpochRef, partitions: Sequence[int], consumer: str, limit: int, wait_s: float) -> Read:
        self.waits_s.append(wait_s)
        await asyncio.sleep(wait_s)
        found: dict[int, list[RecordBatch]] = {}
        for partition in partitions:
            delivered = self.delivered.get(partition, 0)
            new = [item for item in self.streams.get(partition, ()) if item.first_offset > delivered][:limit]
            if new:
                found[partition] = new
                self.delivered[partition] = new[-1].last_offset
        return Read(found, full=any(len(items) >= limit for items in found.values()))

    async def ack(
        self, epoch: EpochRef, acks: Mapping[int, Sequence[bytes]], fences: Mapping[int, int]
    ) -> Collection[int]:
        refused = [partition for partition, fence in fences.items() if self.owners.get(partition) != fence]
        for partition, ids in acks.items():
            if partition not in refused:
                offsets = [int(entry_id.split(b"-")[0]) for entry_id in ids]
                self.acked[partition] = max(self.acked.get(partition, 0), *offsets)
                self.events.append(("ack", partition, offsets))
                self.streams[partition] = [item for item in self.streams[partition] if item.batch_id not in ids]
        return refused


class MemoryLeases:
    """Leases that a test hands out and takes away."""

    replica = "me"
    operation_time = Timestamp(50, 0)

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.leaving: dict[str, Held] = {}
        self.left_s = 10.0
        self.stale: set[str] = set()  # leases that others took, though we do not know it yet

    def give(
        self,
        partition: int,
        fence: int,
        *,
        after_expiry: bool = False,
        doubted_before: bool = False,
        taken_s: float = 0.0,
    ) -> None:
        """From now on it is ours."""
        name = partition_lease(partition)
        self.held[name] = Held(name, fence, after_expiry, taken_s, doubted_before)

    def take(self, partition: int) -> None:
        """It is ours no more."""
        del self.held[partition_lease(partition)]

    def give_back(self, partition: int) -> Held:
        """It is to be given back as soon as nothing uses it."""
        name = partition_lease(partition)
        self.leaving[name] = self.held.pop(name)
        return self.leaving[name]

    def keeps(self, name: str) -> bool:
        return name in self.held or name in self.leaving

    def holding(self, name: str) -> Held | None:
        return self.held.get(name)

    def still_ours(self, name: str, fence: int) -> bool:
        held = self.held.get(name) or self.leaving.get(name)
        return held is not None and held.fence == fence

    async def confirm(self, name: str, fence: int) -> bool:
        return self.still_ours(name, fence) and name not in self.stale

    def time_left_s(self) -> float:
        return self.left_s


@dataclass
class MemoryRechecks:
    """Remembers what was in_doubt."""

    events: list[tuple[Any, ...]]
    waiting: list[Recheck] = field(default_factory=list)

    async def add(self, in_doubt: Collection[tuple[int, Entry]]) -> int:
        keys = [entry.key for _, entry in in_doubt]
        if keys:
            self.events.append(("doubt", keys))
        return len(keys)

    async def due(self, partitions: Collection[int], limit: int, suspended: Collection[str] = ()) -> list[Recheck]:
        active = [recheck for recheck in self.waiting if recheck.route not in suspended]
        return [recheck for recheck in active if recheck.partition in partitions][:limit]

    async def done(self, rechecks: Sequence[Recheck]) -> None:
        self.waiting = [recheck for recheck in self.waiting if recheck not in rechecks]


@dataclass
class MemoryPositions:
    """The epoch document: `current` is what the lane's replica remembers, `stored` what MongoDB has if that is newer.

    Remembers which tiers were reported as suspect, and which reconciles were requested.
    """

    current: Pipeline | None
    events: list[tuple[Any, ...]]
    stored: Pipeline | None = None
    suspects: list[tuple[EpochRef, str]] = field(default_factory=list)
    needs: list[ReconcileNeed] = field(default_factory=list)

    async def refresh(self) -> Pipeline | None:
        self.current = self.stored or self.current
        return self.current

    async def suspect_tier(self, epoch: EpochRef, reason: str) -> None:
        self.suspects.append((epoch, reason))

    async def request_reconcile(self, route: str, need: ReconcileNeed) -> bool:
        self.needs.append(need)
        return True

    def of(self, route: str) -> RouteState:
        pipeline = self.stored or self.current
        assert pipeline is not None
        return pipeline.routes[route]

    def store(self, route: str, state: RouteState) -> None:
        """Another replica changes a route; the lane's replica does not know it yet."""
        pipeline = self.stored or self.current
        assert pipeline is not None
        self.stored = replace(pipeline, routes={**pipeline.routes, route: state})

    async def suspend(self, epoch: EpochRef, route: str, reason: str) -> Suspension | None:
        if self.of(route).suspended is None:
            self.events.append(("suspend", route))
            self.store(route, suspended_state(self.of(route), reason))
        return self.of(route).suspended

    async def confirm_suspended(self, route: str, nonce: str) -> bool:
        suspended = self.of(route).suspended
        self.events.append(("confirm", route))
        return suspended is not None and suspended.nonce == nonce


class MemoryUsability:
    """Every route can be synced but for `broken` ones."""

    def __init__(self) -> None:
        self.broken: set[str] = set()

    async def require(self, route: Route) -> None:
        if route.name in self.broken:
            raise DependencyUnavailable("away")


async def synced(batch: SyncBatch) -> None:
    """A sync agent that succeeds."""
    batch.result.set_result(SyncResult())


class NoReader:
    """Has no documents, and holds nothing."""

    async def close(self) -> None:
        """There are no connections."""


class Bench:
    """A lane for partitions 0 and 1 and all that it uses. `sync` is what the agent does with a batch."""

    def __init__(self, batch_size: int = 10, deadline_s: float = DEADLINE_S, table: RouteTable = TABLE) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.tier = MemoryTier(self.events)
        self.leases = MemoryLeases()
        self.rechecks = MemoryRechecks(self.events)
        states = {name: RouteState(FINGERPRINT) for name in table}
        pipeline = Pipeline(EPOCH, 1, 2, START, START, states, table=table.version)
        self.positions = MemoryPositions(pipeline, self.events)
        self.usability = MemoryUsability()
        self.health = Health()
        self.pace = SyncPace()
        self.sync: Callable[[SyncBatch], Awaitable[None]] = synced
        self.takeovers = 0
        self._agents: list[asyncio.Task[None]] = []
        epochs, leases = cast("Any", self.positions), cast("Any", self.leases)
        wake, metrics = Wake(), Metrics()
        self.metrics = metrics
        self.rates = MaxRates()
        self.load = LoadControl(1, deadline_s)
        self.rate_limit = RateLimit(self.rates, lambda: leases.held, 2, 1, metrics, self.load)
        in_doubt = InDoubt(deadline_s)
        call = AgentCall(self._send, cast("Any", NoReader()), leases, deadline_s)
        suspended = SuspendedRoutes(table, epochs, epochs, cast("Any", self.usability))
        backoff = Backoff(0.0001, wake, deadline_s)
        self.lane_steps = LaneSteps(
            OwnedPartitions([0, 1], leases, in_doubt, self._take_over),
            CurrentQueue(
                epochs, {"memory": cast("Any", self.tier)}, table, 2, ReadLimits(batch_size, 1000, 0.001, wait_s=0.001)
            ),
            Dispatch("lane 0", call, in_doubt, suspended, self.rate_limit, backoff, ATTEMPTS, self.health, metrics),
            cast("Any", self.rechecks),
            RecheckTurns(deadline_s),
            metrics,
            self.pace,
        )
        losses = LossReports(table, epochs, epochs, self.health)
        self.lane = Lane("lane 0", self.lane_steps, losses, self.health, wake, Backoff(0.0001, wake))

    async def steps(self, count: int = 10) -> list[tuple[Any, ...]]:
        """Let the lane work; returns what happened."""
        self.events.clear()
        for _ in range(count):
            await self.lane_steps.step()
        return list(self.events)

    def _take_over(self) -> None:
        self.takeovers += 1

    def let_wait(self, keys: Sequence[Key]) -> None:
        """Rechecks of partition 0 that are due."""
        self.rechecks.waiting += [Recheck({"key": key}, "1", 0, "listings", key, 0) for key in keys]

    async def _send(self, batch: SyncBatch) -> None:
        self.events.append(("sync", [entry.key for entry in batch.entries]))
        self._agents.append(asyncio.create_task(self._agent(batch)))

    async def _agent(self, batch: SyncBatch) -> None:
        try:
            await self.sync(batch)
        except Exception as error:  # noqa: BLE001 - a failed assertion of the test's, and the test waits for the result
            batch.result.set_exception(error)


def entry(key: Key, route: str = "listings") -> Entry:
    """A change of the document with this key."""
    return Entry(route, key, Operation.UPDATE, Timestamp(7, 1))
