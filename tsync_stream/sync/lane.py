"""A lane reads the queue for some of this replica's partitions: claim, read, have it synced, ack.

Invariants:

- At most one batch of a partition is between read and ack, whatever the epoch: a lane does one at a time, and a
  partition always has the same lane.
- What a predecessor left pending is claimed and synced before anything new is read.
- Nothing is acked before it is synced; an ack is refused if the partition has a new owner.
- What another route's entry means is not known here: it is reported, and never synced.
- Offsets are contiguous, from the first that the tier says is not acked. A gap is claimed for once; if it stays, the
  tier is lost, and that is reported.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tsync_stream.cluster.assignment import partition_lease
from tsync_stream.cluster.held import Held
from tsync_stream.core import clock
from tsync_stream.core.errors import DependencyUnavailable, TierLost, TierRefused, TsyncError
from tsync_stream.core.linger import linger_s
from tsync_stream.core.model import Barrier, Entry, EpochRef, PartitionBatches, RecordBatch
from tsync_stream.core.wake import Backoff
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.fingerprint import was_made_for
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.pipeline import Pipeline, new_nonce
from tsync_stream.state.rechecks import Recheck
from tsync_stream.state.route_state import ReconcileNeed
from tsync_stream.sync.dispatch import Syncing
from tsync_stream.sync.in_doubt import Doubts
from tsync_stream.sync.lane_tools import LaneTools
from tsync_stream.sync.recheck_turns import RecheckTurns

log = logging.getLogger(__name__)

# Entries of all of a lane's partitions. More at once would not be cheaper, and the first of them would wait longer.
AT_ONCE_WHEN_BEHIND = 1_000


class ForeignEntries(TierLost):
    """Somebody who works for another route wrote into this pipeline's queue."""


@dataclass(slots=True)
class _Owned:
    """What a lane knows of a partition that it owns in an epoch."""

    fence: int
    next_offset: int
    claiming: bool = True  # pending entries come first


class Lane:
    """See the module's first lines. `run` goes on until `stop` was called and its batch is finished."""

    def __init__(self, name: str, tools: LaneTools, partitions: Sequence[int], reader: DocumentReader) -> None:
        self.name = name
        self._tools = tools
        self._partitions = partitions
        self._reader = reader
        self._owned: dict[int, _Owned] = {}
        self._doubts = Doubts(tools.longest_request_s)  # outlive `_owned`, which every fault clears
        self._syncing = Syncing(name, tools, reader, self._doubts, self._may_go_on)
        self._backoff = Backoff(tools.backoff_s, tools.wake)
        self._epoch: EpochRef | None = None
        self._stopping = False
        self._behind = False  # True: the last read was full
        self._pause_s = 0.0  # after the last read
        self._turns = RecheckTurns(tools.deadline_s)
        self._in_flight: frozenset[int] = frozenset()
        self._landed = asyncio.Condition()
        self.barriers: dict[int, tuple[int, Barrier]] = {}
        self.moved_s = clock.now_s()  # when the last step began

    def stop(self) -> None:
        """Finish the batch in hand, take no other."""
        self._stopping = True
        self._tools.wake.ring()

    async def released(self, partition: int) -> bool:
        """Wait until no batch of the partition is in flight; its lease must be gone from `leases.held` already.

        Says whether it can be given back clean: False while a write of it is in doubt and not stored as a recheck.
        """
        async with self._landed:
            await self._landed.wait_for(lambda: partition not in self._in_flight)
        return not self._doubts.about(partition)

    async def run(self) -> None:
        """Work until stopped. Faults are waited out here; each says what happens next."""
        while not self._stopping:
            self.moved_s = clock.now_s()
            try:
                worked = await self._step()
                self._backoff.reset()
                if worked or self._tools.leases.time_left_s() > 0:
                    self._tools.health.green(f"queue, {self.name}")
                pause_s = self._pause_s if worked else self._tools.wait_s
                if pause_s and not self._stopping:
                    await self._tools.wake.wait(pause_s)
            except (TierLost, TierRefused) as error:
                await self._report_lost(error)
            except TsyncError as error:
                self._owned.clear()
                text = f"{error}; reading again soon, the entries stay in the queue"
                self._tools.health.red(f"queue, {self.name}", text)
                await self._pause_after_fault()
        await self._reader.close()

    def _is_ours(self, pipeline: Pipeline) -> bool:
        """Its entries are of our route, and divided as we divide them."""
        tools = self._tools
        state = pipeline.routes.get(tools.route.name)
        return state is not None and was_made_for(state.fingerprint, pipeline.partitions, tools.route, tools.partitions)

    async def _step(self) -> bool:
        """One batch, or one wait for entries. False if there was nothing that could be waited for."""
        pipeline = self._tools.epochs.current
        held = self._held()
        if pipeline is None or not held or not self._is_ours(pipeline):
            self._owned.clear()
            if self._tools.leases.time_left_s() > 0:  # else nobody tells us what is ours, and that cures nothing
                self._syncing.has_nothing_to_do()
            return False
        if pipeline.epoch != self._epoch:
            self._doubts.begin_epoch()
            self._epoch = pipeline.epoch
            self._owned.clear()
        tier = self._tools.tiers[pipeline.epoch.tier]
        await self._prepare(tier, pipeline.epoch, held)
        if await self._recheck():
            return True
        claiming = [partition for partition, owned in self._owned.items() if owned.claiming]
        if claiming:
            await self._claim(tier, pipeline.epoch, claiming[0])
        else:
            await self._read(tier, pipeline.epoch)
        return True

    def _held(self) -> dict[int, Held]:
        found = {partition: self._tools.leases.holding(partition_lease(partition)) for partition in self._partitions}
        return {partition: held for partition, held in found.items() if held is not None}

    async def _prepare(self, tier: Tier, epoch: EpochRef, held: Mapping[int, Held]) -> None:
        """Forget partitions that are no longer ours, and put our fence beside those that are new."""
        for partition, owned in list(self._owned.items()):
            if partition not in held or held[partition].fence != owned.fence:
                del self._owned[partition]
        self._doubts.forget_others(held)
        fences = {partition: lease.fence for partition, lease in held.items() if partition not in self._owned}
        if not fences:
            return
        found = await tier.own(epoch, fences)
        for partition, fence in fences.items():
            if found[partition].fence > fence:
                if await self._tools.leases.confirm(partition_lease(partition), fence):
                    raise TierLost(f"partition {partition}: its owner's fence is newer than the state database's")
                raise DependencyUnavailable(f"partition {partition} has a newer owner; leaving it alone")
            self._doubts.take_over(partition, held[partition], found[partition].fence)
            self._owned[partition] = _Owned(fence, found[partition].acked + 1)
        self._tools.taken_over()

    async def _claim(self, tier: Tier, epoch: EpochRef, partition: int) -> None:
        tools = self._tools
        claimed = await tier.claim(epoch, partition, tools.leases.replica, tools.batch_size)
        owned = self._owned[partition]
        self._require_held({partition: owned.fence})  # or a new owner has acked meanwhile what we would miss
        record_batches = claimed.record_batches.get(partition, ())
        if not record_batches and not claimed.complete:
            # Redis 6.2 keeps entries that are gone among the pending ones, and would never come to those behind them.
            raise TierLost(f"partition {partition}: entry {owned.next_offset} is gone from the stream")
        owned.next_offset = check_contiguous(partition, owned.next_offset, record_batches)
        if claimed.complete:
            if owned.next_offset != claimed.delivered_offset + 1:
                raise TierLost(f"partition {partition}: entry {owned.next_offset} is gone from the stream")
            owned.claiming = False
        if record_batches:
            await self._process(tier, epoch, {partition: record_batches}, claimed=True)
        if claimed.complete:
            self._doubts.stored([partition])

    async def _read(self, tier: Tier, epoch: EpochRef) -> None:
        tools = self._tools
        partitions = len(self._owned)
        wanted = max(tools.batch_size, AT_ONCE_WHEN_BEHIND // partitions) if self._behind else tools.batch_size
        limit = max(1, min(wanted, tools.buffer_size // partitions))
        wait_s = 0.0 if self._turns.more_wait else tools.wait_s
        read = await tier.read(epoch, sorted(self._owned), tools.leases.replica, limit, wait_s)
        # Many at once are cheaper: for MongoDB and Typesense, and since changes of one document become one write.
        record_batches, self._behind = read.record_batches, read.full
        count = sum(len(record_batch.items) for found in record_batches.values() for record_batch in found)
        self._pause_s = 0.0 if self._behind else linger_s(count, tools.buffer_size, tools.wait_s)
        if not record_batches:
            self._turns.nothing_to_read()
            self._syncing.has_nothing_to_do()
            return
        if any(
            self._owned[partition].next_offset != found[0].first_offset for partition, found in record_batches.items()
        ):
            # The reply of an earlier read was lost, perhaps: then what is missing is pending, as this now is.
            for partition in record_batches:
                self._owned[partition].claiming = True
            return
        for partition, found in record_batches.items():
            self._owned[partition].next_offset = check_contiguous(partition, self._owned[partition].next_offset, found)
        await self._process(tier, epoch, record_batches, claimed=False)

    async def _process(self, tier: Tier, epoch: EpochRef, batch: PartitionBatches, *, claimed: bool) -> None:
        """Sync a batch, then ack it. A partition whose lease is gone meanwhile is left to its new owner."""
        started_s = time.monotonic()
        fences = {partition: self._owned[partition].fence for partition in batch}
        self._take_in_hand(fences)
        try:
            entries = [
                (partition, item)
                for partition, record_batches in batch.items()
                for record_batch in record_batches
                for item in record_batch.items
                if isinstance(item, Entry)
            ]
            self._refuse_other_routes(entries)
            if entries:
                doubtful = await self._syncing.sync(entries, fences)
                doubtful += self._doubts.among(entries, claimed=claimed)
                await self._tools.rechecks.add(doubtful)
                if not claimed:
                    self._doubts.stored(fences)
            await self._ack(tier, epoch, batch, fences)
            self._tools.metrics.entries_acked.inc(len(entries))
            took_s = time.monotonic() - started_s
            self._tools.metrics.batch_seconds.observe(took_s)
            if entries:
                self._tools.pace.note(took_s)
        finally:
            await self._let_go()

    def _refuse_other_routes(self, entries: Sequence[tuple[int, Entry]]) -> None:
        ours = self._tools.route.name
        others = {entry.route for _, entry in entries} - {ours}
        if others:
            raise ForeignEntries(
                f"the queue holds entries of {', '.join(sorted(others))}, while this replica syncs {ours}; none of "
                "them is written"
            )

    def _take_in_hand(self, fences: Mapping[int, int]) -> None:
        """From here to `_let_go` these partitions' leases are not given back. Raises if one is gone already."""
        self._require_held(fences)
        self._in_flight = frozenset(fences)

    def _require_held(self, fences: Mapping[int, int]) -> None:
        if not self._all_held(fences):
            raise DependencyUnavailable("a lease is gone; its entries are left to the next owner")

    def _all_held(self, fences: Mapping[int, int]) -> bool:
        """Whether all of these leases are ours, and none of them waits to be given back."""
        held = self._held()
        return all(partition in held and held[partition].fence == fence for partition, fence in fences.items())

    async def _let_go(self) -> None:
        async with self._landed:
            self._in_flight = frozenset()
            self._landed.notify_all()

    async def _ack(self, tier: Tier, epoch: EpochRef, batch: PartitionBatches, fences: Mapping[int, int]) -> None:
        current = self._tools.epochs.current
        over = current is not None and current.epoch != epoch
        if over:
            # Nobody needs these acks any more, and the tier may take long to say so. Whether we own them, MongoDB knows
            # too: our clock may have stood still with the whole machine.
            confirm = self._tools.leases.confirm
            refused = [part for part, fence in fences.items() if not await confirm(partition_lease(part), fence)]
        else:
            acks = {
                partition: [record_batch.batch_id for record_batch in record_batches]
                for partition, record_batches in batch.items()
            }
            refused = list(await tier.ack(epoch, acks, fences))
        for partition in refused:
            log.warning("partition %d: has a new owner; its last batch is checked again", partition)
            self._owned.pop(partition, None)
            entries = [
                item for record_batch in batch[partition] for item in record_batch.items if isinstance(item, Entry)
            ]
            await self._tools.rechecks.add((partition, entry) for entry in entries)
        if over:
            return
        for partition, record_batches in batch.items():
            if partition not in refused:
                self._note_barrier(partition, record_batches)

    def _note_barrier(self, partition: int, record_batches: Sequence[RecordBatch]) -> None:
        for record_batch in record_batches:
            for offset, item in enumerate(record_batch.items, record_batch.first_offset):
                if isinstance(item, Barrier):
                    self.barriers[partition] = (offset, item)

    async def _recheck(self) -> bool:
        """Sync a batch of due rechecks, if it is their turn. They are not in the queue, so there is no ack."""
        tools = self._tools
        now_s = time.monotonic()
        if not self._turns.is_next(now_s):
            return False
        due = await tools.rechecks.due(self._owned, tools.batch_size)
        self._turns.found(len(due), tools.batch_size, now_s)
        if not due:
            return False
        await self._sync_rechecks(due)
        return True

    async def _sync_rechecks(self, due: Sequence[Recheck]) -> None:
        fences = {recheck.partition: self._owned[recheck.partition].fence for recheck in due}
        self._take_in_hand(fences)
        try:
            operation_time = self._tools.leases.operation_time
            entries = [(recheck.partition, recheck.entry(operation_time)) for recheck in due]
            doubtful = await self._syncing.sync(entries, fences)
            # A new doubt has a new version, so that `done` does not touch it.
            await self._tools.rechecks.add(doubtful)
            await self._tools.rechecks.done(due)
            self._tools.metrics.rechecks_synced.inc(len(due))
        finally:
            await self._let_go()

    def _may_go_on(self, fences: Mapping[int, int]) -> bool:
        return not self._stopping and self._all_held(fences)

    async def _report_lost(self, error: TierLost | TierRefused) -> None:
        """Tell the capturing replica, unless the epoch has moved on and this is only old news.

        It may not have to do there what is refused to us: it asks for other things, and seldom.
        """
        epoch, self._epoch = self._epoch, None
        self._owned.clear()
        try:
            pipeline = await self._tools.epochs.refresh()
            if pipeline is not None and epoch is not None and pipeline.epoch == epoch:
                text = f"{error}; the next epoch queues again what is not synced"
                self._tools.health.red(f"queue, {self.name}", text, needs_person=isinstance(error, TierRefused))
                await self._tools.positions.suspect_tier(epoch, str(error))
                if isinstance(error, ForeignEntries):  # who captured them has not captured ours
                    need = ReconcileNeed(new_nonce(), "entries of another route were in the queue")
                    await self._tools.positions.request_reconcile(self._tools.route.name, need)
        except TsyncError as state_error:
            self._tools.health.red(f"queue, {self.name}", f"{error}; and it cannot be reported yet: {state_error}")
        await self._pause_after_fault()

    async def _pause_after_fault(self) -> None:
        if not self._stopping:
            await self._backoff.pause()


def check_contiguous(partition: int, first: int, record_batches: Sequence[RecordBatch]) -> int:
    """The offset after the record batches'. Raises `TierLost` unless theirs are `first`, `first + 1`, … (pure)."""
    expected = first
    for record_batch in record_batches:
        if record_batch.first_offset != expected:
            raise TierLost(f"partition {partition}: entry {expected} is gone from the stream")
        expected += len(record_batch.items)
    return expected
