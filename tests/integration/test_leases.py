"""Leases on a real MongoDB: one holder each, taken over in time, never trusted by two replicas at once."""

import asyncio
import random
from collections import Counter

import pytest

from tests.integration.conftest import Clock, Database
from tests.support.interleaved import Interleaved
from tests.support.keepers import ALL, TTL_S, Make, believed, fences, maker, shares, step
from tests.support.waiting import HANG_S
from tsync_stream.cluster.assignment import CAPTURE, LeaseView
from tsync_stream.cluster.failure_detector import expire_failed
from tsync_stream.cluster.leases import BELIEF, PATIENCE
from tsync_stream.core.wake import Wake
from tsync_stream.state.database import LEASES

# Sharing


async def test_one_replica_takes_every_lease_at_once(make: Make, boot_clock: Clock) -> None:
    keeper = await make("a")
    await step(keeper)
    assert believed(keeper) == ALL
    assert fences(keeper) == dict.fromkeys(ALL, 1)
    assert not any(held.after_expiry for held in keeper.held.values())
    assert keeper.live_replicas == 1


async def test_replicas_share_partitions_evenly_as_they_come_and_go(make: Make, boot_clock: Clock) -> None:
    a, b, c = await make("a"), await make("b"), await make("c")
    for together, expected in [([a], [8]), ([a, b], [4, 4]), ([a, b, c], [3, 3, 2])]:
        if len(together) == 1:
            for absent in (b, c):
                await absent.stop()
        else:
            await together[-1].start()
        for _ in range(3):
            await step(*together)
        assert shares(*together) == expected
        assert set.union(*map(believed, together)) == ALL
        assert sum(CAPTURE in believed(keeper) for keeper in together) == 1
    await a.stop()
    for _ in range(3):
        await step(b, c)
    assert shares(b, c) == [4, 4]
    assert believed(b) | believed(c) == ALL


async def test_replicas_that_see_the_same_free_lease_do_not_both_get_it(make: Make, boot_clock: Clock) -> None:
    keepers = [await make(name) for name in "abcd"]
    seen = LeaseView(CAPTURE, None, 0)
    await asyncio.gather(*(keeper._take(keeper.replica, seen, 0) for keeper in keepers))
    assert sum(CAPTURE in keeper.held for keeper in keepers) == 1


async def test_a_lease_that_changed_hands_since_the_look_is_not_taken(make: Make, boot_clock: Clock) -> None:
    a, b = await make("a"), await make("b")
    await a._take(a.replica, LeaseView(CAPTURE, None, 0), 0)
    await a.stop()  # free again, with a higher fence
    await b._take(b.replica, LeaseView(CAPTURE, None, 0), 0)
    assert not b.held


async def test_starting_leaves_existing_leases_unchanged(make: Make, boot_clock: Clock, state: Database) -> None:
    a = await make("a")
    await step(a)
    await asyncio.gather(*(make(name) for name in "bcd"))
    found = [lease async for lease in state[LEASES].find({"fence": {"$exists": True}})]
    assert {lease["_id"] for lease in found} == ALL
    assert all(lease["holder"] == a.replica and lease["fence"] == 1 for lease in found)


# Expiry


async def test_a_silent_holder_is_replaced_after_the_takeover_time_and_not_before(
    make: Make, boot_clock: Clock
) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    await step(b)
    boot_clock.forward(PATIENCE * TTL_S - 0.1)
    await step(b)
    assert believed(b) == {CAPTURE}, "the capture lease is taken over sooner"
    boot_clock.forward(0.2)
    await step(b)
    assert believed(b) == ALL
    assert fences(b) == dict.fromkeys(ALL, 2)
    assert all(held.after_expiry for held in b.held.values()), "the last writes of a silent holder are in doubt"


async def test_every_heartbeat_restarts_the_takeover_time(make: Make, boot_clock: Clock) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    for _ in range(5):
        await step(b)
        boot_clock.forward(PATIENCE * TTL_S - 0.1)
        await a._renew()
    await step(b)
    assert believed(b) == set()


async def test_a_holder_stops_trusting_its_leases_before_anyone_may_take_them(make: Make, boot_clock: Clock) -> None:
    keeper = await make("a")
    await step(keeper)
    assert keeper.time_left_s() == pytest.approx(BELIEF * TTL_S)
    boot_clock.forward(BELIEF * TTL_S - 0.1)
    assert believed(keeper) == ALL
    boot_clock.forward(0.2)
    assert believed(keeper) == set()
    assert keeper.time_left_s() < 0
    assert BELIEF < 1 < PATIENCE


async def test_trust_in_a_lease_counts_from_before_its_renewal_was_sent(state: Database, boot_clock: Clock) -> None:
    async def take_four_seconds() -> None:
        boot_clock.forward(4.0)

    leases = Interleaved(state[LEASES], "update_one", after=take_four_seconds)
    leases.armed = False
    keeper = await maker(leases.database)("a")
    await step(keeper)
    leases.armed = True
    await keeper._renew()
    assert keeper.time_left_s() == pytest.approx(BELIEF * TTL_S - 4.0)


async def test_a_replica_that_was_declared_expired_starts_over_without_leases(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    wake = Wake()
    a = await make("a", wake=wake)
    await step(a)
    b = await make("b")
    await step(b)
    old_name = a.replica
    boot_clock.forward(PATIENCE * TTL_S + 1)
    await step(b)
    assert believed(a) == set(), "a frozen replica must know this on waking, before any request"
    told = asyncio.create_task(wake.wait(2 * HANG_S))
    await asyncio.sleep(0)
    await a._renew()
    async with asyncio.timeout(HANG_S):
        await told
    assert a.held == {}
    assert a.replica != old_name
    for _ in range(3):
        await step(b, a)
    assert shares(a, b) == [4, 4]
    assert all(a.held[name].fence == 3 for name in a.held)
    assert await state[LEASES].find_one({"_id": f"replica:{old_name}"}) is None, "its record is no longer needed"


async def test_a_holder_that_renews_at_the_last_moment_is_not_declared_expired(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    await step(b)
    boot_clock.forward(PATIENCE * TTL_S + 1)
    seen = await state[LEASES].find_one({"_id": f"replica:{a.replica}"})
    assert seen is not None
    await a._renew()
    # The document that was read is outdated by now.
    await expire_failed(state[LEASES], {a.replica: seen}, {a.replica: PATIENCE * TTL_S + 1}, PATIENCE * TTL_S)
    assert believed(a) == ALL
    name = a.replica
    await a._renew()
    assert (a.replica, believed(a)) == (name, ALL)


@pytest.mark.parametrize("seed", range(4))
async def test_no_two_replicas_ever_trust_a_lease_on_the_same_partition(
    make: Make, boot_clock: Clock, seed: int
) -> None:
    generator = random.Random(seed)
    keepers = [await make(name) for name in "abc"]
    frozen_until_s = dict.fromkeys(range(3), 0.0)
    newest: dict[str, int] = {}
    for _ in range(120):
        boot_clock.forward(generator.choice([0.1, 1.0, 3.0]))
        number = generator.randrange(3)
        if generator.random() < 0.1:
            frozen_until_s[number] = boot_clock.now_s + generator.uniform(5, 25)
        if boot_clock.now_s >= frozen_until_s[number]:
            await generator.choice([keepers[number]._renew, keepers[number]._look])()
        # Two replicas may both believe to capture: the queue fences the older one.
        believers = Counter(name for keeper in keepers for name in believed(keeper) if name != CAPTURE)
        for name, count in believers.items():
            assert count == 1, f"{name} has {count} believers (seed {seed})"
        for keeper in keepers:
            for name in believed(keeper) - {CAPTURE}:
                assert keeper.held[name].fence >= newest.get(name, 0), "fences only grow"
                newest[name] = keeper.held[name].fence
    assert max(newest.values()) > 2, "leases changed hands"
