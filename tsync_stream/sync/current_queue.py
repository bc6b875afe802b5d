"""Which queue a lane reads now, and how much of it at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.core.linger import linger_s
from tsync_stream.core.model import Entry, EpochRef, Operation, RecordBatch
from tsync_stream.queue.tier import Read, Tier
from tsync_stream.routes.fingerprint import divided_as_we_do
from tsync_stream.routes.table import RouteTable

# Entries of all of a lane's partitions. More at once would not be cheaper, and the first of them would wait longer.
AT_ONCE_WHEN_BEHIND = 1_000
# Long enough for an idle lane to cost nothing, and short enough to see soon what else has changed: leases, rechecks.
IDLE_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much one read brings, of a partition and of all of a lane's partitions, and how long to linger after it.

    `wait_s` is how long a read waits for the first entry.
    """

    batch_size: int
    buffer_size: int
    longest_linger_s: float
    wait_s: float = IDLE_WAIT_S


class CurrentQueue:
    """The queue of the current epoch, if it holds entries of our routes, divided among as many `partitions`."""

    def __init__(
        self, epochs: EpochWatch, tiers: Mapping[str, Tier], table: RouteTable, partitions: int, limits: ReadLimits
    ) -> None:
        self.table = table
        self.limits = limits
        self._epochs = epochs
        self._tiers = tiers
        self._partitions = partitions
        self._behind = False  # True: the last read was full

    def __repr__(self) -> str:
        return f"CurrentQueue({self.epoch}{', behind' if self._behind else ''})"

    @property
    def epoch(self) -> EpochRef | None:
        """The current epoch, or None if there is none yet or its entries are not ours to sync."""
        pipeline = self._epochs.current
        if pipeline is None or (pipeline.table, pipeline.partitions) != (self.table.version, self._partitions):
            return None
        if pipeline.epoch.tier not in self._tiers:  # the settings leave it out: capture opens another epoch
            return None
        ours = divided_as_we_do(state.fingerprint for state in pipeline.routes.values())
        return pipeline.epoch if ours else None

    def is_over(self, epoch: EpochRef) -> bool:
        """Whether a newer epoch is current."""
        current = self._epochs.current
        return current is not None and current.epoch != epoch

    def tier(self, epoch: EpochRef) -> Tier:
        """The tier that is the queue in this epoch."""
        return self._tiers[epoch.tier]

    def limit(self, partitions: int, most_in_hand: int | None = None) -> int:
        """How many entries to read of each of so many partitions, and of all together at most `most_in_hand`."""
        limits = self.limits
        wanted = max(limits.batch_size, AT_ONCE_WHEN_BEHIND // partitions) if self._behind else limits.batch_size
        at_once = limits.buffer_size if most_in_hand is None else min(limits.buffer_size, most_in_hand)
        return max(1, min(wanted, at_once // partitions))

    def pause_after(self, read: Read) -> float:
        """How long to linger after a read, in seconds, so that changes gather.

        Many at once are cheaper for MongoDB and Typesense, and changes of one document become one write. While a job
        queues, nothing more gathers: it waits for us.
        """
        self._behind = read.full
        found = [record_batch for record_batches in read.record_batches.values() for record_batch in record_batches]
        if read.full or any(map(_of_a_job, found)):
            return 0.0
        count = sum(len(record_batch.items) for record_batch in found)
        return linger_s(count, self.limits.buffer_size, self.limits.longest_linger_s)


def _of_a_job(record_batch: RecordBatch) -> bool:
    last = record_batch.items[-1]
    return isinstance(last, Entry) and last.operation == Operation.CHECK
