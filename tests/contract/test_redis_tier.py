"""What only Redis can do to a queue: run out of memory, forget scripts, follow another, refuse a password."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bson.objectid import ObjectId
from redis.crc import key_slot

from tests.contract.conftest import (
    FENCE,
    PARTITIONS,
    REDIS_6_2,
    TOKEN,
    Writer,
    claimed_keys,
    ids,
    keys,
    offsets,
    read,
    redis_server,
    take,
)
from tests.contract.servers import RedisTierServer
from tests.support.stack import Names
from tests.support.waiting import eventually
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TierLost
from tsync_stream.core.model import EpochRef
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue.redis_tier import MOST_TOO_MANY, RECORD_BATCH_ENTRIES, RedisStreams
from tsync_stream.queue.tier import Found, Tier

OWNER = 11
PASSWORD = "correct horse"


@pytest.fixture(params=["primary Redis", REDIS_6_2])
def server(
    request: pytest.FixtureRequest, stack: EmbeddedStack, names: Names, tmp_path: Path
) -> Iterator[RedisTierServer]:
    """The newest and the oldest that we know: what is Redis's own has changed between them."""
    chosen = redis_server(request, stack, names, tmp_path)
    yield chosen
    chosen.put_right()


@pytest.fixture
def no_memory_left(server: RedisTierServer, epoch: EpochRef) -> Iterator[RedisTierServer]:
    """A server that is over its limit, until `CONFIG SET maxmemory 0`."""
    server.call("CONFIG", "SET", "maxmemory", 1)
    yield server
    server.call("CONFIG", "SET", "maxmemory", 0)


@pytest.fixture
async def locked(server: RedisTierServer) -> AsyncIterator[RedisTierServer]:
    """A server that wants PASSWORD."""
    keeper = server.connect()
    await keeper.probe()
    server.call("CONFIG", "SET", "requirepass", PASSWORD)
    yield server
    opener = server.connect(password=PASSWORD)
    await opener._client.config_set("requirepass", "")
    await opener.close()
    await keeper.close()


# Memory, disk, replication


@pytest.mark.parametrize(
    ("setting", "value"), [("maxmemory", "1"), ("min-replicas-to-write", "1")], ids=["OOM", "NOREPLICAS"]
)
async def test_a_probe_is_refused_as_an_append_would_be(
    server: RedisTierServer, tier: Tier, setting: str, value: str
) -> None:
    await tier.probe()
    server.call("CONFIG", "SET", setting, value)
    try:
        with pytest.raises(TierLost):
            await tier.probe()
    finally:
        server.call("CONFIG", "SET", setting, 0)
    await tier.probe()
    assert server.size() == 0, "a probe leaves nothing behind"


async def test_a_probe_requires_room_for_the_backlog(server: RedisTierServer, tier: Tier) -> None:
    server.call("CONFIG", "SET", "maxmemory", "100mb")
    try:
        await tier.probe(100_000)
        with pytest.raises(TierLost, match="no room for the backlog"):
            await tier.probe(1_000_000)
    finally:
        server.call("CONFIG", "SET", "maxmemory", 0)


async def test_out_of_memory_means_lost_and_nothing_appended(
    no_memory_left: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    for values in ({0: ["a"]}, {0: list(range(500)), 1: list(range(500)), 2: list(range(500))}):
        with pytest.raises(TierLost, match="primary Redis"):
            await writer.append(values)
        assert await tier.backlog(epoch, PARTITIONS) == [0, 0, 0]
    no_memory_left.call("CONFIG", "SET", "maxmemory", 0)
    assert [head.last_offset for head in await tier.take_over(epoch, PARTITIONS, FENCE)] == [0, 0, 0]
    await writer.append({0: ["a"]})


async def test_a_queue_that_is_out_of_memory_can_still_be_emptied(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append_apart(0, ["a", "b", "c"])
    await tier.own(epoch, {0: OWNER})
    server.call("CONFIG", "SET", "maxmemory", 1)
    try:
        assert keys(await take(tier, epoch, 2)) == ["a", "b"]
        assert await tier.own(epoch, {0: OWNER}) == {0: Found(OWNER, 0)}
        claimed = await tier.claim(epoch, 0, "another", 100)
        assert claimed_keys(claimed) == ["a", "b"]
        assert list(await tier.ack(epoch, {0: ids(claimed.record_batches[0])}, {0: OWNER})) == []
        assert (await tier.backlog(epoch, PARTITIONS))[0] == 1
        assert await tier.own(epoch, {0: OWNER}) == {0: Found(OWNER, 2)}
    finally:
        server.call("CONFIG", "SET", "maxmemory", 0)


async def test_a_server_that_became_a_replica_is_lost(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a"]})
    server.call("REPLICAOF", "127.0.0.1", 1)
    try:
        for call in (
            writer.append({0: ["b"]}),
            tier.take_over(epoch, PARTITIONS, FENCE),
            tier.read(epoch, [0], "me", 10, 0.1),
        ):
            with pytest.raises(TierLost):
                await call
    finally:
        server.call("REPLICAOF", "NO", "ONE")


async def test_a_server_without_its_required_replicas_is_lost(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    server.call("CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        with pytest.raises(TierLost):
            await writer.append({0: ["a"]})
    finally:
        server.call("CONFIG", "SET", "min-replicas-to-write", 0)
    assert await tier.backlog(epoch, PARTITIONS) == [0, 0, 0]


# Scripts


async def test_forgotten_scripts_are_sent_again(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    for round_number in range(3):
        server.call("SCRIPT", "FLUSH")
        await writer.append({0: ["a"], 1: ["x"]})
        server.call("SCRIPT", "FLUSH")
        await tier.own(epoch, {0: OWNER + round_number})
        found = (await read(tier, epoch))[0]
        server.call("SCRIPT", "FLUSH")
        assert list(await tier.ack(epoch, {0: ids(found)}, {0: OWNER + round_number})) == []
        server.call("SCRIPT", "FLUSH")
        await tier.take_over(epoch, PARTITIONS, FENCE)
    assert await tier.backlog(epoch, PARTITIONS) == [0, 3, 0]


# Keys and memory


async def test_the_keys_of_a_partition_share_a_hash_slot(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a"], 1: ["x"], 2: ["q"]})
    await tier.own(epoch, dict.fromkeys(range(PARTITIONS), OWNER))
    found = server.keys(epoch)
    slots = [
        {key_slot(key.encode()) for key in found if key.startswith(server.stream(epoch, partition))}
        for partition in range(PARTITIONS)
    ]
    assert len(found) == 3 * PARTITIONS
    assert [len(slot) for slot in slots] == [1, 1, 1]
    assert len(set.union(*slots)) == PARTITIONS, "a cluster can spread the partitions"


async def test_every_key_begins_with_the_queue_key(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a"]})
    await tier.own(epoch, {0: OWNER})
    assert all(key.startswith(f"{server.settings.queue_key}:") for key in server.call("KEYS", f"*{epoch.deployment}*"))


async def test_an_entry_takes_less_than_50_bytes_of_memory(
    server: RedisTierServer, epoch: EpochRef, writer: Writer
) -> None:
    empty = server.call("MEMORY", "USAGE", server.stream(epoch, 0), "SAMPLES", 0)
    await writer.append({0: [ObjectId() for _ in range(1000)]})
    full = server.call("MEMORY", "USAGE", server.stream(epoch, 0), "SAMPLES", 0)
    assert (full - empty) / 1000 < 50


async def test_entries_appended_together_share_one_entry_of_the_stream(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: [ObjectId() for _ in range(2 * RECORD_BATCH_ENTRIES + 1)]})
    assert server.call("XLEN", server.stream(epoch, 0)) == 3
    found = (await read(tier, epoch))[0]
    assert ids(found) == [b"%d-5" % number for number in (32, 64, 65)]
    assert (await tier.backlog(epoch, PARTITIONS))[0] == 65
    server.delete_entries(epoch, 0, b"64-5")
    claimed = await tier.claim(epoch, 0, "another", 100)
    assert offsets(claimed.record_batches[0]) == [*range(1, 33), 65], "who reads finds 33 to 64 missing"


async def test_a_read_soon_fits_its_limit(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    """How many entries of a stream are to be read is guessed by how full the last ones were."""
    for _ in range(21):
        await writer.append({0: ["a"]})
    assert [len(offsets((await read(tier, epoch, limit=80))[0])) for _ in range(3)] == [2, 10, 9]
    for _ in range(12):
        await writer.append({0: ["b"] * RECORD_BATCH_ENTRIES})
    sizes = [len(offsets((await read(tier, epoch, limit=2 * RECORD_BATCH_ENTRIES))[0])) for _ in range(3)]
    assert sizes[0] == MOST_TOO_MANY * 2 * RECORD_BATCH_ENTRIES, "once, when record batches grow, it is too many"
    assert sizes[1:] == [2 * RECORD_BATCH_ENTRIES, 2 * RECORD_BATCH_ENTRIES]


async def test_acked_entries_take_no_memory(server: RedisTierServer, tier: Tier, epoch: EpochRef) -> None:
    await tier.own(epoch, {0: OWNER})
    writer = Writer(tier, epoch, FENCE)
    sizes = []
    for _ in range(5):
        await writer.append({0: [ObjectId() for _ in range(1000)]})
        found = (await read(tier, epoch, limit=1000))[0]
        await tier.ack(epoch, {0: ids(found)}, {0: OWNER})
        sizes.append(server.call("MEMORY", "USAGE", server.stream(epoch, 0), "SAMPLES", 0))
    assert max(sizes) < 10_000


# Connections


async def test_a_read_whose_connection_breaks_raises(server: RedisTierServer, tier: Tier, epoch: EpochRef) -> None:
    """Repeated in silence, it would wait for what comes after the entries that were in the lost reply."""
    reading = asyncio.create_task(tier.read(epoch, [0], "me", 100, 1.9))

    def waits() -> bool:
        return "cmd=xreadgroup" in str(server.call("CLIENT", "LIST", "TYPE", "normal"))

    await eventually(waits)
    server.call("CLIENT", "KILL", "TYPE", "normal")
    with pytest.raises(DependencyUnavailable):
        await reading


@pytest.mark.parametrize("password", ["", "a wrong one"])
async def test_a_refused_password_needs_a_person(locked: RedisTierServer, password: str) -> None:
    refused = locked.connect(password=password)
    with pytest.raises(ConfigurationError, match="PRIMARY_REDIS_PASSWORD") as caught:
        await refused.probe()
    assert PASSWORD not in str(caught.value)
    assert "a wrong one" not in str(caught.value)
    await refused.close()


async def test_the_right_password_works(locked: RedisTierServer, unmade_epoch: EpochRef) -> None:
    admitted = locked.connect(password=PASSWORD)
    await admitted.create(unmade_epoch, PARTITIONS, FENCE, TOKEN)
    await admitted.remove(unmade_epoch, PARTITIONS)
    await admitted.close()


async def test_a_password_that_the_server_does_not_expect_needs_a_person(server: RedisTierServer) -> None:
    refused = server.connect(password=PASSWORD)
    with pytest.raises(ConfigurationError, match="PRIMARY_REDIS_PASSWORD"):
        await refused.probe()
    await refused.close()


async def test_a_closed_port_is_waited_out(server: RedisTierServer) -> None:
    nobody = server.connect(port=1)
    with pytest.raises(DependencyUnavailable):
        await nobody.start()
    await nobody.close()


async def test_idle_connections_are_opened_at_the_start(server: RedisTierServer) -> None:
    def connected() -> int:
        return len(server.call("CLIENT", "LIST", "TYPE", "normal").splitlines())

    before = connected()
    tier = server.connect(min_idle_conns=4)
    await tier.start()
    assert connected() == before + 4
    await tier.close()


@pytest.mark.parametrize(("lifetime_s", "connections"), [(3600.0, 1), (0.0, 3)])
async def test_a_connection_is_used_no_longer_than_its_lifetime(
    server: RedisTierServer, lifetime_s: float, connections: int
) -> None:
    tier: RedisStreams = server.connect(conn_max_lifetime_s=lifetime_s)
    clients = {await tier._client.client_id() for _ in range(3)}
    assert len(clients) == connections
    await tier.close()
