"""Leases on a real MongoDB: one holder each, handed over in time, never believed in by two at once."""

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from tests.integration.conftest import Clock, Database, eventually
from tests.support.keepers import ALL, TTL_S, Make, believed, fences, maker, shares, step
from tsync_stream.cluster.assignment import CAPTURE, LeaseView, partition_lease
from tsync_stream.cluster.expiry import expire_stale
from tsync_stream.cluster.identity import Identity, is_dead, own_identity
from tsync_stream.cluster.leases import BELIEF, PATIENCE
from tsync_stream.core.wake import Wake
from tsync_stream.state.database import LEASES


@pytest.fixture
def make(state: Database) -> Make:
    return maker(state)


# Sharing


async def test_one_replica_takes_every_lease_at_once(make: Make, boot_clock: Clock) -> None:
    keeper = await make("a")
    await step(keeper)
    assert believed(keeper) == ALL
    assert fences(keeper) == dict.fromkeys(ALL, 1)
    assert not any(held.after_expiry for held in keeper.held.values())
    assert keeper.live_replicas == 1


async def test_replicas_share_evenly_as_they_come_and_go(make: Make, boot_clock: Clock) -> None:
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


async def test_two_who_see_the_same_free_lease_do_not_both_get_it(make: Make, boot_clock: Clock) -> None:
    keepers = [await make(name) for name in "abcd"]
    seen = LeaseView(CAPTURE, None, 0)
    await asyncio.gather(*(keeper._take(keeper.replica, seen) for keeper in keepers))
    assert sum(CAPTURE in keeper.held for keeper in keepers) == 1


async def test_a_lease_that_changed_hands_since_it_was_seen_is_not_taken(make: Make, boot_clock: Clock) -> None:
    a, b = await make("a"), await make("b")
    await a._take(a.replica, LeaseView(CAPTURE, None, 0))
    await a.stop()  # free again, with another fence
    await b._take(b.replica, LeaseView(CAPTURE, None, 0))
    assert not b.held


async def test_a_start_leaves_existing_leases_as_they_are(make: Make, boot_clock: Clock, state: Database) -> None:
    a = await make("a")
    await step(a)
    await asyncio.gather(*(make(name) for name in "bcd"))
    found = [lease async for lease in state[LEASES].find({"fence": {"$exists": True}})]
    assert {lease["_id"] for lease in found} == ALL
    assert all(lease["holder"] == a.replica and lease["fence"] == 1 for lease in found)


# Expiry


async def test_a_silent_holder_is_followed_after_patience_and_not_before(make: Make, boot_clock: Clock) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    await step(b)
    boot_clock.forward(PATIENCE * TTL_S - 0.1)
    await step(b)
    assert believed(b) == {CAPTURE}, "which is followed sooner"
    boot_clock.forward(0.2)
    await step(b)
    assert believed(b) == ALL
    assert fences(b) == dict.fromkeys(ALL, 2)
    assert all(held.after_expiry for held in b.held.values()), "the last writes of a silent holder are doubtful"


async def test_patience_begins_again_with_every_heartbeat(make: Make, boot_clock: Clock) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    for _ in range(5):
        await step(b)
        boot_clock.forward(PATIENCE * TTL_S - 0.1)
        await a._renew()
    await step(b)
    assert believed(b) == set()


async def test_a_holder_stops_believing_before_anybody_may_follow(make: Make, boot_clock: Clock) -> None:
    keeper = await make("a")
    await step(keeper)
    assert keeper.time_left_s() == pytest.approx(BELIEF * TTL_S)
    boot_clock.forward(BELIEF * TTL_S - 0.1)
    assert believed(keeper) == ALL
    boot_clock.forward(0.2)
    assert believed(keeper) == set()
    assert keeper.time_left_s() < 0
    assert BELIEF < 1 < PATIENCE


async def test_belief_counts_from_before_the_renewal_was_sent(
    make: Make, boot_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = await make("a")
    await step(keeper)
    renew = keeper._collection.update_one

    async def slow(*arguments: Any, **options: Any) -> Any:
        result = await renew(*arguments, **options)
        boot_clock.forward(4.0)
        return result

    monkeypatch.setattr(keeper._collection, "update_one", slow)
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
    assert believed(a) == set(), "a frozen replica must find so on waking, before it asks anybody"
    told = asyncio.create_task(wake.wait(5.0))
    await asyncio.sleep(0)
    await a._renew()
    async with asyncio.timeout(1):
        await told
    assert a.held == {}
    assert a.replica != old_name
    for _ in range(3):
        await step(b, a)
    assert shares(a, b) == [4, 4]
    assert all(a.held[name].fence == 3 for name in a.held)
    assert await state[LEASES].find_one({"_id": f"replica:{old_name}"}) is None, "nobody needs its record any more"


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
    # What was read of it is old by now.
    await expire_stale(state[LEASES], {a.replica: seen}, {a.replica: PATIENCE * TTL_S + 1}, PATIENCE * TTL_S)
    assert believed(a) == ALL
    name = a.replica
    await a._renew()
    assert (a.replica, believed(a)) == (name, ALL)


@pytest.mark.parametrize("seed", range(4))
async def test_no_two_replicas_ever_believe_in_one_partition(make: Make, boot_clock: Clock, seed: int) -> None:
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
        # Of two that believe to capture, the queue shuts the older one out.
        believers = Counter(name for keeper in keepers for name in believed(keeper) if name != CAPTURE)
        for name, count in believers.items():
            assert count == 1, f"{name} has {count} believers (seed {seed})"
        for keeper in keepers:
            for name in believed(keeper) - {CAPTURE}:
                assert keeper.held[name].fence >= newest.get(name, 0), "fences only grow"
                newest[name] = keeper.held[name].fence
    assert max(newest.values()) > 2, "leases changed hands"


# Ends


async def test_a_clean_stop_hands_over_at_once(make: Make, boot_clock: Clock, state: Database) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    await a.stop()
    assert believed(a) == set()
    await step(b)
    assert believed(b) == ALL
    assert fences(b) == dict.fromkeys(ALL, 2)
    assert not any(held.after_expiry for held in b.held.values()), "whoever stops cleanly has finished"
    assert await state[LEASES].find_one({"_id": f"replica:{a.replica}"}) is None


async def test_a_dead_process_of_this_machine_is_followed_at_once(make: Make, boot_clock: Clock) -> None:
    program = (
        "import json; from tsync_stream.cluster.identity import own_identity; "
        "print(json.dumps(own_identity().to_bson()))"
    )
    printed = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout
    dead = Identity(**json.loads(printed))
    assert is_dead(dead)
    a = await make("a", identity=dead)
    await step(a)
    b = await make("b")
    await step(b)
    assert believed(b) == ALL
    assert all(held.after_expiry for held in b.held.values())


async def test_a_live_process_of_this_machine_keeps_its_leases(make: Make, boot_clock: Clock) -> None:
    alive = own_identity()
    assert not is_dead(alive)
    a = await make("a", identity=alive)
    await step(a)
    b = await make("b")
    await step(b)
    assert believed(b) == set()


@pytest.mark.parametrize("clean", [True, False])
async def test_a_lease_is_given_back_only_when_nothing_uses_it(
    make: Make, boot_clock: Clock, state: Database, clean: bool
) -> None:
    in_flight, asked = asyncio.Event(), []

    async def wait(lease: str) -> bool:
        asked.append(lease)
        await in_flight.wait()
        return clean

    a = await make("a", before_giving_back=wait)
    await step(a)
    b = await make("b")
    await a._renew()
    giving = asyncio.create_task(a._look())
    await eventually(lambda: bool(asked))
    assert asked[0] not in believed(a), "nothing new may begin under it"
    assert a.still_ours(asked[0], 1), "what was begun may be finished"
    assert not a.still_ours(asked[0], 2)
    await step(b)
    assert believed(b) == set()
    stored = await state[LEASES].find_one({"_id": asked[0]})
    assert stored is not None
    assert stored["holder"] == a.replica
    in_flight.set()
    await giving
    assert not any(a.still_ours(name, 1) for name in asked)
    await step(b)
    assert believed(b) == set(asked)
    assert len(asked) == 4
    assert all(held.after_expiry is not clean for held in b.held.values())


async def test_a_stop_that_leaves_something_in_doubt_says_so_lease_by_lease(make: Make, boot_clock: Clock) -> None:
    doubtful = {CAPTURE, partition_lease(3)}

    async def in_doubt(lease: str) -> bool:
        return lease not in doubtful

    a = await make("a", before_giving_back=in_doubt)
    await step(a)
    await a.stop()
    b = await make("b")
    await step(b)
    assert {name for name, held in b.held.items() if held.after_expiry} == doubtful
    await b.stop()
    c = await make("c")
    await step(c)
    assert believed(c) == ALL
    assert not any(held.after_expiry for held in c.held.values()), "and the next one who stops cleanly unsays it"


# One lease under several fences, and what MongoDB knows better


async def test_a_fence_is_counted_up_without_a_change_of_hands(make: Make, boot_clock: Clock) -> None:
    a = await make("a")
    await step(a)
    raised = await a.raise_fence(CAPTURE)
    assert raised is not None
    assert (raised.fence, a.holding(CAPTURE)) == (2, raised)
    assert await a.confirm(CAPTURE, 2)
    assert not await a.confirm(CAPTURE, 1)
    await step(a)
    assert a.holding(CAPTURE) == raised
    await a.stop()
    b = await make("b")
    await step(b)
    assert b.held[CAPTURE].fence == 3


async def test_only_the_holder_counts_a_fence_up(make: Make, boot_clock: Clock) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    assert await b.raise_fence(CAPTURE) is None
    boot_clock.forward(TTL_S)
    assert await a.raise_fence(CAPTURE) is None, "not while it does not believe in it"
    assert not await b.confirm(CAPTURE, 1)
    assert await a.confirm(CAPTURE, 1)


async def test_a_lease_that_others_took_is_not_believed_in_any_longer(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    wake = Wake()
    a = await make("a", wake=wake)
    await step(a)
    await state[LEASES].update_one({"_id": CAPTURE}, {"$set": {"holder": "b.1"}, "$inc": {"fence": 1}})
    await state[LEASES].insert_one(
        {"_id": "replica:b.1", "heartbeat": 0, "expired": False, "identity": Identity("b", "", 1, "").to_bson()}
    )
    told = asyncio.create_task(wake.wait(5.0))
    await asyncio.sleep(0)
    await a._look()
    assert CAPTURE not in a.held
    async with asyncio.timeout(1):
        await told
    assert await a.raise_fence(CAPTURE) is None


async def test_a_take_that_ends_after_its_replica_expired_is_nothing_to_believe_in(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    a = await make("a")
    before = a.replica
    await state[LEASES].update_one({"_id": f"replica:{before}"}, {"$set": {"expired": True}})
    await a._renew()
    await a._take(before, LeaseView(CAPTURE, None, 0))
    assert a.replica != before
    assert believed(a) == set()
    b = await make("b")
    await step(b)
    assert b.held[CAPTURE].after_expiry


async def test_an_expired_replica_takes_nothing_before_it_has_started_over(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    a = await make("a")
    await state[LEASES].update_one({"_id": f"replica:{a.replica}"}, {"$set": {"expired": True}})
    await a._look()
    assert a.held == {}
    await step(a)
    await step(a)
    assert believed(a) == ALL
