"""Replicas with different tables of routes on a real MongoDB: the newer table takes over once all leases are free.

Whatever the timing, members with two tables never hold leases at the same time.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.integration.conftest import Clock, Database
from tests.support.keepers import ALL, COMMON, TABLE, TTL_S, Make, believed, shares, step
from tsync_stream.cluster.assignment import Held, leases_and_replicas
from tsync_stream.cluster.leases import PATIENCE, LeaseKeeper
from tsync_stream.cluster.membership import GROUP, TABLE_CHECK, ForeignSettings
from tsync_stream.core.health import Health
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.generations import effective
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.database import LEASES
from tsync_stream.state.generations import Generations

LISTINGS = TABLE["listings"]
SELLERS = Declaration(Route("sellers", "shop", "sellers", "sellers"))
SECOND = RouteTable([LISTINGS, SELLERS])
THIRD = RouteTable([Declaration(LISTINGS.route, filter={"status": "published"})])


def reindexed(declared: RouteTable, layout: int) -> RouteTable:
    """The table in some layout of the generations of its first route."""
    first = Generations.first("listings", "listings", "listings_1")
    return effective(declared, {"listings": replace(first, layout=layout)})


async def rounds(*keepers: LeaseKeeper, count: int = 3) -> None:
    for _ in range(count):
        await step(*keepers)


async def stored_version(state: Database) -> str:
    group = await state[LEASES].find_one({"_id": GROUP})
    assert group is not None
    return str(group["table"]["version"])


async def test_a_new_table_takes_over_at_once_and_older_replicas_stay_up_and_say_why(
    make: Make, boot_clock: Clock, state: Database, caplog: pytest.LogCaptureFixture
) -> None:
    health = Health()
    old, other = await make("a", health=health), await make("b")
    await rounds(old, other)
    new = await make("c", table=SECOND)
    await rounds(new, old, other)
    assert believed(new) == ALL
    assert not old.held
    assert not other.held
    assert await stored_version(state) == SECOND.version
    problem = health.problems[TABLE_CHECK]
    assert (problem.level, problem.needs_person) == ("degraded", True)
    assert "only there: sellers" in problem.text
    assert "ROUTES_FILE" in problem.text
    assert "this table replaces another one: only here: sellers" in caplog.text
    assert not any(held.after_expiry for held in new.held.values()), "all were given back clean"


async def test_a_new_layout_takes_over_at_once_and_who_has_not_seen_it_waits_without_a_word(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    health = Health()
    first, other = await make("a"), await make("b", health=health)
    await rounds(first, other)
    await first.stop()
    for layout in (1, 2):
        new = await make(f"a{layout}", table=reindexed(TABLE, layout))
        await rounds(new, other)
        assert believed(new) == ALL
        assert not other.held
        assert TABLE_CHECK not in health.problems

        follower = await make(f"b{layout}", table=reindexed(TABLE, layout), health=health)
        await other.stop()
        await rounds(new, follower)
        assert sum(shares(new, follower)) == len(ALL) - 1
        assert min(shares(new, follower)) > 0
        await new.stop()
        other = follower


async def test_a_new_layout_does_not_bring_an_old_file_back(make: Make, boot_clock: Clock, state: Database) -> None:
    """It makes a version that was never in force, of an old file too."""
    health = Health()
    old = await make("old", table=reindexed(TABLE, 1), health=health)
    await rounds(old)
    new = await make("new", table=reindexed(SECOND, 1))
    await rounds(new, old)
    assert believed(new) == ALL
    await old.stop()
    old = await make("old again", table=reindexed(TABLE, 2), health=health)
    await rounds(old, new)
    assert believed(new) == ALL
    assert health.problems[TABLE_CHECK].needs_person
    await new.stop()
    new = await make("new again", table=reindexed(SECOND, 2))
    await rounds(new, old)
    assert believed(new) == ALL
    assert not old.held


async def test_a_table_of_before_takes_over_at_once_where_it_was_put_in_place_of_the_present_one(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    await rounds(first := await make("a"))
    await first.stop()
    await rounds(second := await make("a", table=SECOND, instead_of=TABLE.version))
    other = await make("b", table=SECOND)
    await rounds(second, other)
    await second.stop()
    back = await make("a", instead_of=SECOND.version)
    await rounds(back, other)
    assert await stored_version(state) == TABLE.version
    assert believed(back) == ALL
    assert not other.held

    # Once: if somebody else puts the newer one back, it is ours that is behind.
    await other.stop()
    newer = await make("b", table=SECOND, instead_of=TABLE.version)
    await rounds(newer, back, count=6)
    assert await stored_version(state) == SECOND.version
    assert believed(newer) == ALL
    assert not back.held


async def test_replicas_that_are_restarted_one_after_the_other_share_the_leases_again(
    make: Make, boot_clock: Clock
) -> None:
    old, other = await make("a"), await make("b")
    await rounds(old, other)
    new = await make("a again", table=SECOND)
    await old.stop()
    await rounds(new, other)
    newest = await make("b again", table=SECOND)
    await other.stop()
    await rounds(new, newest)
    assert shares(new, newest) == [4, 4]


async def test_nothing_is_taken_before_the_last_lease_was_given_back(make: Make, boot_clock: Clock) -> None:
    """In the new table a document may belong to another partition than in the old one."""
    finished = asyncio.Event()

    async def slowly(lease: Held) -> bool:
        if lease.name == "partition:3":
            await finished.wait()
        return True

    old = await make("a", before_giving_back=slowly)
    await step(old)
    new = await make("b", table=SECOND)
    await new._look()
    giving_back = asyncio.create_task(old._look())
    for _ in range(5):
        await step(new)
        await old._renew()
    assert not new.held
    finished.set()
    await giving_back
    await step(new)
    assert believed(new) == ALL


async def test_a_replica_that_starts_with_an_older_table_takes_nothing(make: Make, boot_clock: Clock) -> None:
    old = await make("a")
    await step(old)
    new = await make("b", table=SECOND)
    await rounds(old, new)
    await old.stop()
    health = Health()
    again = await make("a again", health=health)
    for _ in range(5):
        boot_clock.forward(TTL_S / 2)
        await step(new, again)
        assert not again.held
    assert believed(new) == ALL
    assert "a live replica has a newer table of routes" in health.problems[TABLE_CHECK].text


async def test_an_older_table_is_back_one_lease_ttl_after_the_last_newer_replica_left(
    make: Make, boot_clock: Clock, state: Database
) -> None:
    health = Health()
    old = await make("a", health=health)
    await step(old)
    new = await make("b", table=SECOND)
    await rounds(old, new)
    await new.stop()
    boot_clock.forward(TTL_S - 1)
    await step(old)
    assert not old.held
    assert health.problems[TABLE_CHECK].level == "degraded", "it is waited out"
    boot_clock.forward(2)
    await rounds(old)
    assert believed(old) == ALL
    assert health.status == "green"
    assert await stored_version(state) == TABLE.version
    newer_again = await make("b again", table=SECOND)
    await rounds(old, newer_again)
    assert not newer_again.held, "its table was in force before this one"
    await old.stop()
    boot_clock.forward(TTL_S + 1)
    await rounds(newer_again)
    assert believed(newer_again) == ALL


@pytest.mark.parametrize("frozen_with", [{"capture"}, ALL])
async def test_a_replica_that_crashes_during_the_hand_over_leaves_its_doubts_to_all(
    make: Make, boot_clock: Clock, frozen_with: set[str]
) -> None:
    async def never(lease: Held) -> bool:
        if lease.name in frozen_with:
            await asyncio.Event().wait()
        return True

    old = await make("a", before_giving_back=never)
    await step(old)
    new = await make("b", table=SECOND)
    await new._look()
    crashing = asyncio.create_task(old._look())
    await asyncio.sleep(0.2)
    crashing.cancel()
    for _ in range(4):
        await step(new)
        assert not new.held
        boot_clock.forward(PATIENCE * TTL_S / 4)
    boot_clock.forward(1)
    await rounds(new)
    assert believed(new) == ALL
    assert all(held.after_expiry for held in new.held.values()), "a document may have moved to any partition"


async def test_of_two_new_tables_one_wins_for_good(make: Make, boot_clock: Clock, state: Database) -> None:
    old = await make("a")
    await step(old)
    second, third = await make("b", table=SECOND), await make("c", table=THIRD)
    await asyncio.gather(second._look(), third._look())
    await rounds(old, second, third, count=6)
    winner = await stored_version(state)
    for _ in range(5):
        boot_clock.forward(TTL_S / 2)
        await step(old, second, third)
        assert await stored_version(state) == winner
    assert {len(second.held), len(third.held)} == {0, len(ALL)}
    assert not old.held


async def test_a_look_from_before_the_hand_over_takes_nothing(make: Make, boot_clock: Clock) -> None:
    old = await make("a")
    new = await make("b", table=SECOND)
    await old._look()
    for name in list(old.held):
        await old._give_back(name)
    documents = await old._read()
    await step(new)
    for name in list(new.held):
        await new._give_back(name)
    # Every lease is free, and looks to the older replica as it did before.
    for name, lease in (await new._read()).items():
        if "fence" in lease:
            documents[name] = {**lease, "group": documents[name]["group"]}
    await old._look_at(documents, *leases_and_replicas(documents, old._names))
    assert not old.held


async def test_settings_are_compared_before_tables(make: Make, boot_clock: Clock, state: Database) -> None:
    old = await make("a")
    await step(old)
    foreign = await make("b", table=SECOND, common={**COMMON, "DATE_UNIT": "ms"})
    with pytest.raises(ForeignSettings, match="DATE_UNIT is ms here"):
        await rounds(old, foreign)
    assert await stored_version(state) == TABLE.version


@pytest.mark.parametrize("seed", range(6))
async def test_replicas_with_two_tables_never_hold_leases_together(make: Make, boot_clock: Clock, seed: int) -> None:
    """Random steps, freezes and restarts of replicas with three tables."""
    chance = random.Random(seed)
    tables = (TABLE, SECOND, THIRD)
    living: list[tuple[RouteTable, LeaseKeeper]] = []

    def together() -> Sequence[str]:
        return sorted({table.version for table, keeper in living if believed(keeper)})

    for number in range(120):
        boot_clock.forward(chance.choice((0.1, 0.5, 2.0)))
        if len(living) < 2 or (len(living) < 5 and chance.random() < 0.1):
            table = chance.choice(tables)
            living.append((table, await make(f"replica {number}", table=table)))
        elif chance.random() < 0.05:
            _, keeper = living.pop(chance.randrange(len(living)))
            if chance.random() < 0.5:  # the others crash
                await keeper.stop()
        for _, keeper in chance.sample(living, chance.randint(1, len(living))):  # the others are frozen for a while
            for task in [asyncio.create_task(do()) for do in chance.sample((keeper._renew, keeper._look), 2)]:
                await task
                assert len(together()) <= 1, together()
