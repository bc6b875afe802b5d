"""The partitions that a lane owns in the current epoch, and the entry that each continues with.

Invariants: a partition counts as owned only after our fence was put beside it; offsets are contiguous from the first
that the tier does not know as acked. Ownership is forgotten after every fault, and found out again.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tsync_stream.cluster.assignment import Held, partition_lease
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core.errors import DependencyUnavailable, TierLost
from tsync_stream.core.model import PartitionBatches, RecordBatch
from tsync_stream.queue.tier import Claimed, Found
from tsync_stream.sync.in_doubt import InDoubt


@dataclass(slots=True)
class Owned:
    """One partition: our fence, the offset of the next entry, and whether pending entries come first."""

    fence: int
    next_offset: int
    claiming: bool = True


class OwnedPartitions:
    """Those of one lane. `taken_over` is to be called when partitions have become ours, before any of them is read."""

    def __init__(
        self, partitions: Sequence[int], leases: LeaseKeeper, in_doubt: InDoubt, taken_over: Callable[[], None]
    ) -> None:
        self.leases = leases
        self.in_doubt = in_doubt  # outlives what is owned, which every fault clears
        self._names = {partition: partition_lease(partition) for partition in partitions}
        self.taken_over = taken_over
        self._owned: dict[int, Owned] = {}

    def __repr__(self) -> str:
        states = (
            f"{partition}: fence {owned.fence}, {'claiming' if owned.claiming else 'reading'} from {owned.next_offset}"
            for partition, owned in sorted(self._owned.items())
        )
        return f"OwnedPartitions({'; '.join(states)})"

    def __len__(self) -> int:
        return len(self._owned)

    def __iter__(self) -> Iterator[int]:
        return iter(self._owned)

    def __contains__(self, partition: object) -> bool:
        return partition in self._owned

    @property
    def claiming(self) -> Collection[int]:
        """Those whose entries that a predecessor left pending come first."""
        return [partition for partition, owned in self._owned.items() if owned.claiming]

    def held(self) -> dict[int, Held]:
        """The leases of the lane's partitions that are ours and not about to be given back."""
        found = {partition: self.leases.holding(name) for partition, name in self._names.items()}
        return {partition: held for partition, held in found.items() if held is not None}

    def all_held(self, fences: Mapping[int, int]) -> bool:
        """Whether all of these leases are ours, and none of them is about to be given back."""
        held = self.held()
        return all(partition in held and held[partition].fence == fence for partition, fence in fences.items())

    def require_held(self, fences: Mapping[int, int]) -> None:
        """Raise `DependencyUnavailable` if one of these leases is gone."""
        if not self.all_held(fences):
            raise DependencyUnavailable("a lease is gone; its entries are left to the next owner")

    def keep(self, held: Mapping[int, Held]) -> dict[int, int]:
        """Forget partitions that are no longer ours; returns the fences of those that are new."""
        for partition, owned in list(self._owned.items()):
            if partition not in held or held[partition].fence != owned.fence:
                del self._owned[partition]
        keeps = self.leases.keeps  # while a lease leaves, it is asked whether it is clean: its doubts still count
        self.in_doubt.forget_others([partition for partition, name in self._names.items() if keeps(name)])
        return {partition: lease.fence for partition, lease in held.items() if partition not in self._owned}

    def take_over(self, partition: int, lease: Held, found: Found) -> None:
        """Own a partition that our fence was just put beside; `found` is what was there."""
        self.in_doubt.take_over(partition, lease, found.fence)
        self._owned[partition] = Owned(lease.fence, found.acked + 1)

    def forget(self) -> None:
        """Own nothing: what is ours is found out anew."""
        self._owned.clear()

    def drop(self, partition: int) -> None:
        """Forget one partition: it has a new owner."""
        self._owned.pop(partition, None)

    def fences_of(self, partitions: Collection[int]) -> dict[int, int]:
        """The fences under which we own these partitions."""
        return {partition: self._owned[partition].fence for partition in partitions}

    def next_to_claim(self) -> int | None:
        """A partition with entries that may be pending, or None."""
        return next((partition for partition, owned in self._owned.items() if owned.claiming), None)

    def follow_on(self, read: PartitionBatches) -> bool:
        """Whether what was read continues each partition; if not, pending entries are to be claimed first.

        The reply of an earlier read was lost, perhaps: then what is missing is pending, as this now is.
        """
        if all(
            self._owned[partition].next_offset == record_batches[0].first_offset
            for partition, record_batches in read.items()
        ):
            for partition, record_batches in read.items():
                self._advance(partition, record_batches)
            return True
        for partition in read:
            self._owned[partition].claiming = True
        return False

    def claimed(self, partition: int, claimed: Claimed) -> Sequence[RecordBatch]:
        """The pending entries of a claim, once they are checked. Raises `TierLost` where some are gone."""
        owned, record_batches = self._owned[partition], claimed.record_batches.get(partition, ())
        if not record_batches and not claimed.complete:
            # Redis 6.2 keeps entries that are gone among the pending ones, and would never come to those behind them.
            raise _gone(partition, owned.next_offset)
        self._advance(partition, record_batches)
        if claimed.complete:
            if owned.next_offset != claimed.delivered_offset + 1:
                raise _gone(partition, owned.next_offset)
            owned.claiming = False
        return record_batches

    def _advance(self, partition: int, record_batches: Sequence[RecordBatch]) -> None:
        owned = self._owned[partition]
        owned.next_offset = check_contiguous(partition, owned.next_offset, record_batches)


def check_contiguous(partition: int, first: int, record_batches: Sequence[RecordBatch]) -> int:
    """The offset after the record batches'. Raises `TierLost` unless theirs are `first`, `first + 1`, … (pure)."""
    expected = first
    for record_batch in record_batches:
        if record_batch.first_offset != expected:
            raise _gone(partition, expected)
        expected += len(record_batch.items)
    return expected


def _gone(partition: int, offset: int) -> TierLost:
    return TierLost(f"partition {partition}: entry {offset} is gone from the stream")
