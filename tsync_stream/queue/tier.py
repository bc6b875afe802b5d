"""The contract of a tier: one durable, ordered stream of entries per partition and epoch.

Invariants that every tier keeps, and that the contract suite checks on each:

- Offsets are contiguous per partition. An append is all or nothing and says `TierLost` when the stream is not
  where its writer left it, `Fenced` when somebody newer appends.
- Repeating an append whose reply was lost changes nothing and succeeds.
- What was read and not acked is given out again by `claim`, in order.
- An ack under an old fence changes nothing and names the partitions that refused it.
- How far a partition is acked is kept beside its owner's fence. So whoever begins to read knows which offset comes
  first, and entries that vanished are noticed whatever happened since, by whom they concern.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tsync_stream.core.model import Barrier, Entry, EpochRef, Head, PartitionBatches, Token


@dataclass(frozen=True, slots=True)
class Append:
    """Items for one partition, numbered from `after_offset + 1`; `after` is the id of its last entry."""

    partition: int
    after: str
    after_offset: int
    items: Sequence[Entry | Barrier]

    @property
    def last_offset(self) -> int:
        """The offset of the last entry once this is appended."""
        return self.after_offset + len(self.items)

    def last_id(self, fence: int) -> str:
        """The id of the last entry once this is appended under `fence`."""
        return f"{self.last_offset}-{fence}"


class Tier(Protocol):
    """A place that can be the queue for an epoch.

    Every call raises `DependencyUnavailable` when the server cannot be reached or answers too late (`TierUnavailable`
    where another tier may still be in reach), and `TierLost` when it answers but is not what we remember (empty,
    shortened, read-only, out of memory).
    """

    name: str

    async def start(self) -> None:
        """Get ready to work. May be repeated, and may fail without harm: every call connects by itself."""

    async def probe(self, entries: int = 0) -> None:
        """Return if the tier can take entries now, and has memory for so many more."""

    async def create(self, epoch: EpochRef, partitions: int, fence: int, token: Token) -> None:
        """Make the epoch's empty streams and consumer groups, their heads at `token`. May be repeated."""

    async def take_over(self, epoch: EpochRef, partitions: int, fence: int) -> Sequence[Head]:
        """Shut out appends under older fences and return each partition's head, by partition.

        Raises `Fenced` if a newer fence was here, `TierLost` if a stream and its head do not fit.
        """

    async def append(self, epoch: EpochRef, fence: int, token: Token, appends: Sequence[Append]) -> None:
        """Append to several partitions, each all or nothing; `token` becomes their heads' token.

        Raises `Fenced` or `TierLost` as soon as one partition says so; others may have been appended.
        """

    async def own(self, epoch: EpochRef, fences: Mapping[int, int]) -> Mapping[int, "Found"]:
        """Set each partition's owner fence, unless a newer owner's is there; returns what was found."""

    async def claim(self, epoch: EpochRef, partition: int, consumer: str, limit: int) -> "Claimed":
        """Everything that was read and not acked, taken over by `consumer`, oldest first, about `limit`.

        If it brings nothing and is not complete either, the oldest of what was read is gone.
        A record batch is read and acked as a whole: at most some tens of entries of one append. A tier that batches
        entries may return fewer than `limit`, or up to four times as many, until it has seen how many a record batch
        holds. It always returns at least one.
        """

    async def read(
        self, epoch: EpochRef, partitions: Sequence[int], consumer: str, limit: int, wait_s: float
    ) -> "Read":
        """New entries, about `limit` a partition (see `claim`); waits up to `wait_s` for the first."""

    async def ack(
        self, epoch: EpochRef, acks: Mapping[int, Sequence[bytes]], fences: Mapping[int, int]
    ) -> Collection[int]:
        """Remove synced record batches, the oldest that are left; returns the partitions with another owner fence."""

    async def backlog(self, epoch: EpochRef, partitions: int) -> Sequence[int]:
        """Unacked entries of each partition."""

    async def remove_older(self, epoch: EpochRef) -> int:
        """Delete what this deployment's older epochs left here; returns how many keys."""

    async def remove(self, epoch: EpochRef, partitions: int) -> None:
        """Delete one epoch's streams: an attempt that did not become the epoch."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an owner finds beside a partition: its last owner's fence, and the offset up to which all is acked.

    Both are 0 before the first owner. The next entry is offset `acked + 1`, or the tier is lost.
    """

    fence: int
    acked: int


@dataclass(frozen=True, slots=True)
class Read:
    """New entries. `full`: a partition gave as much as was asked of it, so that more may wait."""

    record_batches: PartitionBatches
    full: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """What `claim` found. `delivered_offset` is the last offset ever read; `complete` means no more are pending."""

    record_batches: PartitionBatches
    delivered_offset: int
    complete: bool
