"""A tier in memory: it passes the contract suite of the real ones, and needs no server.

`MemoryTierServer` is what replicas share, and what a test does behind their backs; `MemoryTier` is one replica's view.
Invariant: every call is one step, because nothing is awaited between its first look and its last change.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bson.errors import BSONError

from tests.support.waiting import wait_for
from tsync_stream.core.errors import Fenced, TierLost, TierUnavailable
from tsync_stream.core.model import EpochRef, Head, RecordBatch, Token
from tsync_stream.queue.codec import decode_record_batch, encode_record_batch
from tsync_stream.queue.tier import Append, Claimed, Found, Read

LOOK_INTERVAL_S = 0.002


@dataclass
class Stream:
    """A partition's entries by offset, each with its fence. `delivered` is None once nobody remembers what was read."""

    last: str = "0-0"
    entries: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    delivered: int | None = 0


@dataclass
class Partition:
    """What a tier holds of one partition; None: it is not there."""

    stream: Stream | None = None
    head: tuple[int, str, Token] | None = None  # fence of the writer, last id, token
    owner: Found | None = None

    def parts(self) -> int:
        """How many of the three there are."""
        return sum(part is not None for part in (self.stream, self.head, self.owner))


class MemoryTierServer:
    """The shared state of the tier `name`, and the faults of `tests.contract.servers.TierServer`."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.answers = True
        self.reading = 0
        self.partitions: dict[tuple[str, int, str, int], Partition] = {}

    def connect(self) -> "MemoryTier":
        return MemoryTier(self)

    def partition(self, epoch: EpochRef, partition: int) -> Partition:
        """One partition; an empty one if the epoch has none."""
        key = (epoch.deployment, epoch.epoch, epoch.nonce, partition)
        return self.partitions.get(key) or self.partitions.setdefault(key, Partition())

    def stream(self, epoch: EpochRef, partition: int) -> Stream:
        """A partition's stream. Raises `TierLost` if it is gone."""
        stream = self.partition(epoch, partition).stream
        if stream is None:
            raise TierLost(f"{self.name}: partition {partition} is gone")
        return stream

    def remove(self, *keys: tuple[str, int, str, int]) -> int:
        """Remove partitions; returns how many parts they had."""
        return sum(self.partitions.pop(key).parts() for key in keys if key in self.partitions)

    # ---- faults ----

    def delete_entries(self, epoch: EpochRef, partition: int, *entry_ids: bytes) -> None:
        for entry_id in entry_ids:
            del self.stream(epoch, partition).entries[_offset(entry_id)]

    def delete_stream(self, epoch: EpochRef, partition: int) -> None:
        self.partition(epoch, partition).stream = None

    def delete_head(self, epoch: EpochRef, partition: int) -> None:
        self.partition(epoch, partition).head = None

    def delete_group(self, epoch: EpochRef, partition: int) -> None:
        self.stream(epoch, partition).delivered = None

    def turn_back(self, epoch: EpochRef, partition: int) -> None:
        self.partition(epoch, partition).stream = Stream()

    def add_entry(self, epoch: EpochRef, partition: int, entry_id: str) -> None:
        stream = self.stream(epoch, partition)
        offset, fence = map(int, entry_id.split("-"))
        stream.entries[offset], stream.last = (fence, b""), entry_id

    def delete_everything(self) -> None:
        self.partitions.clear()

    def size(self) -> int:
        return sum(partition.parts() for partition in self.partitions.values())

    def wait_for_reader(self) -> None:
        wait_for(lambda: self.reading > 0, 5.0, "nobody waits for entries")

    def restart(self) -> None:
        """What is in memory stays: it stands for a server that keeps what it acknowledged."""

    def freeze(self) -> None:
        self.answers = False

    def kill(self) -> None:
        self.answers = False

    def put_right(self) -> None:
        self.answers = True
        self.delete_everything()


class MemoryTier:
    """A `Tier` on a `MemoryTierServer`. Every entry is a record batch of its own."""

    def __init__(self, server: MemoryTierServer | None = None) -> None:
        self.server = server or MemoryTierServer()
        self.name = self.server.name

    def __repr__(self) -> str:
        return f"<MemoryTier {self.name}, {self.server.size()} parts>"

    async def start(self) -> None:
        await self._answer()

    async def probe(self, entries: int = 0) -> None:
        await self._answer()

    async def create(self, epoch: EpochRef, partitions: int, fence: int, token: Token) -> None:
        await self._answer()
        for number in range(partitions):
            partition = self.server.partition(epoch, number)
            partition.stream = partition.stream or Stream()
            partition.head = (fence, "0-0", token)

    async def take_over(self, epoch: EpochRef, partitions: int, fence: int) -> Sequence[Head]:
        await self._answer()
        heads = []
        for number in range(partitions):
            partition = self.server.partition(epoch, number)
            stream, head = self.server.stream(epoch, number), partition.head
            if head is None or head[1] != stream.last or stream.delivered is None:
                raise TierLost(f"{self.name}: partition {number} is not as we left it")
            self._check_fence(number, head[0], fence)
            partition.head = (fence, *head[1:])
            offset, _, last_fence = stream.last.partition("-")
            heads.append(Head(int(last_fence), int(offset), head[2]))
        return heads

    async def append(self, epoch: EpochRef, fence: int, token: Token, appends: Sequence[Append]) -> None:
        await self._answer()
        for append in appends:
            partition = self.server.partition(epoch, append.partition)
            stream, head = self.server.stream(epoch, append.partition), partition.head
            if head is None:
                raise TierLost(f"{self.name}: the head of partition {append.partition} is gone")
            self._check_fence(append.partition, head[0], fence)
            if stream.last == append.last_id(fence):
                continue
            if stream.last != append.after:
                raise TierLost(f"{self.name}: partition {append.partition} is not where we left it")
            for offset, item in enumerate(append.items, append.after_offset + 1):
                stream.entries[offset] = (fence, encode_record_batch([item]))
            stream.last = append.last_id(fence)
            partition.head = (fence, stream.last, token)

    async def own(self, epoch: EpochRef, fences: Mapping[int, int]) -> Mapping[int, Found]:
        await self._answer()
        found = {}
        for number, fence in fences.items():
            self.server.stream(epoch, number)  # which is lost if there is none
            partition = self.server.partition(epoch, number)
            found[number] = partition.owner or Found(0, 0)
            partition.owner = Found(max(fence, found[number].fence), found[number].acked)
        return found

    async def claim(self, epoch: EpochRef, partition: int, consumer: str, limit: int) -> Claimed:
        await self._answer()
        delivered = self._delivered(epoch, partition)
        pending = [offset for offset in sorted(self.server.stream(epoch, partition).entries) if offset <= delivered]
        claimed = self._batches(epoch, partition, pending[:limit])
        return Claimed({partition: claimed}, delivered, complete=len(pending) <= limit)

    async def read(self, epoch: EpochRef, partitions: Sequence[int], consumer: str, limit: int, wait_s: float) -> Read:
        deadline_s = asyncio.get_running_loop().time() + wait_s
        with self._reading():
            while True:
                await self._answer()
                found = self._read_once(epoch, partitions, limit)
                if found or asyncio.get_running_loop().time() >= deadline_s:
                    return Read(found, full=any(len(batches) >= limit for batches in found.values()))
                await asyncio.sleep(LOOK_INTERVAL_S)

    async def ack(
        self, epoch: EpochRef, acks: Mapping[int, Sequence[bytes]], fences: Mapping[int, int]
    ) -> Collection[int]:
        await self._answer()
        refused = []
        for number, ids in acks.items():
            partition = self.server.partition(epoch, number)
            if partition.owner is None or partition.owner.fence != fences[number]:
                refused.append(number)
                continue
            for batch_id in ids:
                self.server.stream(epoch, number).entries.pop(_offset(batch_id), None)
            acked = max(partition.owner.acked, *map(_offset, ids))
            partition.owner = Found(partition.owner.fence, acked)
        return refused

    async def backlog(self, epoch: EpochRef, partitions: int) -> Sequence[int]:
        await self._answer()
        return [self._waiting(self.server.partition(epoch, number)) for number in range(partitions)]

    async def peek(self, epoch: EpochRef, partition: int, limit: int) -> Sequence[RecordBatch]:
        await self._answer()
        return self._batches(epoch, partition, sorted(self.server.stream(epoch, partition).entries)[:limit])

    async def remove_older(self, epoch: EpochRef) -> int:
        await self._answer()
        older = [key for key in self.server.partitions if key[0] == epoch.deployment and key[1] < epoch.epoch]
        return self.server.remove(*older)

    async def remove(self, epoch: EpochRef, partitions: int) -> None:
        await self._answer()
        self.server.remove(*((epoch.deployment, epoch.epoch, epoch.nonce, number) for number in range(partitions)))

    async def close(self) -> None:
        """There is no connection."""

    async def _answer(self) -> None:
        """What every call begins with: others have a turn, as while a server is asked."""
        await asyncio.sleep(0)
        if not self.server.answers:
            raise TierUnavailable(f"{self.name}: it gives no answer")

    def _check_fence(self, partition: int, held: int, fence: int) -> None:
        if held > fence:
            raise Fenced(f"{self.name}: partition {partition} has a newer capturing replica")

    def _delivered(self, epoch: EpochRef, partition: int) -> int:
        delivered = self.server.stream(epoch, partition).delivered
        if delivered is None:
            raise TierLost(f"{self.name}: nobody remembers what was read of partition {partition}")
        return delivered

    def _batches(self, epoch: EpochRef, partition: int, offsets: Sequence[int]) -> list[RecordBatch]:
        entries = self.server.stream(epoch, partition).entries
        try:
            return [
                RecordBatch(f"{offset}-{entries[offset][0]}".encode(), offset, decode_record_batch(entries[offset][1]))
                for offset in offsets
            ]
        except (BSONError, LookupError, TypeError, ValueError) as error:
            raise TierLost(f"{self.name}: partition {partition} holds what is not ours") from error

    def _read_once(self, epoch: EpochRef, partitions: Sequence[int], limit: int) -> dict[int, list[RecordBatch]]:
        new = {}
        for number in partitions:
            delivered, stream = self._delivered(epoch, number), self.server.stream(epoch, number)
            if offsets := [offset for offset in sorted(stream.entries) if offset > delivered][:limit]:
                new[number] = offsets
                stream.delivered = offsets[-1]
        return {number: self._batches(epoch, number, offsets) for number, offsets in new.items()}

    def _waiting(self, partition: Partition) -> int:
        last = 0 if partition.head is None else int(partition.head[1].partition("-")[0])
        return max(0, last - (0 if partition.owner is None else partition.owner.acked))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self.server.reading += 1
        try:
            yield
        finally:
            self.server.reading -= 1


def _offset(batch_id: bytes) -> int:
    return int(batch_id.partition(b"-")[0])
