"""Replicas with different settings on a real MongoDB never hold leases at the same time, whatever the timing."""

import asyncio

import pytest

from tests.integration.conftest import Clock, Database
from tests.support.interleaved import Interleaved
from tests.support.keepers import ALL, COMMON, TTL_S, Make, believed, maker, shares, step
from tsync_stream.cluster.assignment import Held
from tsync_stream.cluster.leases import PATIENCE, LeaseKeeper
from tsync_stream.cluster.membership import GROUP, ForeignSettings
from tsync_stream.core.health import Health
from tsync_stream.state.database import LEASES

OTHER = {**COMMON, "DATE_UNIT": "ms"}
THIRD = {**COMMON, "TYPESENSE_COLLECTION_NAME": "elsewhere"}


async def rounds(*keepers: LeaseKeeper) -> None:
    """As many steps as it takes to see that a heartbeat moves."""
    for _ in range(3):
        await step(*keepers)


async def waits(*members: LeaseKeeper, newcomer: LeaseKeeper) -> None:
    """Rounds in which the newcomer sees the members live, and has to end."""
    with pytest.raises(ForeignSettings):
        await rounds(*members, newcomer)


async def test_a_replica_with_other_settings_takes_no_lease_and_ends(make: Make, boot_clock: Clock) -> None:
    member = await make("a")
    await step(member)
    canary = await make("b", common=OTHER)
    with pytest.raises(ForeignSettings, match=r"DATE_UNIT is ms here, and s there.*STATE_DATABASE"):
        await rounds(member, canary)
    assert not canary.held
    await step(member)
    assert believed(member) == ALL, "the other replica does not count as live"
    assert member.live_replicas == 1


async def test_the_order_of_shared_settings_does_not_matter(make: Make, boot_clock: Clock) -> None:
    a, b = await make("a"), await make("b", common=dict(reversed(COMMON.items())))
    for _ in range(3):
        await step(a, b)
    assert shares(a, b) == [4, 4]


async def test_of_two_new_groups_with_different_settings_one_takes_everything(make: Make, boot_clock: Clock) -> None:
    for name in ("a", "b", "c", "d"):
        one, other = await make(name), await make(f"other {name}", common=OTHER)
        await asyncio.gather(one._look(), other._look())
        await asyncio.gather(one._look(), other._look())
        assert {len(one.held), len(other.held)} == {0, len(ALL)}
        for keeper in (one, other):
            await keeper.stop()
        await keeper._collection.delete_many({})


async def test_new_settings_take_over_one_lease_ttl_after_the_last_old_member_left(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    old = await make("a")
    await step(old)
    await old.stop()
    health = Health()
    new = await make("b", common=OTHER, health=health)
    boot_clock.forward(TTL_S - 1)
    await step(new)
    assert not new.held
    assert "continues with its own" in health.problems["settings"].text
    boot_clock.forward(2)
    for _ in range(2):
        await step(new)
    assert believed(new) == ALL
    assert health.status == "green"
    group = await state[LEASES].find_one({"_id": GROUP})
    assert group is not None
    assert group["settings"] == OTHER


async def test_a_group_survives_the_restart_of_its_only_member(make: Make, boot_clock: Clock) -> None:
    old = await make("a")
    await step(old)
    await old.stop()
    foreign = await make("b", common=THIRD)
    await step(foreign)
    boot_clock.forward(TTL_S - 1)
    again = await make("a again")
    await step(again)
    await waits(again, newcomer=foreign)
    boot_clock.forward(TTL_S / 2)
    await step(again)
    assert believed(again) == ALL


async def test_nobody_takes_over_from_a_member_that_may_still_be_alive(make: Make, boot_clock: Clock) -> None:
    frozen, health = await make("a"), Health()
    await step(frozen)
    new = await make("b", common=OTHER, health=health)
    for _ in range(4):
        boot_clock.forward(PATIENCE * TTL_S / 4)
        await step(new)
        assert not new.held
    boot_clock.forward(1)
    await step(new)  # now it is marked expired and can no longer renew
    boot_clock.forward(TTL_S + 1)
    for _ in range(2):
        await step(new)
    assert believed(new) == ALL
    assert all(held.after_expiry for held in new.held.values())
    assert not believed(frozen)
    for _ in range(2):
        await step(new, frozen)
    assert not frozen.held, "it wakes and is no longer a member"
    assert believed(new) == ALL


async def test_a_member_that_joins_during_a_takeover_makes_it_fail(make: Make, boot_clock: Clock) -> None:
    old = await make("a")
    await step(old)
    await old.stop()
    new = await make("b", common=OTHER)
    await step(new)
    boot_clock.forward(TTL_S + 1)
    late = await make("c")
    # Both have looked before either acts: the one that takes over has not seen the new member.
    documents = {it["_id"]: it async for it in new._collection.find({"_id": {"$ne": f"replica:{late.replica}"}})}
    await late._look()
    await new._membership.look(new.replica, documents)
    group = await new._collection.find_one({"_id": GROUP})
    assert group is not None
    assert group["settings"] == COMMON
    await late._look()
    assert believed(late) == ALL


async def test_a_takeover_loses_to_a_member_that_joined_after_the_look(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    joined: list[LeaseKeeper] = []

    async def join() -> None:
        joined.append(await make("c"))
        await joined[0]._look()

    leases = Interleaved(state[LEASES], "find_one_and_update", before=join)
    leases.armed = False
    old = await make("a")
    await step(old)
    await old.stop()
    new = await maker(leases.database)("b", common=OTHER)
    await step(new)
    boot_clock.forward(TTL_S + 1)
    leases.armed = True
    for _ in range(2):
        await new._look()
    (late,) = joined
    assert believed(late) == ALL
    assert not new.held


async def test_a_member_gives_back_what_it_holds_when_the_stored_settings_change(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    health = Health()
    member = await make("a", health=health)
    await step(member)
    assert believed(member) == ALL
    await state[LEASES].update_one({"_id": GROUP}, {"$set": {"settings": THIRD, "digests": ["another"]}})
    await step(member)
    assert not member.held
    problem = health.problems["settings"]
    assert "TYPESENSE_COLLECTION_NAME is listings here, and elsewhere there" in problem.text
    leases = [it async for it in state[LEASES].find({"fence": {"$exists": True}})]
    assert all(lease["holder"] is None and lease["clean"] for lease in leases)


async def test_doubts_of_the_previous_owners_pass_to_the_new_ones(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    async def dirty(lease: Held) -> bool:
        return lease.name != "partition:3"

    old = await make("a", before_giving_back=dirty)
    await step(old)
    await old.stop()
    new = await make("b", common=OTHER)
    boot_clock.forward(TTL_S + 1)
    for _ in range(2):
        await step(new)
    assert believed(new) == ALL
    assert all(held.after_expiry for held in new.held.values())


async def test_a_newer_version_that_shares_more_settings_joins_and_adds_them(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    a, b = await make("a"), await make("b", common={**COMMON, "NEW": "1"})
    for _ in range(3):
        await step(a, b)
    assert shares(a, b) == [4, 4]
    c = await make("c", common={**COMMON, "NEW": "2"})
    await waits(a, b, newcomer=c)
    assert not c.held
