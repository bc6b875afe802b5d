"""What only MongoDB can do to a queue: fail between two steps of one call, and answer after it has given up."""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import suppress

import pytest

from tests.contract.conftest import FENCE, PARTITIONS, TOKEN, Writer, claimed_keys, ids, keys, offsets, read
from tests.contract.servers import MongoTierServer
from tests.support.stack import Names
from tests.support.waiting import HANG_S
from tsync_stream.core.errors import DependencyUnavailable, TierLost, TierUnavailable
from tsync_stream.core.model import EpochRef, Head
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue import mongo_tier
from tsync_stream.queue.mongo_layout import PartitionState, between, document_id
from tsync_stream.queue.mongo_partitions import Partitions
from tsync_stream.queue.tier import Found, Tier

OWNER = 11
# MaxTimeMSExpired: the driver does not try again by itself.
TOO_LATE = 50
# WriteConcernFailed: the write is done, and may yet be taken back.
NOT_BY_THE_MAJORITY = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}


@pytest.fixture
def server(stack: EmbeddedStack, names: Names) -> Iterator[MongoTierServer]:
    chosen = MongoTierServer("mongo", stack, names)
    yield chosen
    chosen.put_right()


def statuses(server: MongoTierServer, epoch: EpochRef, partition: int) -> list[str]:
    """The status of each entry that is there, in order."""
    with server.collection() as queue:
        return [entry["status"] for entry in queue.find(between(epoch, partition, 0, 1_000_000), sort=[("_id", 1)])]


@pytest.fixture
async def half_appended(server: MongoTierServer, writer: Writer) -> Writer:
    """A writer that failed when its append of "c" and "d" was done, but had no documents yet."""
    await writer.append({0: ["a", "b"]})
    server.fail("insert", errorCode=TOO_LATE)
    with pytest.raises(DependencyUnavailable) as caught:
        await writer.append({0: ["c", "d"], 1: ["x"]}, {"_data": "8201"})
    assert not isinstance(caught.value, TierUnavailable), "no other tier may be in reach without MongoDB"
    return writer


# An append that is interrupted


async def test_a_reader_reads_only_entries_that_have_documents(
    tier: Tier, epoch: EpochRef, half_appended: Writer
) -> None:
    assert {partition: keys(items) for partition, items in (await read(tier, epoch)).items()} == {0: ["a", "b"]}
    assert await read(tier, epoch) == {}
    assert claimed_keys(await tier.claim(epoch, 0, "me", 10)) == ["a", "b"]


async def test_repeating_an_interrupted_append_finishes_it(
    server: MongoTierServer, tier: Tier, epoch: EpochRef, half_appended: Writer
) -> None:
    for _ in range(2):
        await tier.append(epoch, FENCE, {"_data": "8201"}, half_appended.calls({0: ["c", "d"], 1: ["x"]}))
    found = await read(tier, epoch)
    assert {partition: keys(items) for partition, items in found.items()} == {0: ["a", "b", "c", "d"], 1: ["x"]}
    assert ids(found[0]) == [b"1-5", b"2-5", b"3-5", b"4-5"]
    with server.collection() as queue:
        assert queue.count_documents({"pending": {"$exists": True}}) == 0


async def test_a_writer_that_takes_over_finishes_an_interrupted_append(
    tier: Tier, other: Tier, epoch: EpochRef, half_appended: Writer
) -> None:
    heads = await other.take_over(epoch, PARTITIONS, FENCE + 1)
    assert list(heads) == [Head(FENCE, 4, {"_data": "8201"}), Head(FENCE, 1, {"_data": "8201"}), Head(0, 0, TOKEN)]
    await Writer(other, epoch, FENCE + 1, {0: (4, FENCE)}).append({0: ["e"]})
    assert keys((await read(tier, epoch))[0]) == ["a", "b", "c", "d", "e"]


async def test_nothing_else_is_appended_over_an_interrupted_append(
    tier: Tier, epoch: EpochRef, half_appended: Writer
) -> None:
    half_appended.last = {0: (4, FENCE)}
    with pytest.raises(TierLost):
        await half_appended.append({0: ["e"]})
    await tier.take_over(epoch, PARTITIONS, FENCE)
    assert keys((await read(tier, epoch))[0]) == ["a", "b", "c", "d"]


async def test_an_append_that_the_majority_has_not_confirmed_is_repeated(
    server: MongoTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    server.fail("update", **NOT_BY_THE_MAJORITY)
    with pytest.raises(DependencyUnavailable):
        await writer.append({0: ["a"]})
    await writer.append({0: ["a"]})
    assert keys((await read(tier, epoch))[0]) == ["a"]


async def test_two_writers_may_finish_one_append_at_once(
    tier: Tier, other: Tier, epoch: EpochRef, half_appended: Writer
) -> None:
    calls = half_appended.calls({0: ["c", "d"], 1: ["x"]})
    await asyncio.gather(*(each.append(epoch, FENCE, {"_data": "8201"}, calls) for each in (tier, other) * 3))
    found = await read(tier, epoch)
    assert {partition: keys(items) for partition, items in found.items()} == {0: ["a", "b", "c", "d"], 1: ["x"]}


# What others do between two steps of a call


def after_the_next_look(monkeypatch: pytest.MonkeyPatch, happens: Awaitable[object]) -> None:
    """Let something happen when the next call has looked at heads and owners, and at nothing else yet."""
    look = Partitions.states

    async def look_and_wait(at: Partitions, partitions: Sequence[int]) -> list[PartitionState]:
        monkeypatch.setattr(Partitions, "states", look)
        states = await look(at, partitions)
        await happens
        return states

    monkeypatch.setattr(Partitions, "states", look_and_wait)


async def test_a_reader_does_not_mistake_a_concurrent_append_for_damage(
    monkeypatch: pytest.MonkeyPatch, tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a"]})
    await read(tier, epoch)
    after_the_next_look(monkeypatch, writer.append({0: ["b", "c"]}))
    assert claimed_keys(await other.claim(epoch, 0, "me", 10)) == ["a"]


async def test_a_writer_does_not_mistake_a_concurrent_ack_for_damage(
    monkeypatch: pytest.MonkeyPatch, tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a"]})
    await other.own(epoch, {0: OWNER})
    acks = {0: ids((await read(other, epoch))[0])}

    async def ack() -> None:
        await other.ack(epoch, acks, {0: OWNER})
        await other.probe()  # which the majority confirms: by now the entries are gone for all

    after_the_next_look(monkeypatch, ack())
    await writer.append({0: ["b"]})
    assert keys((await read(other, epoch))[0]) == ["b"]


async def test_a_reader_does_not_mistake_a_concurrent_ack_of_another_for_damage(
    monkeypatch: pytest.MonkeyPatch, tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a", "b"]})
    await tier.own(epoch, {0: OWNER})

    async def read_and_ack() -> None:
        await tier.ack(epoch, {0: ids((await read(tier, epoch))[0])}, {0: OWNER})
        await tier.probe()  # which the majority confirms: by now the entries are gone for all

    after_the_next_look(monkeypatch, read_and_ack())
    with pytest.raises(DependencyUnavailable, match="another replica reads"):
        await read(other, epoch)
    assert await read(other, epoch) == {}


# Reading and acking that is interrupted


async def test_every_entry_shows_its_status(
    server: MongoTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await tier.own(epoch, {0: OWNER})
    await writer.append({0: ["a", "b", "c", "d"]})
    assert statuses(server, epoch, 0) == ["queued"] * 4
    found = (await read(tier, epoch, limit=3))[0]
    assert statuses(server, epoch, 0) == ["delivered"] * 3 + ["queued"]
    await tier.ack(epoch, {0: ids(found)[:1]}, {0: OWNER})
    assert statuses(server, epoch, 0) == ["delivered"] * 2 + ["queued"]


async def test_of_two_readers_at_once_each_gets_its_own(
    tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    given = []
    for number in range(20):
        await writer.append({0: [f"{number} a", f"{number} b"], 1: [f"{number} c"]})
        for outcome in await asyncio.gather(read(tier, epoch), read(other, epoch), return_exceptions=True):
            if isinstance(outcome, dict):
                given += [key for items in outcome.values() for key in keys(items)]
            else:
                assert isinstance(outcome, DependencyUnavailable), "neither finds the tier lost"
    assert len(given) == len(set(given))
    claimed = await tier.claim(epoch, 0, "me", 100)
    assert offsets(claimed.record_batches[0]) == list(range(1, 41)), "what a reader did not get is pending"


async def test_a_read_that_failed_is_claimed_or_read_again(
    server: MongoTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a", "b"]})
    server.fail("update", **NOT_BY_THE_MAJORITY)
    with pytest.raises(DependencyUnavailable):
        await read(tier, epoch)
    async with asyncio.timeout(HANG_S):
        while True:
            with suppress(DependencyUnavailable):  # as long as the majority knows nothing of that read
                assert await read(tier, epoch) == {}
                break
    assert claimed_keys(await tier.claim(epoch, 0, "me", 10)) == ["a", "b"]


async def test_an_ack_counts_before_it_has_removed_anything(
    server: MongoTierServer, tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a", "b", "c"]})
    await tier.own(epoch, {0: OWNER})
    found = (await read(tier, epoch))[0]
    server.fail("delete", errorCode=TOO_LATE)
    with pytest.raises(DependencyUnavailable):
        await tier.ack(epoch, {0: ids(found)[:2]}, {0: OWNER})
    assert len(statuses(server, epoch, 0)) == 3
    assert await other.own(epoch, {0: OWNER + 1}) == {0: Found(OWNER, 2)}
    assert await other.backlog(epoch, PARTITIONS) == [1, 0, 0]
    claimed = await other.claim(epoch, 0, "me", 10)
    assert claimed_keys(claimed) == ["c"]
    assert list(await other.ack(epoch, {0: ids(claimed.record_batches[0])}, {0: OWNER + 1})) == []
    assert statuses(server, epoch, 0) == [], "what was left goes with the next ack"


async def test_what_a_slow_writer_inserts_again_after_its_ack_is_not_read(
    server: MongoTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a", "b"]})
    await tier.own(epoch, {0: OWNER})
    with server.collection() as queue:
        entries = list(queue.find(between(epoch, 0, 1, 2)))
        await tier.ack(epoch, {0: ids((await read(tier, epoch))[0])}, {0: OWNER})
        queue.insert_many(entries)
    assert await read(tier, epoch) == {}
    assert claimed_keys(await tier.claim(epoch, 0, "me", 10)) == []
    await writer.append({0: ["c"]})
    found = (await read(tier, epoch))[0]
    assert keys(found) == ["c"]
    await tier.ack(epoch, {0: ids(found)}, {0: OWNER})
    assert statuses(server, epoch, 0) == []


async def test_vanished_entries_are_noticed_even_if_a_whole_read_is_missing(
    server: MongoTierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: list(range(10))})
    server.delete_entries(epoch, 0, *(f"{number}-5".encode() for number in range(1, 6)))
    with pytest.raises(TierLost):
        await read(tier, epoch, limit=3)


# Probing and removal


async def test_a_probe_asks_the_majority_and_leaves_nothing_behind(server: MongoTierServer, tier: Tier) -> None:
    await tier.probe()
    assert server.size() == 0
    server.fail("update", **NOT_BY_THE_MAJORITY)
    with pytest.raises(DependencyUnavailable):
        await tier.probe()
    await tier.probe()
    assert server.size() == 0


async def test_clean_up_proceeds_in_steps_until_it_is_done(
    server: MongoTierServer, tier: Tier, epoch: EpochRef, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await writer.append({0: list(range(20)), 2: ["q"]})
    monkeypatch.setattr(mongo_tier, "REMOVE_AT_ONCE", 4)
    newer = EpochRef(epoch.deployment, epoch.epoch + 1, epoch.nonce, epoch.tier)
    assert await tier.remove_older(newer) == 21 + 2 * PARTITIONS
    assert server.size() == 0


async def test_the_queue_needs_no_index_but_the_one_on_ids(
    server: MongoTierServer, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: list(range(100)), 1: list(range(100))})
    with server.collection() as queue:
        assert list(queue.index_information()) == ["_id_"]
        plan = queue.find(between(epoch, 1, 5, 7)).explain()["executionStats"]
        assert (plan["totalDocsExamined"], plan["totalKeysExamined"]) == (3, 3)
        assert queue.find_one({"_id": document_id(epoch, 1, 7)}) is not None


async def test_the_client_is_left_open_to_its_owner(tier: Tier) -> None:
    await tier.start()
    await tier.close()
    await tier.probe()
