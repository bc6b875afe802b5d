"""The contract of a tier over the life of epochs: taken over, damaged, out of reach, restarted, removed."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.contract.conftest import FENCE, PARTITIONS, TOKEN, Writer, claimed_keys, ids, keys, offsets, read, take
from tests.contract.servers import TierServer
from tests.support.waiting import HANG_S
from tsync_stream.core.errors import DependencyUnavailable, Fenced, TierLost
from tsync_stream.core.model import EpochRef, Head
from tsync_stream.queue import redis_client
from tsync_stream.queue.tier import Found, Tier

OWNER = 11

# Taking over


async def test_an_empty_epoch_has_heads_where_it_began(tier: Tier, epoch: EpochRef) -> None:
    heads = await tier.take_over(epoch, PARTITIONS, FENCE)
    assert list(heads) == [Head(0, 0, TOKEN)] * PARTITIONS


async def test_a_head_holds_the_fence_offset_and_token_of_the_last_append(
    tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await writer.append({0: ["a", "b"], 1: ["x"]}, {"_data": "8201"})
    await writer.append({0: ["c"]}, {"_data": "8202"})
    heads = await other.take_over(epoch, PARTITIONS, FENCE + 3)
    assert list(heads) == [
        Head(FENCE, 3, {"_data": "8202"}),
        Head(FENCE, 1, {"_data": "8201"}),
        Head(0, 0, TOKEN),
    ]


async def test_a_head_outlives_its_entries(tier: Tier, other: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a", "b"]}, {"_data": "8201"})
    await tier.own(epoch, {0: OWNER})
    await tier.ack(epoch, {0: ids((await read(tier, epoch))[0])}, {0: OWNER})
    assert (await other.take_over(epoch, PARTITIONS, FENCE + 1))[0] == Head(FENCE, 2, {"_data": "8201"})


async def test_a_new_writer_continues_after_the_heads(tier: Tier, other: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a", "b"]})
    for fence in (FENCE + 1, FENCE + 9):
        heads = await other.take_over(epoch, PARTITIONS, fence)
        last = {partition: (head.last_offset, head.fence) for partition, head in enumerate(heads)}
        await Writer(other, epoch, fence, last).append({0: [fence], 2: [fence]})
    found = await read(tier, epoch)
    assert keys(found[0]) == ["a", "b", FENCE + 1, FENCE + 9]
    assert offsets(found[0]) == [1, 2, 3, 4]
    assert ids(found[2]) == [b"1-6", b"2-14"]


async def test_taking_over_may_be_repeated(tier: Tier, epoch: EpochRef, writer: Writer) -> None:
    await writer.append({0: ["a"]})
    first = await tier.take_over(epoch, PARTITIONS, FENCE + 1)
    assert await tier.take_over(epoch, PARTITIONS, FENCE + 1) == first


async def test_an_older_fence_takes_nothing_over(tier: Tier, other: Tier, epoch: EpochRef) -> None:
    await other.take_over(epoch, PARTITIONS, 10)
    for older in (FENCE, 9):  # 9 is before 10, though not as text
        with pytest.raises(Fenced):
            await tier.take_over(epoch, PARTITIONS, older)
    await Writer(other, epoch, 10).append({0: ["a"]})


async def test_a_failed_attempt_with_an_older_fence_fences_off_nobody(tier: Tier, other: Tier, epoch: EpochRef) -> None:
    await other.take_over(epoch, PARTITIONS, FENCE + 1)
    with pytest.raises(Fenced):
        await tier.take_over(epoch, PARTITIONS, FENCE)
    with pytest.raises(Fenced):
        await Writer(tier, epoch, FENCE).append({0: ["late"]})


async def test_of_two_writers_at_once_the_older_one_is_fenced_and_nothing_is_torn(
    tier: Tier, other: Tier, epoch: EpochRef
) -> None:
    last: dict[int, tuple[int, int]] = {}
    for number in range(10):
        older = Writer(tier, epoch, FENCE + number, last)
        appended = 0

        async def write_on(writer: Writer) -> None:
            nonlocal appended
            while True:
                await writer.append({0: ["a", "b", "c"], 1: ["x"], 2: ["q", "r"]})
                appended += 1

        writing = asyncio.create_task(write_on(older))
        while appended < number % 3 and not writing.done():
            await asyncio.sleep(0)
        heads = await other.take_over(epoch, PARTITIONS, FENCE + number + 1)
        newer = Writer(
            other, epoch, FENCE + number + 1, {p: (head.last_offset, head.fence) for p, head in enumerate(heads)}
        )
        await newer.append({0: ["new"], 1: ["new"], 2: ["new"]})
        with pytest.raises(Fenced):
            await writing
        confirmed = {partition: count for partition, (count, _) in older.last.items()}
        for partition, each in {0: 3, 1: 1, 2: 2}.items():
            in_doubt = heads[partition].last_offset - confirmed.get(partition, 0)
            assert in_doubt in (0, each), "what was confirmed is there, and of the last append all or nothing"
        last = newer.last
    found = await read(tier, epoch, limit=10_000)
    for partition, (count, _) in last.items():
        assert offsets(found[partition]) == list(range(1, count + 1))
        fences = [int(entry_id.split(b"-")[1]) for entry_id in ids(found[partition])]
        assert fences == sorted(fences)


async def test_a_writer_and_a_reader_do_not_disturb_each_other(
    tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await other.own(epoch, dict.fromkeys(range(PARTITIONS), OWNER))
    total = 60

    async def write() -> None:
        for number in range(total):
            await writer.append({partition: [number] for partition in range(PARTITIONS)})

    writing = asyncio.create_task(write())
    taken: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
    while sum(map(len, taken.values())) < PARTITIONS * total:
        found = (await other.read(epoch, range(PARTITIONS), "me", 2, 0.5)).record_batches
        for partition, items in found.items():
            taken[partition] += offsets(items)
        assert await other.ack(epoch, {p: ids(items) for p, items in found.items()}, dict.fromkeys(found, OWNER)) == []
        assert claimed_keys(await other.claim(epoch, 0, "me", 10)) == []
        if writing.done():
            await writing
    await writing
    assert taken == {partition: list(range(1, total + 1)) for partition in range(PARTITIONS)}


# A tier that is not the one we remember

DAMAGES: dict[str, Callable[[TierServer, EpochRef], None]] = {
    "everything is gone": lambda server, _: server.delete_everything(),
    "a stream is gone": lambda server, epoch: server.delete_stream(epoch, 1),
    "a head is gone": lambda server, epoch: server.delete_head(epoch, 1),
    "what was read is forgotten": lambda server, epoch: server.delete_group(epoch, 1),
    "a stream is at its beginning again": lambda server, epoch: server.turn_back(epoch, 1),
    "somebody added an entry": lambda server, epoch: server.add_entry(epoch, 1, "99-5"),
}
NOT_ITS_HEAD = {"everything is gone", "a stream is gone", "a head is gone", "a stream is at its beginning again"}
NOT_READABLE = {"everything is gone", "a stream is gone", "what was read is forgotten", "somebody added an entry"}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_epoch_is_not_taken_over(
    server: TierServer, tier: Tier, epoch: EpochRef, writer: Writer, damage: str
) -> None:
    await writer.append({0: ["a"], 1: ["x"], 2: ["q"]})
    DAMAGES[damage](server, epoch)
    with pytest.raises(TierLost):
        await tier.take_over(epoch, PARTITIONS, FENCE + 1)


@pytest.mark.parametrize("damage", [*sorted(NOT_ITS_HEAD), "somebody added an entry"])
async def test_nothing_is_appended_to_a_damaged_stream(
    server: TierServer, tier: Tier, epoch: EpochRef, writer: Writer, damage: str
) -> None:
    await writer.append({1: ["x"]})
    DAMAGES[damage](server, epoch)
    before = (await tier.backlog(epoch, PARTITIONS))[1]
    for _ in range(2):
        with pytest.raises(TierLost):
            await writer.append({1: ["y"]})
    assert (await tier.backlog(epoch, PARTITIONS))[1] == before


@pytest.mark.parametrize("damage", sorted(NOT_READABLE))
async def test_a_reader_finds_a_damaged_stream_lost(
    server: TierServer, tier: Tier, epoch: EpochRef, writer: Writer, damage: str
) -> None:
    await writer.append({1: ["x"]})
    DAMAGES[damage](server, epoch)
    with pytest.raises(TierLost):
        await tier.read(epoch, [0, 1], "me", 100, 0.1)
    with pytest.raises(TierLost):
        await tier.claim(epoch, 1, "me", 100)


async def test_a_waiting_reader_finds_the_tier_lost(server: TierServer, other: Tier, epoch: EpochRef) -> None:
    async def read_on() -> None:
        while True:
            await other.read(epoch, [0, 1], "me", 10, 0.5)

    reading = asyncio.create_task(read_on())
    await asyncio.to_thread(server.wait_for_reader)
    server.delete_everything()
    async with asyncio.timeout(HANG_S):
        with pytest.raises(TierLost):
            await reading


@pytest.mark.parametrize("other_name", [{"epoch": 5}, {"nonce": "another"}, {"deployment": "another"}])
async def test_an_epoch_is_only_found_by_all_of_its_name(
    tier: Tier, epoch: EpochRef, other_name: dict[str, int | str]
) -> None:
    stranger = replace(epoch, **other_name)  # type: ignore[arg-type]  # one field each, of its type
    with pytest.raises(TierLost):
        await tier.take_over(stranger, PARTITIONS, FENCE)
    with pytest.raises(TierLost):
        await Writer(tier, stranger, FENCE).append({0: ["a"]})
    with pytest.raises(TierLost):
        await tier.claim(stranger, 0, "me", 10)


# Outages and restarts


async def test_a_tier_that_answers_is_ready(tier: Tier) -> None:
    await tier.probe()


async def use_all(tier: Tier, epoch: EpochRef, writer: Writer) -> list[BaseException | object]:
    """Every call of the protocol at once, and what became of each."""
    return await asyncio.gather(
        tier.probe(),
        tier.create(replace(epoch, epoch=epoch.epoch + 1), PARTITIONS, FENCE, TOKEN),
        tier.take_over(epoch, PARTITIONS, FENCE),
        tier.append(epoch, FENCE, TOKEN, writer.calls({0: ["a"]})),
        tier.own(epoch, {0: OWNER}),
        tier.claim(epoch, 0, "me", 10),
        tier.read(epoch, [0], "me", 10, 0.1),
        tier.ack(epoch, {0: [b"1-5"]}, {0: OWNER}),
        tier.backlog(epoch, PARTITIONS),
        tier.remove_older(epoch),
        tier.remove(replace(epoch, nonce="another"), PARTITIONS),
        return_exceptions=True,
    )


async def test_every_call_soon_reports_a_dead_server_as_unavailable(
    server: TierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    server.kill()
    began_s = time.monotonic()
    outcomes = await use_all(tier, epoch, writer)
    assert [outcome for outcome in outcomes if not isinstance(outcome, DependencyUnavailable)] == []
    assert time.monotonic() - began_s < 10


async def test_every_call_soon_reports_a_silent_server_as_unavailable(
    server: TierServer, epoch: EpochRef, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "REQUEST_TIMEOUT_S", 0.1)
    impatient = server.connect()
    await impatient.probe()
    server.freeze()
    began_s = time.monotonic()
    outcomes = await use_all(impatient, epoch, writer)
    assert [outcome for outcome in outcomes if not isinstance(outcome, DependencyUnavailable)] == []
    assert time.monotonic() - began_s < 10
    await impatient.close()


async def test_a_restarted_server_is_the_same_tier(
    server: TierServer, tier: Tier, epoch: EpochRef, writer: Writer
) -> None:
    await tier.own(epoch, {0: OWNER})
    await writer.append_apart(0, ["a", "b", "c"])
    found = await take(tier, epoch, 2)
    server.restart()
    await writer.append({0: ["d"]})
    assert list(await tier.ack(epoch, {0: ids(found)[:1]}, {0: OWNER})) == []
    assert claimed_keys(await tier.claim(epoch, 0, "me", 10)) == ["b"]
    assert keys((await read(tier, epoch))[0]) == ["c", "d"]
    assert (await tier.take_over(epoch, PARTITIONS, FENCE + 1))[0].last_offset == 4
    assert await tier.own(epoch, {0: OWNER + 1}) == {0: Found(OWNER, 1)}


# Removal


async def make(tier: Tier, epoch: EpochRef) -> EpochRef:
    """An epoch that was used."""
    await tier.create(epoch, PARTITIONS, FENCE, TOKEN)
    await Writer(tier, epoch, FENCE).append({0: ["a"], 1: ["x"], 2: ["q"]})
    await tier.own(epoch, dict.fromkeys(range(PARTITIONS), OWNER))
    await read(tier, epoch)
    return epoch


async def exists(tier: Tier, epoch: EpochRef) -> bool:
    """Whether anything of the epoch is there; a whole one is, in part or not, found by its entries."""
    return sum(await tier.backlog(epoch, PARTITIONS)) == 3


async def test_clean_up_removes_exactly_this_deployments_older_epochs(tier: Tier, epoch: EpochRef) -> None:
    current = await make(tier, replace(epoch, epoch=10, nonce="current"))
    failed = await make(tier, replace(epoch, epoch=10, nonce="failed"))
    older = [await make(tier, replace(epoch, epoch=number, nonce=f"n{number}")) for number in (9, 8, 2)]
    newer = await make(tier, replace(epoch, epoch=11, nonce="newer"))
    foreign = await make(tier, replace(epoch, deployment=f"{epoch.deployment}x", epoch=2))
    await tier.remove(epoch, PARTITIONS)

    assert await tier.remove_older(current) >= len(older) * PARTITIONS
    for gone in older:
        assert not await exists(tier, gone)
        with pytest.raises(TierLost):
            await tier.take_over(gone, PARTITIONS, 99)
    for kept in (current, failed, newer, foreign):
        assert await exists(tier, kept), kept
        await tier.take_over(kept, PARTITIONS, FENCE)
    assert await tier.remove_older(current) == 0
    assert await tier.remove_older(replace(foreign, epoch=3)) >= PARTITIONS, "whose turn it is only now"


async def test_an_attempt_that_failed_is_removed_without_its_rival(tier: Tier, epoch: EpochRef) -> None:
    rival = await make(tier, replace(epoch, nonce="rival"))
    failed = await make(tier, replace(epoch, nonce="failed"))
    await tier.remove(failed, PARTITIONS)
    assert not await exists(tier, failed)
    assert await exists(tier, rival)
    await tier.remove(failed, PARTITIONS)


async def test_a_removed_epoch_leaves_nothing_behind(server: TierServer, tier: Tier, epoch: EpochRef) -> None:
    empty = server.size()
    removed = await make(tier, replace(epoch, nonce="removed"))
    await make(tier, replace(epoch, epoch=1, nonce="older"))
    assert server.size() > empty
    await tier.remove(removed, PARTITIONS)
    await tier.remove_older(epoch)
    assert server.size() == empty


async def test_a_late_owner_of_a_removed_epoch_leaves_nothing_behind(
    server: TierServer, tier: Tier, epoch: EpochRef
) -> None:
    """It may have waited for this tier to answer while the next epochs were opened and this one was removed."""
    older = await make(tier, replace(epoch, epoch=1, nonce="older"))
    await tier.remove_older(epoch)
    left = server.size()
    with pytest.raises(TierLost):
        await tier.own(older, dict.fromkeys(range(PARTITIONS), OWNER + 1))
    with pytest.raises(TierLost):
        await tier.read(older, range(PARTITIONS), "me", 100, 0.0)
    with pytest.raises(TierLost):
        await tier.claim(older, 0, "me", 100)
    assert server.size() == left


async def test_an_epoch_that_was_only_half_made_is_cleaned_up(server: TierServer, tier: Tier, epoch: EpochRef) -> None:
    empty = server.size()
    half = await make(tier, replace(epoch, epoch=2))
    server.delete_stream(half, 0)
    server.delete_head(half, 2)
    await tier.remove_older(epoch)
    assert server.size() == empty


async def test_two_deployments_on_one_server_never_meet(
    tier: Tier, other: Tier, epoch: EpochRef, writer: Writer
) -> None:
    theirs = replace(epoch, deployment=f"{epoch.deployment}x")
    await other.create(theirs, PARTITIONS, FENCE, {"_data": "8299"})
    await writer.append({0: ["ours"]})
    await Writer(other, theirs, FENCE).append({0: ["theirs"], 1: ["theirs"]})
    await other.take_over(theirs, PARTITIONS, FENCE + 10)
    await other.own(theirs, {0: 99})
    assert await tier.own(epoch, {0: OWNER}) == {0: Found(0, 0)}
    found = await read(tier, epoch)
    assert {partition: keys(items) for partition, items in found.items()} == {0: ["ours"]}
    assert list(await tier.ack(epoch, {0: ids(found[0])}, {0: OWNER})) == []
    await writer.append({0: ["ours again"]})
    assert await tier.backlog(theirs, PARTITIONS) == [1, 1, 0]
    assert keys((await read(other, theirs))[0]) == ["theirs"]
