"""Leases when MongoDB fails, and in real time."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.integration.conftest import Client, Clock, Database, eventually, fail
from tests.support.keepers import ALL, TTL_S, Make, believed, fences, shares, step
from tests.support.stack import Names
from tests.support.waiting import HANG_S
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.cluster.leases import CAPTURE_PATIENCE_S, LeaseKeeper
from tsync_stream.core.errors import TsyncError
from tsync_stream.core.model import BEGINNING_OF_TIME
from tsync_stream.state.database import LEASES

# Faults of MongoDB


async def test_a_lease_whose_reply_was_lost_is_adopted(
    make: Make, boot_clock: Clock, client: Client, mongo_names: Names
) -> None:
    before = await make("b")
    await step(before)
    await before.stop()
    keeper = await make("a")
    await fail(
        client, mongo_names, "update", writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"}
    )
    with pytest.raises(TsyncError):
        await keeper._look()
    lost = ALL - believed(keeper)
    # One, or two: MongoDB may let two commands fail that come at the same moment.
    assert 1 <= len(lost) < len(ALL), "the others are taken side by side"
    async with asyncio.timeout(HANG_S):
        while believed(keeper) != ALL:  # the write becomes visible once the majority has it
            await keeper._look()
    assert fences(keeper) == dict.fromkeys(ALL, 2)
    adopted = {name for name, held in keeper.held.items() if held.after_expiry}
    assert adopted == lost, "what was done under it before is unknown"


async def test_a_holder_that_cannot_renew_stops_trusting_its_leases_and_recovers(
    make: Make, boot_clock: Clock, client: Client, mongo_names: Names
) -> None:
    keeper = await make("a")
    await step(keeper)
    await fail(client, mongo_names, "update", times=10, errorCode=1)
    for _ in range(3):
        boot_clock.forward(TTL_S / 3)
        with pytest.raises(TsyncError):
            await keeper._renew()
    assert believed(keeper) == set()
    await client.admin.command("configureFailPoint", "failCommand", mode="off")
    await keeper._renew()
    assert believed(keeper) == ALL, "nobody has taken them meanwhile"
    assert fences(keeper) == dict.fromkeys(ALL, 1)


async def test_a_renewal_advances_the_operation_time_for_reads(make: Make, boot_clock: Clock) -> None:
    keeper = await make("a")
    await keeper._renew()
    first = keeper.operation_time
    assert first > BEGINNING_OF_TIME
    await keeper._look()
    assert keeper.operation_time > first, "a new lease needs a later time"


async def test_vanished_leases_are_recreated_and_everything_before_is_in_doubt(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    a, b = await make("a"), await make("b")
    await step(a, b)
    await step(a, b)
    await state[LEASES].drop()
    for _ in range(3):
        await step(a, b)
    assert believed(a) | believed(b) == ALL
    assert not believed(a) & believed(b)
    assert all(held.after_expiry for keeper in (a, b) for held in keeper.held.values())


# Standing aside, and a quiet capturing replica


async def test_a_replica_gives_its_leases_back_while_it_cannot_reach_what_others_can(
    make: Make, boot_clock: Clock
) -> None:
    unreachable: list[str] = []
    a = await make("a", reach=lambda: {"unreachable": unreachable, "reachable": []})
    b = await make("b", reach=lambda: {"unreachable": [], "reachable": ["typesense"]})
    for _ in range(3):
        await step(a, b)
    assert shares(a, b) == [4, 4]
    unreachable.append("typesense")
    for _ in range(3):
        await step(a, b)
    assert (believed(a), believed(b)) == (set(), ALL)
    assert not any(held.after_expiry for held in b.held.values()), "leases that were given back leave nothing in doubt"
    unreachable.clear()
    for _ in range(3):
        await step(a, b)
    assert shares(a, b) == [4, 4]


async def test_a_quiet_holder_loses_only_the_capture_lease(make: Make, boot_clock: Clock) -> None:
    a, b = await make("a"), await make("b")
    for _ in range(3):
        await step(a, b)
    quiet, other = (a, b) if CAPTURE in believed(a) else (b, a)
    partitions = believed(quiet) - {CAPTURE}
    boot_clock.forward(CAPTURE_PATIENCE_S - 1)
    await step(other)
    assert CAPTURE not in believed(other)
    boot_clock.forward(1.5)
    await step(other)
    assert CAPTURE in believed(other)
    assert not partitions & believed(other)
    await step(quiet)
    assert believed(quiet) == partitions, "it notices, and keeps the others"


# In real time


@pytest.fixture
async def keeping() -> AsyncIterator[Callable[[LeaseKeeper], asyncio.Task[None]]]:
    """Run keepers as a replica does; those that are left are ended after the test."""
    tasks = []

    def run(keeper: LeaseKeeper) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(keeper.keep()))
        return tasks[-1]

    yield run
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_crashed_replica_is_replaced_in_time_and_a_newcomer_gets_its_share(
    make: Make, keeping: Callable[[LeaseKeeper], asyncio.Task[None]]
) -> None:
    a, b = await make("a", ttl_s=1.5), await make("b", ttl_s=1.5)
    crash = keeping(a)
    keeping(b)
    await eventually(lambda: shares(a, b) == [4, 4] and believed(a) | believed(b) == ALL)
    crash.cancel()
    await eventually(lambda: believed(b) == ALL)
    assert believed(a) == set()
    c = await make("c", ttl_s=1.5)
    keeping(c)
    await eventually(lambda: shares(b, c) == [4, 4])
