"""The contract of a tier: one durable, ordered stream of entries per partition and epoch.

Invariants that every tier keeps, and that the contract suite (tests/contract) checks on each:

- Offsets are contiguous per partition. An append is all or nothing; it raises `TierLost` if the stream is not where its
  writer left it, and `Fenced` if a newer writer appends.
- Repeating an append whose reply was lost changes nothing and succeeds.
- `claim` returns what was read and not acked again, in order.
- An ack under an old fence changes nothing and names the partitions that refused it.
- How far a partition is acked is stored beside its owner's fence. So a new owner knows which offset comes first, and
  notices entries that have vanished.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.model import Barrier, Entry, EpochRef, Head, PartitionBatches, RecordBatch, Token

# A tier that takes longer to say that it takes entries is not fit to be the queue.
PROBE_DEADLINE_S = 1.0


@dataclass(frozen=True, slots=True)
class Append:
    """Items for one partition, at offsets from `after_offset + 1` on; `after` is the id of its last entry."""

    partition: int
    after: str
    after_offset: int
    items: Sequence[Entry | Barrier]

    @property
    def last_offset(self) -> int:
        """The last offset once this is appended."""
        return self.after_offset + len(self.items)

    def last_id(self, fence: int) -> str:
        """The id of the last entry once this is appended under `fence`."""
        return f"{self.last_offset}-{fence}"


class Tier(Protocol):
    """A place that can be the queue of an epoch.

    Every call raises `DependencyUnavailable` if the server cannot be reached or answers too late (`TierUnavailable` if
    another tier may still be reachable), and `TierLost` if it answers but is not as we remember it (empty, shortened,
    read-only, out of memory).
    """

    name: str

    async def start(self) -> None:
        """Prepare to work. May be repeated, and may fail without harm: every call connects by itself."""

    async def probe(self, entries: int = 0) -> None:
        """Return if the tier can take entries now, and has memory for that many more."""

    async def create(self, epoch: EpochRef, partitions: int, fence: int, token: Token) -> None:
        """Create the epoch's empty streams and consumer groups, with their heads at `token`. May be repeated."""

    async def take_over(self, epoch: EpochRef, partitions: int, fence: int) -> Sequence[Head]:
        """Fence off writers with older fences; returns the head of each partition, in order.

        Raises `Fenced` if a newer fence is there, `TierLost` if a stream and its head do not match.
        """

    async def append(self, epoch: EpochRef, fence: int, token: Token, appends: Sequence[Append]) -> None:
        """Append to several partitions, each all or nothing; `token` becomes the token of their heads.

        Raises `Fenced` or `TierLost` for the first partition that refuses; others may have been appended to.
        """

    async def own(self, epoch: EpochRef, fences: Mapping[int, int]) -> Mapping[int, "Found"]:
        """Set each partition's owner fence unless a newer one is there; returns what was there before.

        Raises `TierLost` if a partition is gone. Then it is not made again, because nothing would remove it.
        """

    async def claim(self, epoch: EpochRef, partition: int, consumer: str, limit: int) -> "Claimed":
        """Take over what was read and not acked, oldest first, about `limit` entries, for `consumer`.

        If it returns nothing and is not complete, the oldest of what was read is gone.
        A record batch is read and acked as a whole: at most some tens of entries of one append. A tier that batches
        entries may return fewer than `limit`, or up to four times as many, until it has seen how many a record batch
        holds. It always returns at least one.
        """

    async def read(
        self, epoch: EpochRef, partitions: Sequence[int], consumer: str, limit: int, wait_s: float
    ) -> "Read":
        """New entries, about `limit` per partition (see `claim`); waits up to `wait_s` for the first."""

    async def ack(
        self, epoch: EpochRef, acks: Mapping[int, Sequence[bytes]], fences: Mapping[int, int]
    ) -> Collection[int]:
        """Remove synced record batches, always the oldest left; returns the partitions with another owner fence."""

    async def backlog(self, epoch: EpochRef, partitions: int) -> Sequence[int]:
        """How many entries of each partition are not acked."""

    async def peek(self, epoch: EpochRef, partition: int, limit: int) -> Sequence[RecordBatch]:
        """The oldest record batches that are not acked, read or not, at most `limit`. For people: nothing changes."""

    async def remove_older(self, epoch: EpochRef) -> int:
        """Delete what older epochs of this deployment left; returns how many keys or documents that was."""

    async def remove(self, epoch: EpochRef, partitions: int) -> None:
        """Delete the streams of an attempt that did not become the epoch."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a new owner finds beside a partition: the last owner's fence, and the offset up to which all is acked.

    Both are 0 before the first owner. The next entry is at offset `acked + 1`, or the tier is lost.
    """

    fence: int
    acked: int


@dataclass(frozen=True, slots=True)
class Read:
    """New entries. `full`: a partition returned as many as were asked for, so more may be waiting."""

    record_batches: PartitionBatches
    full: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """What `claim` found. `delivered_offset` is the last offset ever read; `complete`: nothing else is pending."""

    record_batches: PartitionBatches
    delivered_offset: int
    complete: bool


async def probe_within_deadline(tier: Tier, entries: int = 0) -> None:
    """Probe a tier. Raises its errors, and `DependencyUnavailable` if it takes longer than `PROBE_DEADLINE_S`."""
    try:
        async with asyncio.timeout(PROBE_DEADLINE_S):
            await tier.probe(entries)
    except TimeoutError as error:
        raise DependencyUnavailable(f"{tier.name} tier: no answer within {PROBE_DEADLINE_S:g} s") from error
