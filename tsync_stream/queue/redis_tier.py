"""The Redis tiers: one stream, one consumer group, one head and one owner fence per partition.

Nothing is trimmed by length: entries are removed when they are acked. `redis_keys.py` names the keys.

Entries that are appended together share one entry of the stream, a record batch: adding, reading, acking and deleting
a stream entry costs Redis and us several times what its bytes cost. Its id is `offset-fence` of its last entry, and
the batch itself tells how many it holds. So offsets stay those of entries, and contiguous.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import redis.exceptions
from bson.errors import BSONError

from tsync_stream.core import clock
from tsync_stream.core.errors import Fenced, TierLost, TierUnavailable
from tsync_stream.core.events import event
from tsync_stream.core.model import EpochRef, Head, RecordBatch, Token
from tsync_stream.queue import redis_scripts
from tsync_stream.queue.codec import decode_record_batch, decode_token, encode_record_batch, encode_token
from tsync_stream.queue.redis_client import (
    REQUEST_TIMEOUT_S,
    ask,
    ask_each,
    connect,
    open_idle_connections,
    password_of,
)
from tsync_stream.queue.redis_config import apply_server_settings
from tsync_stream.queue.redis_errors import from_redis
from tsync_stream.queue.redis_keys import GROUP, QueueKeys
from tsync_stream.queue.redis_probe import probe
from tsync_stream.queue.tier import Append, Claimed, Found, Read
from tsync_stream.settings.load import RedisSettings

log = logging.getLogger(__name__)

# At most this many entries share a record batch. More would save little, and make a read's size harder to choose.
RECORD_BATCH_ENTRIES = 32
# By this factor a read may return more entries than were asked for, if record batches have grown since the last one.
MOST_TOO_MANY = 4
# The only field of a stream entry, as the append script writes it.
_FIELD = b"e"
# A probe writes two or three kilobytes to the append-only file; between two of them a PING suffices.
PROBE_INTERVAL_S = 10.0
# What decoding raises for answers of another form and bytes that we did not write (InvalidBSON is a BSONError).
_NOT_OURS = (BSONError, AttributeError, LookupError, TypeError, ValueError)


class RedisStreams:
    """One Redis server as a tier. Keeps the contract of `queue.tier.Tier`."""

    def __init__(self, settings: RedisSettings, *, manage_persistence: bool = True) -> None:
        self.name: str = settings.name
        self._settings = settings
        self._manage_persistence = manage_persistence
        self._keys = QueueKeys(settings.queue_key)
        self.password = password_of(settings)
        # redis-py's annotations cover sync and async at once.
        self._client: Any = connect(settings, self.password)
        # Without retries, so that a look learns why the server does not answer. And a repeated read would return what
        # follows, while entries whose reply was lost stay pending: a lane that sees the error claims them.
        self._once: Any = connect(replace(settings, max_retries=0), self.password)
        self._probed_s = float("-inf")
        self._entries_per_batch = float(RECORD_BATCH_ENTRIES)  # on average, in the last read that found any

    def __repr__(self) -> str:
        age_s = clock.now_s() - self._probed_s
        probed = f"probed {age_s:.1f} s ago" if age_s < float("inf") else "to be probed"
        place = f"{self._settings.host}:{self._settings.port}"
        return f"<RedisStreams {self.name} at {place}, {probed}, {self._entries_per_batch:.1f} entries a record batch>"

    async def start(self) -> None:
        """Open the idle connections, and make the server persist the queue as the settings say."""
        with self._translated():
            await open_idle_connections(self._client, self._settings.min_idle_conns)
            ask_server = partial(ask_each, self._client)
            for warning in await apply_server_settings(ask_server, self._settings, manage=self._manage_persistence):
                log.warning("%s", warning, extra=event("redis.differs", tier=self.name))

    async def take_up_password(self, _password: str) -> str:
        """Log in again on every connection, before its next use."""
        for client in (self._client, self._once):
            client.connection_pool.replace_connections()
        self._probed_s = float("-inf")  # the next look tells whether it is accepted
        return f"connections to the {self.name} Redis are replaced"

    async def look(self) -> None:
        """Return if the server answers, and did our work when last probed, at most ten seconds ago."""
        if clock.now_s() - self._probed_s < PROBE_INTERVAL_S:
            with self._translated():
                await ask_each(self._once, ("PING",))  # a refusal is an answer, too
            return
        await self.probe()
        self._probed_s = clock.now_s()  # after a failure the next look probes again

    async def probe(self, entries: int = 0) -> None:
        with self._translated():
            await probe(self._once, self._settings, entries)

    async def create(self, epoch: EpochRef, partitions: int, fence: int, token: Token) -> None:
        with self._translated():
            await ask(self._client, ("SADD", self._keys.registry(epoch), f"{epoch.epoch}.{epoch.nonce}.{partitions}"))
        head = [GROUP, fence, encode_token(token)]
        calls = [(self._written(epoch, partition), head) for partition in range(partitions)]
        await self._call_each(redis_scripts.CREATE, calls)

    async def take_over(self, epoch: EpochRef, partitions: int, fence: int) -> Sequence[Head]:
        calls = [(self._written(epoch, partition), [fence, GROUP]) for partition in range(partitions)]
        heads = []
        for partition, answer in enumerate(await self._call_each(redis_scripts.TAKE_OVER, calls)):
            with self._understood():
                self._check(answer[0], epoch, partition)
                offset, _, last_fence = answer[1].decode().partition("-")
                heads.append(Head(int(last_fence), int(offset), decode_token(answer[2])))
        return heads

    async def append(self, epoch: EpochRef, fence: int, token: Token, appends: Sequence[Append]) -> None:
        encoded_token = encode_token(token)
        calls = []
        for append in appends:
            head = [fence, encoded_token, append.after, append.last_id(fence)]
            calls.append((self._written(epoch, append.partition), [*head, *_record_batches(append, fence)]))
        answers = await self._call_each(redis_scripts.APPEND, calls)
        for append, answer in zip(appends, answers, strict=True):
            self._check(answer, epoch, append.partition)

    async def own(self, epoch: EpochRef, fences: Mapping[int, int]) -> Mapping[int, Found]:
        calls = [(self._owned(epoch, partition), [fence]) for partition, fence in fences.items()]
        answers = await self._call_each(redis_scripts.OWN, calls)
        found = {}
        for partition, answer in zip(fences, answers, strict=True):
            if not answer:
                raise TierLost(f"{self.name} Redis: the stream of partition {partition} is gone")
            with self._understood(partition):
                found[partition] = Found(*map(int, answer))
        return found

    async def claim(self, epoch: EpochRef, partition: int, consumer: str, limit: int) -> Claimed:
        call = ([self._keys.stream(epoch, partition)], [GROUP, consumer, self._record_batches_for(limit)])
        (answer,) = await self._call_each(redis_scripts.CLAIM, [call])
        if not answer:
            raise TierLost(f"{self.name} Redis: the consumer group of partition {partition} is gone")
        with self._understood(partition):
            delivered, cursor, found = answer
            # For a pending entry that was deleted, Redis 6.2 answers nil, and later ones nothing: offsets show the gap.
            present = [item for item in found if item is not None and item[1] is not None]
            return Claimed(
                record_batches={partition: [_record_batch(*item) for item in present]},
                delivered_offset=_offset(delivered),
                complete=cursor == b"0-0",
            )

    async def read(self, epoch: EpochRef, partitions: Sequence[int], consumer: str, limit: int, wait_s: float) -> Read:
        if wait_s >= REQUEST_TIMEOUT_S:
            raise ValueError(f"a read may wait less than {REQUEST_TIMEOUT_S} s")
        streams = {self._keys.stream(epoch, partition): partition for partition in partitions}
        block = ("BLOCK", max(1, int(wait_s * 1000))) if wait_s else ()
        count = self._record_batches_for(limit)
        new = [">"] * len(streams)
        command = ("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count, *block, "STREAMS", *streams, *new)
        with self._translated():
            (answer,) = await ask(self._once, command)
        with self._understood():
            read = {}
            for stream, items in answer or ():
                partition = streams[stream.decode()]
                with self._understood(partition):
                    read[partition] = [_record_batch(batch_id, fields) for batch_id, fields in items]
        if read:
            sizes = [len(record_batch.items) for record_batches in read.values() for record_batch in record_batches]
            self._entries_per_batch = sum(sizes) / len(sizes)
        return Read(read, full=any(len(record_batches) >= count for record_batches in read.values()))

    async def ack(
        self, epoch: EpochRef, acks: Mapping[int, Sequence[bytes]], fences: Mapping[int, int]
    ) -> Collection[int]:
        calls = []
        for partition, ids in acks.items():
            calls.append((self._owned(epoch, partition), [GROUP, fences[partition], *ids]))
        answers = await self._call_each(redis_scripts.ACK, calls)
        return [partition for partition, answer in zip(acks, answers, strict=True) if not answer]

    async def backlog(self, epoch: EpochRef, partitions: int) -> Sequence[int]:
        with self._translated():
            heads = [("HGET", self._keys.head(epoch, partition), "last") for partition in range(partitions)]
            owners = [("HGET", self._keys.owner(epoch, partition), "acked") for partition in range(partitions)]
            answers = await ask(self._client, *heads, *owners)
        with self._understood():
            return [
                max(0, _offset(last or b"0-0") - int(acked or 0))  # the two are not read at one moment
                for last, acked in zip(answers[:partitions], answers[partitions:], strict=True)
            ]

    async def peek(self, epoch: EpochRef, partition: int, limit: int) -> Sequence[RecordBatch]:
        with self._translated():
            (found,) = await ask(
                self._client, ("XRANGE", self._keys.stream(epoch, partition), "-", "+", "COUNT", limit)
            )
        with self._understood(partition):
            return [_record_batch(batch_id, fields) for batch_id, fields in found]

    async def remove_older(self, epoch: EpochRef) -> int:
        removed = 0
        with self._translated(), self._understood():
            (members,) = await ask(self._client, ("SMEMBERS", self._keys.registry(epoch)))
            for member in members or ():
                try:
                    number, nonce, partitions = member.decode().split(".")
                    old, count = EpochRef(epoch.deployment, int(number), nonce, epoch.tier), int(partitions)
                except _NOT_OURS:  # not written by us
                    continue
                if old.epoch < epoch.epoch:
                    removed += await self._remove(old, count, member)
        return removed

    async def remove(self, epoch: EpochRef, partitions: int) -> None:
        with self._translated(), self._understood():
            await self._remove(epoch, partitions, f"{epoch.epoch}.{epoch.nonce}.{partitions}".encode())

    async def close(self) -> None:
        for client in (self._client, self._once):
            await client.aclose()
            await client.connection_pool.disconnect()

    async def _remove(self, epoch: EpochRef, partitions: int, member: bytes) -> int:
        streams = [
            ("UNLINK", *self._written(epoch, partition), self._keys.owner(epoch, partition))
            for partition in range(partitions)
        ]
        *removed, _ = await ask(self._client, *streams, ("SREM", self._keys.registry(epoch), member))
        return sum(map(int, removed))

    async def _call_each(self, script: str, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        """One script call per partition, in one round trip; the first error among them is raised."""
        with self._translated():
            try:
                return await self._run_scripts(script, calls)
            except redis.exceptions.NoScriptError:
                # The server was restarted and has forgotten the scripts.
                await ask(self._client, ("SCRIPT", "LOAD", script))
                return await self._run_scripts(script, calls)

    async def _run_scripts(self, script: str, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        digest = redis_scripts.DIGESTS[script]
        commands = [("EVALSHA", digest, len(keys), *keys, *arguments) for keys, arguments in calls]
        return await ask(self._client, *commands)

    def _check(self, answer: bytes, epoch: EpochRef, partition: int) -> None:
        if answer == b"fenced":
            raise Fenced(f"{self.name} Redis: partition {partition} has a newer capturing replica")
        if answer != b"ok":
            raise TierLost(f"{self.name} Redis: partition {partition} of epoch {epoch.epoch} is not as we left it")

    def _record_batches_for(self, entries: int) -> int:
        """How many record batches hold about `entries` entries, going by the last read; too many if they are full."""
        return max(1, int(min(entries / self._entries_per_batch, entries * MOST_TOO_MANY / RECORD_BATCH_ENTRIES)))

    def _written(self, epoch: EpochRef, partition: int) -> list[str]:
        """The keys that the writer of a partition changes."""
        return [self._keys.stream(epoch, partition), self._keys.head(epoch, partition)]

    def _owned(self, epoch: EpochRef, partition: int) -> list[str]:
        """The keys that the owner of a partition changes."""
        return [self._keys.stream(epoch, partition), self._keys.owner(epoch, partition)]

    @contextmanager
    def _understood(self, partition: int | None = None) -> Iterator[None]:
        """Raises `TierLost` for answers that our scripts do not give, and for entries that we did not append."""
        try:
            yield
        except _NOT_OURS as error:
            place = "it" if partition is None else f"partition {partition}"
            raise TierLost(f"{self.name} Redis: {place} holds or answers something that is not ours") from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (redis.exceptions.RedisError, OSError) as error:
            translated = from_redis(error, self.name)
            if not isinstance(translated, TierUnavailable):
                self._probed_s = float("-inf")  # the next look probes, and finds out what is refused
            raise translated from error


def _offset(batch_id: bytes) -> int:
    return int(batch_id.partition(b"-")[0])


def _record_batches(append: Append, fence: int) -> Iterator[str | bytes]:
    """Alternating ids and record batches, as the append script takes them."""
    for begin in range(0, len(append.items), RECORD_BATCH_ENTRIES):
        items = append.items[begin : begin + RECORD_BATCH_ENTRIES]
        yield f"{append.after_offset + begin + len(items)}-{fence}"
        yield encode_record_batch(items)


def _record_batch(batch_id: bytes, fields: Sequence[bytes]) -> RecordBatch:
    last, _, fence = batch_id.partition(b"-")
    field, payload = fields
    # An id that Redis chose itself (XADD with *) ends in a small count; ours ends in a fence, which is never 0.
    if field != _FIELD or not int(fence):
        raise ValueError("not an entry of ours")
    items = decode_record_batch(payload)
    return RecordBatch(batch_id, int(last) - len(items) + 1, items)
