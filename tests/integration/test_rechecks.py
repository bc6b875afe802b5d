"""Rechecks on a real MongoDB: three per key, with growing pauses, and never removed too early."""

from collections.abc import Iterable

import pytest
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from tests.integration.conftest import Clock, Database
from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tsync_stream.capture.entries import Entries
from tsync_stream.core.model import Entry, Key, Operation, Reason, Route, partitioner
from tsync_stream.state.rechecks import PAUSES_IN_DEADLINES, REMOVED_AFTER_S, Recheck, Rechecks

DEADLINE_S = 5.0
FIRST_S, SECOND_S, THIRD_S = (pause * DEADLINE_S for pause in PAUSES_IN_DEADLINES)


@pytest.fixture
async def rechecks(state: Database, boot_clock: Clock) -> Rechecks:
    chosen = Rechecks(state, DEADLINE_S, ["listings"], 1)
    await chosen.start()
    return chosen


def in_doubt(keys: Iterable[Key]) -> list[tuple[int, Entry]]:
    return [(0, Entry("listings", key, Operation.UPDATE, Timestamp(5, 1))) for key in keys]


async def due_keys(rechecks: Rechecks, *partitions: int, limit: int = 100) -> list[Key]:
    return [recheck.key for recheck in await rechecks.due(partitions or [0], limit)]


async def test_a_recheck_is_due_when_the_old_request_can_no_longer_be_alive(
    rechecks: Rechecks, boot_clock: Clock
) -> None:
    assert FIRST_S == 2 * DEADLINE_S
    await rechecks.add(in_doubt(["a"]))
    assert await due_keys(rechecks) == []
    boot_clock.forward(FIRST_S - 0.1)
    assert await due_keys(rechecks) == []
    boot_clock.forward(0.2)
    assert await due_keys(rechecks) == ["a"]
    assert await due_keys(rechecks) == ["a"], "it stays due until it is done"


async def test_the_wait_counts_from_when_the_owner_first_sees_the_recheck(
    rechecks: Rechecks, boot_clock: Clock, state: Database
) -> None:
    await rechecks.add(in_doubt(["a"]))
    boot_clock.forward(1_000)
    new_owner = Rechecks(state, DEADLINE_S, ["listings"], 1)
    assert await due_keys(new_owner) == []
    boot_clock.forward(FIRST_S)
    assert await due_keys(new_owner) == ["a"]


async def test_a_key_is_rechecked_three_times_with_growing_pauses(rechecks: Rechecks, boot_clock: Clock) -> None:
    assert FIRST_S < SECOND_S < THIRD_S
    await rechecks.add(in_doubt(["a"]))
    for pause_s in (FIRST_S, SECOND_S, THIRD_S):
        assert await rechecks.count() == 1
        assert await due_keys(rechecks) == []
        boot_clock.forward(pause_s - 0.1)
        assert await due_keys(rechecks) == []
        boot_clock.forward(0.2)
        await rechecks.done(await rechecks.due([0], 10))
    assert await rechecks.count() == 0
    boot_clock.forward(10 * THIRD_S)
    assert await due_keys(rechecks) == []


async def test_a_new_doubt_restarts_the_rechecks(rechecks: Rechecks, boot_clock: Clock) -> None:
    await rechecks.add(in_doubt(["a"]))
    await due_keys(rechecks)
    boot_clock.forward(FIRST_S + 0.1)
    await rechecks.done(await rechecks.due([0], 10))
    await rechecks.add(in_doubt(["a"]))
    assert await rechecks.count() == 1
    assert await due_keys(rechecks) == []
    boot_clock.forward(FIRST_S - 0.1)
    assert await due_keys(rechecks) == []
    boot_clock.forward(0.2)
    assert [recheck.done for recheck in await rechecks.due([0], 10)] == [0]


@pytest.mark.parametrize("rechecks_before", range(len(PAUSES_IN_DEADLINES)))
async def test_finishing_a_recheck_does_not_remove_a_newer_doubt(
    rechecks: Rechecks, boot_clock: Clock, rechecks_before: int
) -> None:
    await rechecks.add(in_doubt(["a"]))
    in_hand: list[Recheck] = []
    for _ in range(rechecks_before + 1):
        await rechecks.done(in_hand)
        await due_keys(rechecks)
        boot_clock.forward(THIRD_S + 0.1)
        in_hand = await rechecks.due([0], 10)
    assert [recheck.done for recheck in in_hand] == [rechecks_before]
    await rechecks.add(in_doubt(["a"]))
    await rechecks.done(in_hand)
    await due_keys(rechecks)
    boot_clock.forward(FIRST_S + 0.1)
    assert [recheck.done for recheck in await rechecks.due([0], 10)] == [0]


def keys_of(partition: int, partitions: int, route: str = "listings") -> list[str]:
    """Some keys of a partition."""
    partition_of = partitioner(route, partitions)
    return [key for key in map(str, range(100)) if partition_of(key) == partition][:3]


async def test_rechecks_of_a_partition_are_its_owners(state: Database, boot_clock: Clock) -> None:
    rechecks = Rechecks(state, DEADLINE_S, ["listings"], 3)
    own, others = sorted(keys_of(0, 3) + keys_of(2, 3)), keys_of(1, 3)
    await rechecks.add(in_doubt([*own, *others]))
    await due_keys(rechecks, 0, 2)
    boot_clock.forward(FIRST_S + 0.1)
    assert sorted(await due_keys(rechecks, 0, 2)) == own
    assert await due_keys(rechecks, 1) == [], "its owner sees it for the first time"
    assert {recheck.partition for recheck in await rechecks.due([0, 2], 100)} == {0, 2}


@pytest.mark.parametrize("partitions", [1, 3, 8, 13])
async def test_the_owner_of_a_recheck_follows_from_the_current_partition_count(
    state: Database, boot_clock: Clock, partitions: int
) -> None:
    """Whoever stored it, under whatever partition count: it belongs to the owner of the document's entries."""
    keys: list[Key] = [str(number) for number in range(50)]
    await Rechecks(state, DEADLINE_S, ["listings"], 5).add(in_doubt(keys))
    now = Rechecks(state, DEADLINE_S, ["listings"], partitions)
    await due_keys(now, *range(partitions))
    boot_clock.forward(FIRST_S + 0.1)
    route = Route("listings", "shop", "listings", "another target")
    entries = Entries(route, partitions, Reason.CHANGE)
    entries.add_keys(keys)
    for partition in range(partitions):
        expected = sorted(entry.key for entry in entries.by_partition.get(partition, ()))
        assert sorted(await due_keys(now, partition)) == expected


def of_route(route: str, *keys: Key) -> list[tuple[int, Entry]]:
    """In-doubt entries of a route."""
    return [(0, Entry(route, key, Operation.UPDATE, Timestamp(5, 1))) for key in keys]


async def test_the_same_key_of_two_routes_is_two_rechecks_of_their_own_owners(
    state: Database, boot_clock: Clock
) -> None:
    partitions = 8
    key = next(key for key in map(str, range(100)) if partitioner("orders", 8)(key) != partitioner("listings", 8)(key))
    both = Rechecks(state, DEADLINE_S, ["listings", "orders"], partitions)
    assert await both.add([*of_route("listings", key), *of_route("orders", key)]) == 2
    await both.due(range(partitions), 100)
    boot_clock.forward(FIRST_S + 0.1)
    for recheck in await both.due(range(partitions), 100):
        assert recheck.partition == partitioner(recheck.route, partitions)(key)
        assert await both.due([recheck.partition], 100) == [recheck]


async def test_rechecks_of_a_suspended_route_stay_until_it_is_resumed(state: Database, boot_clock: Clock) -> None:
    both = Rechecks(state, DEADLINE_S, ["listings", "orders"], 1)
    await both.add([*of_route("listings", "a"), *of_route("orders", "b")])
    await due_keys(both)
    boot_clock.forward(FIRST_S + 0.1)
    for recheck in await both.due([0], 100, {"orders"}):
        assert recheck.route == "listings"
        await both.done([recheck])
    await due_keys(both)
    boot_clock.forward(THIRD_S + 0.1)
    assert "b" in await due_keys(both)


async def test_rechecks_of_a_removed_route_are_left_for_a_while_and_then_removed(
    state: Database, boot_clock: Clock
) -> None:
    await Rechecks(state, DEADLINE_S, ["orders"], 1).add(of_route("orders", "a", "b"))
    ours = Rechecks(state, DEADLINE_S, ["listings"], 1)
    await ours.add(of_route("listings", "a"))
    for _ in range(2):
        assert await due_keys(ours) == []
        assert await ours.count() == 3, "another replica may know the table better"
        boot_clock.forward(FIRST_S - 1)
    boot_clock.forward(REMOVED_AFTER_S)
    assert await due_keys(ours) == ["a"]
    assert await ours.count() == 1


async def test_a_key_that_was_never_written_is_not_rechecked(rechecks: Rechecks) -> None:
    assert await rechecks.add(in_doubt(["", "a"])) == 1


async def test_lanes_that_look_alternately_do_not_delay_each_other(state: Database, boot_clock: Clock) -> None:
    rechecks = Rechecks(state, DEADLINE_S, ["listings"], 2)
    await rechecks.add(in_doubt([*keys_of(0, 2), *keys_of(1, 2)]))
    for _ in range(11):
        even, odd = await due_keys(rechecks, 0), await due_keys(rechecks, 1)
        boot_clock.forward(FIRST_S / 10)
    assert (sorted(even), sorted(odd)) == (keys_of(0, 2), keys_of(1, 2))


async def test_no_more_rechecks_than_the_limit_are_due_at_once(rechecks: Rechecks, boot_clock: Clock) -> None:
    await rechecks.add(in_doubt(range(10)))
    await due_keys(rechecks)
    boot_clock.forward(FIRST_S + 0.1)
    batches = []
    for _ in range(3):
        batches.append(await rechecks.due([0], 4))
        await rechecks.done(batches[-1])
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(recheck.key for batch in batches for recheck in batch) == list(range(10))


async def test_equal_numbers_of_different_types_are_one_recheck(rechecks: Rechecks) -> None:
    assert await rechecks.add(in_doubt([12, 12.0, 12])) == 1
    assert await rechecks.add(in_doubt([12.0])) == 1
    assert await rechecks.count() == 1


async def test_keys_that_only_python_considers_equal_are_rechecked_separately(rechecks: Rechecks) -> None:
    assert await rechecks.add(in_doubt([1, True, "1", 1.5])) == 4
    assert await rechecks.count() == 4


async def test_a_key_of_any_type_is_rechecked_unchanged(rechecks: Rechecks, boot_clock: Clock) -> None:
    await rechecks.add(in_doubt(KEYS_OF_EVERY_TYPE))
    await due_keys(rechecks)
    boot_clock.forward(FIRST_S + 0.1)
    found = [recheck.entry(Timestamp(9, 9)) for recheck in await rechecks.due([0], 100)]
    assert len(found) == len(KEYS_OF_EVERY_TYPE)
    for key in KEYS_OF_EVERY_TYPE:
        (entry,) = [entry for entry in found if same_as_bson(entry.key, key)]
        assert entry == Entry("listings", key, Operation.CHECK, Timestamp(9, 9))


async def test_without_in_doubt_keys_there_is_nothing_to_do(rechecks: Rechecks) -> None:
    assert await rechecks.add([]) == 0
    await rechecks.done([])
    assert await rechecks.count() == 0


async def test_finished_rechecks_leave_no_timers_behind(rechecks: Rechecks, boot_clock: Clock) -> None:
    await rechecks.add(in_doubt(ObjectId() for _ in range(50)))
    for _ in PAUSES_IN_DEADLINES:
        await due_keys(rechecks)
        boot_clock.forward(THIRD_S + 0.1)
        await rechecks.done(await rechecks.due([0], 100))
    await due_keys(rechecks)
    assert rechecks._due_s == {}
