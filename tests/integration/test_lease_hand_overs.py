"""How a lease changes hands on a real MongoDB: given back, left behind by the dead, or taken away."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.conftest import Clock, Database, eventually
from tests.support.keepers import ALL, DOUBTS_S, TTL_S, Make, believed, fences, step
from tests.support.waiting import HANG_S
from tsync_stream.cluster.assignment import CAPTURE, Held, LeaseView, partition_lease
from tsync_stream.cluster.identity import Identity, is_dead, own_identity
from tsync_stream.cluster.lease_documents import replica_document
from tsync_stream.cluster.leases import PATIENCE, LeaseKeeper
from tsync_stream.core.wake import Wake
from tsync_stream.state.database import LEASES

# Given back, and left behind


async def test_a_clean_stop_hands_over_at_once(make: Make, boot_clock: Clock, state: Database) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    await a.stop()
    assert believed(a) == set()
    await step(b)
    assert believed(b) == ALL
    assert fences(b) == dict.fromkeys(ALL, 2)
    assert not any(held.after_expiry for held in b.held.values()), "a clean stop leaves nothing in doubt"
    assert await state[LEASES].find_one({"_id": f"replica:{a.replica}"}) is None


async def test_a_dead_process_on_this_machine_is_replaced_at_once(make: Make, boot_clock: Clock) -> None:
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

    async def wait(lease: Held) -> bool:
        asked.append(lease.name)
        await in_flight.wait()
        return clean

    a = await make("a", before_giving_back=wait)
    await step(a)
    b = await make("b")
    await a._renew()
    giving = asyncio.create_task(a._look())
    await eventually(lambda: bool(asked))
    assert asked[0] not in believed(a), "no new work may start under it"
    assert a.still_ours(asked[0], 1), "started work may finish"
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


async def test_a_stop_records_doubt_for_each_lease(make: Make, boot_clock: Clock) -> None:
    not_clean = {CAPTURE, partition_lease(3)}

    async def in_doubt(lease: Held) -> bool:
        return lease.name not in not_clean

    a = await make("a", before_giving_back=in_doubt)
    await step(a)
    await a.stop()
    b = await make("b")
    await step(b)
    assert {name for name, held in b.held.items() if held.after_expiry} == not_clean
    await b.stop()
    c = await make("c")
    await step(c)
    assert believed(c) == ALL
    assert not any(held.after_expiry for held in c.held.values()), "the next clean stop ends the doubt"


class LateReplies:
    """The leases on a real server that has done a write some time before its reply arrives."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection
        self.done, self.arriving = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def update_one(self, *args: Any, **options: Any) -> Any:
        result = await self._collection.update_one(*args, **options)
        self.done.set()
        await self.arriving.wait()
        return result


@pytest.mark.parametrize("clean", [True, False])
async def test_a_stop_while_leases_are_being_taken_passes_on_what_they_came_with(
    make: Make, boot_clock: Clock, clean: bool
) -> None:
    async def says(_lease: Held) -> bool:
        return clean

    before = await make("before", before_giving_back=says)
    await step(before)
    await before.stop()
    a = await make("a", before_giving_back=as_it_came)
    await a._renew()
    replies = a._collection = LateReplies(a._collection)  # type: ignore[assignment]
    looking = asyncio.create_task(a._look())
    await replies.done.wait()
    looking.cancel()
    stopping = asyncio.create_task(a.stop())
    await asyncio.wait([looking])
    replies.arriving.set()
    await stopping
    b = await make("b")
    await step(b)
    assert believed(b) == ALL
    assert all(held.after_expiry is not clean for held in b.held.values())


async def as_it_came(lease: Held) -> bool:
    """The answer of a replica that did nothing under a lease."""
    return not lease.after_expiry


@pytest.mark.parametrize("over", [True, False])
async def test_doubts_outlive_a_holder_that_crashes_before_they_are_over(
    make: Make, boot_clock: Clock, over: bool
) -> None:
    """In two crashes shortly after one another, requests of the first holder may still be on their way."""
    await step(await make("a"))
    b = await took_over(make, boot_clock, "b")
    assert not any(held.doubted_before for held in b.held.values())
    if over:
        boot_clock.forward(DOUBTS_S)
        await step(b)
    c = await took_over(make, boot_clock, "c")
    assert all(held.doubted_before is not over for held in c.held.values())


async def took_over(make: Make, boot_clock: Clock, name: str) -> LeaseKeeper:
    """A replica that has all leases, because the others have not renewed them for long enough."""
    keeper = await make(name)
    await step(keeper)
    boot_clock.forward(PATIENCE * TTL_S + 0.1)
    await step(keeper)
    assert believed(keeper) == ALL
    assert all(held.after_expiry for held in keeper.held.values())
    return keeper


@pytest.mark.parametrize("clean", [True, False])
async def test_doubts_that_were_given_back_are_passed_on(make: Make, boot_clock: Clock, clean: bool) -> None:
    async def says(_lease: Held) -> bool:
        return clean

    a = await make("a", before_giving_back=says)
    await step(a)
    await a.stop()
    b = await make("b")
    await step(b)
    assert all(held.doubted_before is not clean for held in b.held.values())


# Fences, and leases that MongoDB shows in other hands


async def test_a_holder_can_raise_its_own_fence(make: Make, boot_clock: Clock) -> None:
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


async def test_only_the_holder_can_raise_a_fence(make: Make, boot_clock: Clock) -> None:
    a = await make("a")
    await step(a)
    b = await make("b")
    assert await b.raise_fence(CAPTURE) is None
    boot_clock.forward(TTL_S)
    assert await a.raise_fence(CAPTURE) is None, "not while it does not trust the lease"
    assert not await b.confirm(CAPTURE, 1)
    assert await a.confirm(CAPTURE, 1)


async def test_a_lease_that_somebody_else_took_is_no_longer_trusted(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    wake = Wake()
    a = await make("a", wake=wake)
    await step(a)
    await state[LEASES].update_one({"_id": CAPTURE}, {"$set": {"holder": "b.1"}, "$inc": {"fence": 1}})
    announced = replica_document("b.1", Identity("b", "", 1, ""), {}, a._membership.announced)
    await state[LEASES].insert_one(announced)
    told = asyncio.create_task(wake.wait(2 * HANG_S))
    await asyncio.sleep(0)
    await a._look()
    assert CAPTURE not in a.held
    async with asyncio.timeout(HANG_S):
        await told
    assert await a.raise_fence(CAPTURE) is None


async def test_a_lease_taken_under_an_expired_identity_is_not_trusted(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    a = await make("a")
    before = a.replica
    await state[LEASES].update_one({"_id": f"replica:{before}"}, {"$set": {"expired": True}})
    await a._renew()
    await a._take(before, LeaseView(CAPTURE, None, 0), 0)
    assert a.replica != before
    assert believed(a) == set()
    b = await make("b")
    await step(b)
    assert b.held[CAPTURE].after_expiry


async def test_an_expired_replica_takes_nothing_until_it_has_a_new_identity(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    a = await make("a")
    await state[LEASES].update_one({"_id": f"replica:{a.replica}"}, {"$set": {"expired": True}})
    await a._look()
    assert a.held == {}
    await step(a)
    await step(a)
    assert believed(a) == ALL


async def test_a_lease_that_is_being_given_back_when_its_replica_stops_is_clean_all_the_same(
    make: Make, state: Database
) -> None:
    entered, finished = asyncio.Event(), asyncio.Event()

    async def slow(_lease: str) -> bool:
        entered.set()
        await finished.wait()
        return True

    leaving = await make("a", before_giving_back=slow)
    await step(leaving)
    await make("b")
    looking = asyncio.create_task(step(leaving))
    await entered.wait()
    looking.cancel()
    await asyncio.wait([looking])
    finished.set()
    await leaving.stop()
    leases = [lease async for lease in state[LEASES].find({"fence": {"$exists": True}})]
    assert leases
    assert all(lease["holder"] is None and lease["clean"] for lease in leases)
