"""The contract of a tier, from the first append to the last ack. Every tier runs it unchanged."""

import asyncio
import time
from typing import Any

import pytest
from bson.timestamp import Timestamp

from tests.contract.conftest import (
    FENCE,
    PARTITIONS,
    TOKEN,
    Writer,
    claimed_keys,
    ids,
    items,
    keys,
    offsets,
    read,
    take,
)
from tests.contract.servers import TierServer
from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tsync_stream.core.errors import Fenced, TierLost
from tsync_stream.core.model import Barrier, BarrierOrder, Entry, EpochRef, Operation, Position
from tsync_stream.queue.tier import Append, Found, Read, Tier

OWNER = 11


# Append and read


async def test_entries_come_out_in_order_with_contiguous_offsets(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a", "b"], 1: ["x"]})
    await writer.append({1: ["y", "z"]})
    await writer.append({0: ["c"], 2: ["q"]})
    found = await read(tier, epoch)
    assert {partition: keys(batches) for partition, batches in found.items()} == {
        0: ["a", "b", "c"],
        1: ["x", "y", "z"],
        2: ["q"],
    }
    assert {partition: offsets(batches) for partition, batches in found.items()} == {
        0: [1, 2, 3],
        1: [1, 2, 3],
        2: [1],
    }
    assert [ids(found[0])[-1], ids(found[1])[-1], ids(found[2])[-1]] == [b"3-5", b"3-5", b"1-5"]


async def test_every_kind_of_key_comes_out_as_it_went_in(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: KEYS_OF_EVERY_TYPE})
    found = keys((await read(tier, epoch))[0])
    assert len(found) == len(KEYS_OF_EVERY_TYPE)
    for one, other in zip(found, KEYS_OF_EVERY_TYPE, strict=True):
        assert same_as_bson(one, other)


async def test_an_entry_comes_out_whole(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a"]})
    (item,) = items((await read(tier, epoch))[0])
    assert item == Entry("listings", "a", Operation.UPDATE, Timestamp(7, 1))


async def test_barriers_come_out_between_the_entries(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    barrier = Barrier(BarrierOrder(4, FENCE, 1), Position({"_data": "82AA"}, Timestamp(8, 0), {"job": {"_id": 1.5}}))
    await writer.append({0: ["a", barrier, "b"], 1: [barrier]})
    found = await read(tier, epoch)
    assert items(found[1]) == [barrier]
    assert [item == barrier for item in items(found[0])] == [False, True, False]


async def test_a_key_of_16_kilobytes_is_nothing_special(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    big: list[Any] = ["x" * 16_000] * 20
    await writer.append({0: big})
    assert keys((await read(tier, epoch))[0]) == big


async def test_thousands_of_entries_are_one_append(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: list(range(9000))})
    found = (await read(tier, epoch, limit=10_000))[0]
    assert offsets(found) == list(range(1, 9001))


async def test_an_append_whose_reply_was_lost_may_be_repeated(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a"]})
    calls = await writer.append({0: ["b", "c"], 1: ["x"]}, {"_data": "8201"})
    for _ in range(3):
        await tier.append(epoch, FENCE, {"_data": "8201"}, calls)
    assert await tier.backlog(epoch, PARTITIONS) == [3, 1, 0]
    assert keys((await read(tier, epoch))[0]) == ["a", "b", "c"]
    await writer.append({0: ["d"]})


async def test_an_append_that_reached_only_some_partitions_may_be_repeated(
    tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    calls = writer.calls({0: ["a"], 1: ["x", "y"], 2: ["q"]})
    await tier.append(epoch, FENCE, TOKEN, calls[1:2])
    await tier.append(epoch, FENCE, TOKEN, calls)
    found = await read(tier, epoch)
    assert {partition: keys(batches) for partition, batches in found.items()} == {
        0: ["a"],
        1: ["x", "y"],
        2: ["q"],
    }


@pytest.mark.parametrize(
    ("after", "after_offset"),
    [("0-0", 0), ("1-5", 1), ("3-5", 3), ("2-4", 2), ("2-6", 2), ("9-5", 9)],
    ids=["the beginning", "before the last", "beyond the last", "an older fence's", "a newer fence's", "far beyond"],
)
async def test_an_append_that_does_not_follow_the_last_one_finds_the_tier_lost(
    tier: Tier, epoch: EpochRef, writer: Writer, after: str, after_offset: int
) -> None:
    await writer.append({0: ["a", "b"]})
    strays = writer.calls({0: ["stray", "stray", "stray"]})
    with pytest.raises(TierLost):
        await tier.append(epoch, FENCE, TOKEN, [Append(0, after, after_offset, strays[0].items)])
    assert keys((await read(tier, epoch))[0]) == ["a", "b"]
    await writer.append({0: ["c"]})


async def test_a_partition_takes_all_of_an_append_or_nothing(
    server: TierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    server.delete_stream(epoch, 1)
    with pytest.raises(TierLost):
        await writer.append({0: list(range(500)), 1: list(range(500)), 2: list(range(500))})
    assert set(await tier.backlog(epoch, PARTITIONS)) <= {0, 500}
    assert (await tier.backlog(epoch, PARTITIONS))[1] == 0


# Reading


async def test_what_was_read_is_not_read_again(tier: Tier, other: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a"]})
    assert keys((await read(tier, epoch))[0]) == ["a"]
    await writer.append({0: ["b"]})
    assert keys((await read(other, epoch, consumer="somebody else"))[0]) == ["b"]
    assert await read(tier, epoch) == {}


async def test_the_limit_is_for_each_partition(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    for both in zip("abcd", "wxyz", strict=True):
        await writer.append(dict(enumerate([key] for key in both)))
    came: dict[int, list[object]] = {0: [], 1: []}
    while len(came[0]) < 4:
        found = await read(tier, epoch, limit=2)
        assert {len(record_batches) for record_batches in found.values()} <= {1, 2}
        for partition in came:
            came[partition] += keys(found[partition])
    assert came == {0: list("abcd"), 1: list("wxyz")}


async def test_a_read_says_whether_it_reached_its_limit(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: list(range(200)), 1: ["x"]})
    took = []
    while (found := await tier.read(epoch, [0, 1], "me", 64, 0)).record_batches:
        took.append(found)
    assert [len(offsets(each.record_batches[0])) for each in took] == [64, 64, 64, 8]
    assert [each.full for each in took] == [True, True, True, False]


async def test_entries_appended_together_are_read_whatever_the_limit(
    tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    for begin in range(0, 500, 100):
        await writer.append({0: list(range(begin, begin + 100)), 1: ["x"]})
    await tier.own(epoch, {0: OWNER})
    taken: list[object] = []
    while len(taken) < 500:
        found = (await read(tier, epoch, 0, limit=3))[0]
        assert offsets(found) == list(range(len(taken) + 1, len(taken) + len(items(found)) + 1))
        taken += keys(found)
        assert list(await tier.ack(epoch, {0: ids(found)}, {0: OWNER})) == []
        assert await tier.backlog(epoch, PARTITIONS) == [500 - len(taken), 5, 0]
    assert taken == list(range(500))


async def test_only_the_partitions_that_are_asked_for_are_read(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a"], 1: ["x"], 2: ["q"]})
    assert set(await read(tier, epoch, 0, 2)) == {0, 2}
    assert set(await read(tier, epoch)) == {1}


async def test_a_read_waits_for_entries_and_returns_without_any(tier: Tier, epoch: EpochRef) -> None:
    began_s = time.monotonic()
    assert await tier.read(epoch, [0, 1], "me", 10, 0.3) == Read({}, full=False)
    assert 0.25 < time.monotonic() - began_s < 2.0


async def test_a_read_returns_as_soon_as_an_entry_arrives(
    server: TierServer, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    reading = asyncio.create_task(other.read(epoch, [0, 1], "me", 10, 1.9))
    await asyncio.to_thread(server.wait_for_reader)
    began_s = time.monotonic()
    await writer.append({1: ["x"]})
    assert keys((await reading).record_batches[1]) == ["x"]
    assert time.monotonic() - began_s < 1.0


async def test_a_gap_shows_in_the_offsets(server: TierServer, tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append_apart(0, ["a", "b", "c", "d"])
    server.delete_entries(epoch, 0, b"2-5", b"3-5")
    assert offsets((await read(tier, epoch))[0]) == [1, 4]


# Claim


async def test_nothing_is_pending_at_the_beginning(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a"]})
    claimed = await tier.claim(epoch, 0, "me", 10)
    assert claimed_keys(claimed) == []
    assert (claimed.delivered_offset, claimed.complete) == (0, True)


async def test_what_was_read_and_not_acked_is_claimed_in_order(
    tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append_apart(0, ["a", "b", "c", "d"])
    await take(tier, epoch, 3)
    for consumer in ("somebody else", "somebody else", "a third"):
        claimed = await other.claim(epoch, 0, consumer, 100)
        assert claimed_keys(claimed) == ["a", "b", "c"]
        assert offsets(claimed.record_batches[0]) == [1, 2, 3]
        assert (claimed.delivered_offset, claimed.complete) == (3, True)


@pytest.mark.parametrize("delivered", [2, 3])
async def test_a_claim_of_a_limit_says_whether_there_is_more(
    tier: Tier, epoch: EpochRef, writer: Writer, delivered: int
) -> None:
    await writer.append_apart(0, ["a", "b", "c"])
    await tier.own(epoch, {0: OWNER})
    await take(tier, epoch, delivered)
    came: list[object] = []
    complete = False
    while not complete:
        claimed = await tier.claim(epoch, 0, "me", 2)
        assert claimed.delivered_offset == delivered
        assert 1 <= len(claimed.record_batches[0]) <= 2
        came += claimed_keys(claimed)
        complete = claimed.complete
        await tier.ack(epoch, {0: ids(claimed.record_batches[0])}, {0: OWNER})
    assert came == ["a", "b", "c"][:delivered]


async def test_what_is_acked_is_not_claimed(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append_apart(0, ["a", "b", "c"])
    await tier.own(epoch, {0: OWNER})
    found = (await read(tier, epoch))[0]
    await tier.ack(epoch, {0: [found[0].batch_id]}, {0: OWNER})
    assert claimed_keys(await tier.claim(epoch, 0, "me", 100)) == ["b", "c"]


@pytest.mark.parametrize("gone", [[b"1-5"], [b"2-5"], [b"3-5"], [b"1-5", b"2-5", b"3-5"]])
async def test_pending_entries_that_are_gone_leave_a_gap(
    server: TierServer, tier: Tier, epoch: EpochRef, writer: Writer, gone: list[bytes]
) -> None:
    await writer.append_apart(0, ["a", "b", "c", "d"])
    await take(tier, epoch, 3)
    server.delete_entries(epoch, 0, *gone)
    claimed = await tier.claim(epoch, 0, "me", 100)
    left = [number for number in (1, 2, 3) if f"{number}-5".encode() not in gone]
    assert offsets(claimed.record_batches[0]) == left
    assert claimed.delivered_offset == 3


# Ack and own


async def test_what_is_acked_is_gone(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a", "b"], 1: ["x"]})
    await tier.own(epoch, {0: OWNER, 1: OWNER})
    found = await read(tier, epoch)
    acks = {partition: ids(record_batches) for partition, record_batches in found.items()}
    for _ in range(2):  # the second time as if the reply had been lost
        assert list(await tier.ack(epoch, acks, {0: OWNER, 1: OWNER})) == []
        assert await tier.backlog(epoch, PARTITIONS) == [0, 0, 0]
    assert claimed_keys(await tier.claim(epoch, 0, "me", 10)) == []


async def test_offsets_continue_when_everything_is_acked(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await tier.own(epoch, {0: OWNER})
    for number in range(1, 4):
        await writer.append({0: [number]})
        found = (await read(tier, epoch))[0]
        assert offsets(found) == [number]
        await tier.ack(epoch, {0: ids(found)}, {0: OWNER})
        assert (await tier.claim(epoch, 0, "me", 10)).delivered_offset == number


async def test_thousands_of_entries_are_one_ack(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: list(range(8999))})
    await writer.append({0: [8999]})
    await tier.own(epoch, {0: OWNER})
    found = (await read(tier, epoch, limit=10_000))[0]
    assert list(await tier.ack(epoch, {0: ids(found)[:-1]}, {0: OWNER})) == []
    assert (await tier.backlog(epoch, PARTITIONS))[0] == 1
    assert claimed_keys(await tier.claim(epoch, 0, "me", 10)) == [8999]


async def test_an_ack_under_an_old_fence_changes_nothing(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a"], 1: ["x"], 2: ["q"]})
    await tier.own(epoch, {0: OWNER, 1: OWNER, 2: OWNER})
    acks = {partition: ids(record_batches) for partition, record_batches in (await read(tier, epoch)).items()}
    await tier.own(epoch, {1: OWNER + 1})
    refused = await tier.ack(epoch, acks, {0: OWNER, 1: OWNER, 2: OWNER})
    assert list(refused) == [1]
    assert await tier.backlog(epoch, PARTITIONS) == [0, 1, 0]
    assert claimed_keys(await tier.claim(epoch, 1, "the new owner", 10), 1) == ["x"]


@pytest.mark.parametrize("fence", [OWNER - 1, OWNER + 1, 1, 111])
async def test_only_the_owners_own_fence_acks(tier: Tier, epoch: EpochRef, writer: Writer, fence: int) -> None:
    await writer.append({0: ["a"]})
    await tier.own(epoch, {0: OWNER})
    acks = {0: ids((await read(tier, epoch))[0])}
    assert list(await tier.ack(epoch, acks, {0: fence})) == [0]
    assert list(await tier.ack(epoch, acks, {0: OWNER})) == []


async def test_nobody_acks_what_nobody_owns(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a"]})
    acks = {0: ids((await read(tier, epoch))[0])}
    assert list(await tier.ack(epoch, acks, {0: OWNER})) == [0]
    assert (await tier.backlog(epoch, PARTITIONS))[0] == 1


async def test_an_owner_finds_the_fence_of_its_predecessor(tier: Tier, other: Tier, epoch: EpochRef) -> None:
    assert await tier.own(epoch, {0: 3, 2: 9}) == {0: Found(0, 0), 2: Found(0, 0)}
    assert await other.own(epoch, {0: 4, 1: 1, 2: 12}) == {0: Found(3, 0), 1: Found(0, 0), 2: Found(9, 0)}
    assert await other.own(epoch, {0: 4}) == {0: Found(4, 0)}, "repeated, as if the reply had been lost"


async def test_an_owner_finds_how_far_all_is_acked(
    server: TierServer, tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({1: ["x"]})
    await writer.append_apart(0, range(12))
    await tier.own(epoch, {0: OWNER, 1: OWNER})
    found = await take(tier, epoch, 12)
    for first, last in ((0, 1), (0, 1), (1, 11)):  # once more as if the reply had been lost
        assert list(await tier.ack(epoch, {0: ids(found)[first:last]}, {0: OWNER})) == []
        assert await other.own(epoch, {0: OWNER, 1: OWNER}) == {0: Found(OWNER, last), 1: Found(OWNER, 0)}
    server.delete_entries(epoch, 0, b"12-5")
    assert await other.own(epoch, {0: OWNER + 1}) == {0: Found(OWNER, 11)}, "what vanished is not taken for acked"
    assert list(await tier.ack(epoch, {0: ids(found)[11:]}, {0: OWNER})) == [0]
    assert await other.own(epoch, {0: OWNER + 1}) == {0: Found(OWNER + 1, 11)}, "nor what a former owner acks"


async def test_an_older_owner_finds_the_newer_ones_fence_and_leaves_it(tier: Tier, epoch: EpochRef) -> None:
    await tier.own(epoch, {0: 10})
    assert await tier.own(epoch, {0: 9}) == {0: Found(10, 0)}, "9 is before 10, though not as text"
    assert await tier.own(epoch, {0: 11}) == {0: Found(10, 0)}


async def test_the_backlog_is_what_is_not_acked_read_or_not(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    assert await tier.backlog(epoch, PARTITIONS) == [0, 0, 0]
    await writer.append({0: ["a", "b", "c"], 2: ["q"]})
    assert await tier.backlog(epoch, PARTITIONS) == [3, 0, 1]
    await read(tier, epoch, limit=2)
    assert await tier.backlog(epoch, PARTITIONS) == [3, 0, 1]


async def test_a_peek_shows_what_is_not_acked_read_or_not(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append_apart(0, ["a", "b", "c", "d"])
    await tier.own(epoch, {0: OWNER})
    first, *_ = await take(tier, epoch, 2)
    assert keys(await tier.peek(epoch, 0, 100)) == ["a", "b", "c", "d"]
    await tier.ack(epoch, {0: ids([first])}, {0: OWNER})
    assert keys(await tier.peek(epoch, 0, 100)) == ["b", "c", "d"]
    assert keys(await tier.peek(epoch, 0, 2)) == ["b", "c"]
    assert await tier.peek(epoch, 1, 100) == []
    # Nothing was read by that.
    assert keys(await take(tier, epoch, 2)) == ["c", "d"]


async def test_an_append_under_an_older_fence_is_fenced(
    tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    calls = await writer.append({0: ["a"]})
    await other.take_over(epoch, PARTITIONS, 10)  # after 5, though not as text
    for late in (calls, writer.calls({0: ["late"]}), writer.calls({1: ["late"]})):
        with pytest.raises(Fenced):
            await tier.append(epoch, FENCE, TOKEN, late)
    assert await tier.backlog(epoch, PARTITIONS) == [1, 0, 0]
