"""A lane reads the queue for some of this replica's partitions: claim, read, have it synced, ack.

Invariants:

- At most one batch of a partition is between read and ack, whatever the epoch: a lane does one at a time, and a
  partition always has the same lane.
- What a predecessor left pending is claimed and synced before anything new is read.
- Nothing is acked before it is synced; an ack is refused if the partition has a new owner.
- What an entry of a route means that is not in the table, nobody knows here: it is reported, and never synced.
- Entries of a suspended route are acked without being synced, as `sync/suspended.py` allows it; its rechecks wait.
- A gap in the offsets is claimed for once; if it stays, the tier is lost, and that is reported.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from tsync_stream.cluster.assignment import Held, partition_lease
from tsync_stream.core import clock
from tsync_stream.core.errors import DependencyUnavailable, TierLost, TierRefused, TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.core.linger import SyncPace
from tsync_stream.core.model import Barrier, Entry, EpochRef, PartitionBatches, RecordBatch
from tsync_stream.core.wake import Backoff, Wake
from tsync_stream.observe.batch_metrics import BatchMetrics
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.tier import Tier
from tsync_stream.state.rechecks import Recheck, Rechecks
from tsync_stream.sync.current_queue import CurrentQueue
from tsync_stream.sync.dispatch import BatchGivenUp, Dispatch, Dispatched
from tsync_stream.sync.losses import ForeignEntries, LossReports
from tsync_stream.sync.owned import OwnedPartitions
from tsync_stream.sync.recheck_turns import RecheckTurns
from tsync_stream.sync.remaining import Item

log = logging.getLogger(__name__)


class LaneSteps:
    """What a lane does, step by step. `stopping` is set to finish the batch in hand and take no other."""

    def __init__(
        self,
        owned: OwnedPartitions,
        queue: CurrentQueue,
        dispatch: Dispatch,
        rechecks: Rechecks,
        turns: RecheckTurns,
        metrics: Metrics,
        pace: SyncPace,
    ) -> None:
        self.owned = owned
        self.dispatch = dispatch
        self.stopping = False
        self.epoch: EpochRef | None = None  # of the last step
        self.pause_s = 0.0  # after the last read
        self.moved_s = clock.now_s()  # when a batch was last done, or there was nothing to do
        self.barriers: dict[int, tuple[int, Barrier]] = {}
        self._queue = queue
        self._leases = owned.leases
        self._in_doubt = owned.in_doubt
        self._rechecks = rechecks
        self._turns = turns
        self._metrics = metrics
        self._batch_metrics = BatchMetrics(metrics)
        self._pace = pace
        self._in_flight: frozenset[int] = frozenset()
        self._landed = asyncio.Condition()

    def __repr__(self) -> str:
        in_flight = f"in flight: {sorted(self._in_flight)}" if self._in_flight else "nothing in flight"
        return f"LaneSteps({in_flight}, {self.owned}, {self._in_doubt}, {self.dispatch})"

    async def released(self, partition: int, lease: Held) -> bool:
        """Wait until no batch of the partition is in flight; its lease must not be held any more.

        Returns whether the lease can be given back clean: not while a write of the partition is in doubt, nor with
        the doubts that it came with.
        """
        async with self._landed:
            await self._landed.wait_for(lambda: partition not in self._in_flight)
        return self._in_doubt.is_clean(partition, lease)

    @property
    def idle_s(self) -> float:
        """How long to wait while there is nothing to read."""
        return self._queue.limits.wait_s

    async def step(self) -> bool:
        """One batch, or one wait for entries. False if there was nothing that could be waited for."""
        epoch, held = self._queue.epoch, self.owned.held()
        if epoch is None or not held:
            self.owned.forget()
            if self._leases.time_left_s() > 0:  # else nobody tells us what is ours, and that cures nothing
                self.dispatch.has_nothing_to_do()
            self._note_moved()
            return False
        if epoch != self.epoch:
            self._in_doubt.begin_epoch()
            self.epoch = epoch
            self.owned.forget()
        tier = self._queue.tier(epoch)
        fences = self.owned.keep(held)
        if fences:
            found = await tier.own(epoch, fences)
            for partition, fence in fences.items():
                if found[partition].fence > fence:
                    await self._refuse_newer_owner(partition, fence)
                self.owned.take_over(partition, held[partition], found[partition])
            self.owned.taken_over()
        if self._turns.is_next(time.monotonic()) and await self._recheck():
            return True
        claiming = self.owned.next_to_claim()
        if claiming is not None:
            await self._claim(tier, epoch, claiming)
        else:
            await self._read(tier, epoch)
        return True

    def _note_moved(self) -> None:
        self.moved_s = clock.now_s()
        self.dispatch.lane_moved()

    async def _refuse_newer_owner(self, partition: int, fence: int) -> None:
        if await self._leases.confirm(partition_lease(partition), fence):
            raise TierLost(f"partition {partition}: its owner's fence is newer than the state database's")
        raise DependencyUnavailable(f"partition {partition} has a newer owner; leaving it alone")

    async def _claim(self, tier: Tier, epoch: EpochRef, partition: int) -> None:
        claimed = await tier.claim(epoch, partition, self._leases.replica, self._queue.limits.batch_size)
        # Without the lease, a new owner may have acked meanwhile what we would miss.
        self.owned.require_held(self.owned.fences_of([partition]))
        record_batches = self.owned.claimed(partition, claimed)
        if record_batches:
            await self._process(tier, epoch, {partition: record_batches}, claimed=True)
        if claimed.complete:
            self._in_doubt.stored([partition])

    async def _read(self, tier: Tier, epoch: EpochRef) -> None:
        wait_s = 0.0 if self._turns.more_wait else self._queue.limits.wait_s
        limit = self._queue.limit(len(self.owned), self.dispatch.most_in_hand)
        read = await tier.read(epoch, sorted(self.owned), self._leases.replica, limit, wait_s)
        self.pause_s = self._queue.pause_after(read)
        if not read.record_batches:
            self._note_moved()
            self._turns.nothing_to_read()
            self.dispatch.has_nothing_to_do()
        elif self.owned.follow_on(read.record_batches):
            await self._process(tier, epoch, read.record_batches, claimed=False)

    async def _process(self, tier: Tier, epoch: EpochRef, batch: PartitionBatches, *, claimed: bool) -> None:
        """Sync a batch, then ack it. A partition whose lease is gone meanwhile is left to its new owner."""
        started_s = time.monotonic()
        fences = self.owned.fences_of(batch)
        self._take_in_hand(fences)
        try:
            entries = [(partition, entry) for partition, found in batch.items() for entry in _entries(found)]
            self._refuse_other_routes(entries)
            dropped: Mapping[str, int] = {}
            if entries:
                dispatched = await self._sync(entries, fences)
                dropped = dispatched.dropped
                await self._store_rechecks([*dispatched.in_doubt, *self._in_doubt.among(entries, claimed=claimed)])
                if not claimed:
                    self._in_doubt.stored(fences)
            acking_s = time.monotonic()
            refused = await self._ack(tier, epoch, batch, fences)
            now_s = time.monotonic()
            took_s = now_s - started_s
            self._note_moved()
            self._batch_metrics.count_acked(self._queue.table, entries, refused, dropped)
            self._batch_metrics.observe(batch, refused, took_s, now_s - acking_s)
            if entries:
                self._pace.note(took_s)
        finally:
            await self._let_go()

    async def _sync(self, entries: Sequence[Item], fences: Mapping[int, int]) -> Dispatched:
        def may_go_on() -> bool:
            return not self.stopping and self.owned.all_held(fences)

        try:
            return await self.dispatch.sync(entries, fences, may_go_on)
        except BatchGivenUp as error:
            await self._store_rechecks(error.may_be_written)
            raise

    async def _store_rechecks(self, in_doubt: Sequence[Item]) -> None:
        if in_doubt:
            self._metrics.rechecks_stored.inc(await self._rechecks.add(in_doubt))

    def _refuse_other_routes(self, entries: Sequence[Item]) -> None:
        others = {entry.route for _, entry in entries}.difference(self._queue.table)
        if others:
            raise ForeignEntries(
                f"the queue holds entries of {', '.join(sorted(others))}, while this replica syncs "
                f"{', '.join(self._queue.table)}; none of them is written"
            )

    def _take_in_hand(self, fences: Mapping[int, int]) -> None:
        """From here to `_let_go` these partitions' leases are not given back. Raises if one is gone already."""
        self.owned.require_held(fences)
        self._in_flight = frozenset(fences)

    async def _let_go(self) -> None:
        async with self._landed:
            self._in_flight = frozenset()
            self._landed.notify_all()

    async def _ack(self, tier: Tier, epoch: EpochRef, batch: PartitionBatches, fences: Mapping[int, int]) -> list[int]:
        """The partitions whose ack was refused: their entries are the new owner's."""
        over = self._queue.is_over(epoch)
        if over:
            # Nobody needs these acks any more, and the tier may take long to answer. MongoDB knows, too, whether we are
            # the owner: our clock may have stood still with the whole machine.
            confirm = self._leases.confirm
            refused = [part for part, fence in fences.items() if not await confirm(partition_lease(part), fence)]
        else:
            acks = {partition: [each.batch_id for each in found] for partition, found in batch.items()}
            refused = list(await tier.ack(epoch, acks, fences))
        for partition in refused:
            log.warning(
                "partition %d: has a new owner; its last batch is checked again",
                partition,
                extra=event("partition.new_owner", partition=partition),
            )
            self.owned.drop(partition)
            await self._store_rechecks([(partition, entry) for entry in _entries(batch[partition])])
        if not over:
            for partition in batch.keys() - refused:
                self._note_barrier(partition, batch[partition])
        return refused

    def _note_barrier(self, partition: int, record_batches: Sequence[RecordBatch]) -> None:
        for record_batch in record_batches:
            for offset, item in enumerate(record_batch.items, record_batch.first_offset):
                if isinstance(item, Barrier):
                    self.barriers[partition] = (offset, item)

    async def _recheck(self) -> bool:
        """Sync a batch of due rechecks; False if none is due. They are not in the queue, so there is no ack."""
        limit = self._queue.limits.batch_size
        looked_s = time.monotonic()
        due = await self._rechecks.due(list(self.owned), limit, self.dispatch.suspended.known)
        self._turns.found(len(due), limit, looked_s)
        if due:
            await self._sync_rechecks(due)
        return bool(due)

    async def _sync_rechecks(self, due: Sequence[Recheck]) -> None:
        fences = self.owned.fences_of({recheck.partition for recheck in due})
        self._take_in_hand(fences)
        try:
            operation_time = self._leases.operation_time
            entries = [(recheck.partition, recheck.entry(operation_time)) for recheck in due]
            dispatched = await self._sync(entries, fences)
            # If a write is in doubt again, its recheck has a new version, which `done` does not touch.
            await self._store_rechecks(dispatched.in_doubt)
            synced = [recheck for recheck in due if recheck.route not in dispatched.dropped]
            await self._rechecks.done(synced)
            self._note_moved()
            for route, count in Counter(recheck.route for recheck in synced).items():
                self._metrics.rechecks_synced.labels(route).inc(count)
        finally:
            await self._let_go()


class Lane:
    """Takes step after step. `run` goes on until `stop` was called and the batch in hand is finished."""

    def __init__(
        self, name: str, steps: LaneSteps, losses: LossReports, health: Health, wake: Wake, backoff: Backoff
    ) -> None:
        self.name = name
        self._check = f"queue, {name}"
        self._steps = steps
        self._losses = losses
        self._health = health
        self._wake = wake
        self._backoff = backoff

    def __repr__(self) -> str:
        state = ", stopping" if self._steps.stopping else ""
        return f"Lane({self.name}{state}, {self._steps}, {self._backoff})"

    @property
    def barriers(self) -> dict[int, tuple[int, Barrier]]:
        """The newest barrier passed in each partition, with its offset, until whoever records them takes them out."""
        return self._steps.barriers

    @property
    def moved_s(self) -> float:
        """When it last finished a batch or found nothing to do, plus what it has waited for the rate since."""
        return self._steps.moved_s + self._steps.dispatch.waited_s

    @property
    def states(self) -> dict[int, str]:
        """What it does with each partition that it owns: `claiming`, `working` or `retrying`."""
        owned = self._steps.owned
        claiming, usual = owned.claiming, "retrying" if self._steps.dispatch.is_retrying else "working"
        return {partition: "claiming" if partition in claiming else usual for partition in owned}

    def stop(self) -> None:
        """Finish the batch in hand, take no other."""
        self._steps.stopping = True
        self._wake.ring()

    async def released(self, partition: int, lease: Held) -> bool:
        """See `LaneSteps.released`."""
        return await self._steps.released(partition, lease)

    async def run(self) -> None:
        """Work until stopped. Faults are waited out here; each says what happens next."""
        steps = self._steps
        while not steps.stopping:
            try:
                worked = await steps.step()
                self._backoff.reset()
                if worked or steps.owned.leases.time_left_s() > 0:
                    self._health.green(self._check)
                pause_s = steps.pause_s if worked else steps.idle_s
                if pause_s and not steps.stopping:
                    await self._wake.wait(pause_s)
            except (TierLost, TierRefused) as error:
                await self._report_lost(error)
            except BatchGivenUp:  # what made the batch fail, if anything, is told by its dispatch
                steps.owned.forget()
                await self._pause_after_fault()
            except TsyncError as error:
                steps.owned.forget()
                self._health.fault(self._check, f"{error}; reading again soon, the entries stay in the queue")
                await self._pause_after_fault()
        await steps.dispatch.close()

    async def _report_lost(self, error: TierLost | TierRefused) -> None:
        epoch, self._steps.epoch = self._steps.epoch, None
        self._steps.owned.forget()
        await self._losses.report(error, epoch, self._check)
        await self._pause_after_fault()

    async def _pause_after_fault(self) -> None:
        if not self._steps.stopping:
            await self._backoff.pause()


def _entries(record_batches: Sequence[RecordBatch]) -> list[Entry]:
    return [item for record_batch in record_batches for item in record_batch.items if isinstance(item, Entry)]
