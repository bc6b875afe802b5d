"""A lane: pending before new, synced before acked, no gap is skipped, no in-doubt write forgotten."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lanes import ATTEMPTS, DEADLINE_S, EPOCH, FINGERPRINT, START, Bench, entry, synced
from tests.support.waiting import HANG_S, eventually
from tsync_stream.cluster.assignment import partition_lease
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TierLost, TierRefused, TsyncError
from tsync_stream.core.model import Barrier, BarrierOrder, EpochRef, RecordBatch
from tsync_stream.core.tasks import end_tasks
from tsync_stream.queue.tier import Claimed, Read
from tsync_stream.sync import dispatch
from tsync_stream.sync.batch import SyncBatch, SyncFailed, SyncResult
from tsync_stream.sync.current_queue import IDLE_WAIT_S, ReadLimits
from tsync_stream.sync.owned import check_contiguous

BARRIER = Barrier(BarrierOrder(4, 1, 1), START)


def numbered(*numbers: int, size: int = 1) -> list[RecordBatch]:
    """Record batches of `size` entries each, whose first offsets these are."""
    return [RecordBatch(f"{number + size - 1}-1".encode(), number, [entry(number)] * size) for number in numbers]


def owning(deadline_s: float = DEADLINE_S) -> Bench:
    """A lane whose replica took both partitions over from one that stopped cleanly."""
    chosen = Bench(deadline_s=deadline_s)
    for partition in (0, 1):
        chosen.leases.give(partition, 7)
    return chosen


@pytest.fixture
def bench() -> Bench:
    """The same, with the usual deadline."""
    return owning()


# Contiguous offsets


@given(first=st.integers(1, 10**12), count=st.integers(1, 50), size=st.integers(1, 40))
def test_contiguous_entries_say_which_comes_next(first: int, count: int, size: int) -> None:
    end = first + count * size
    assert check_contiguous(3, first, numbered(*range(first, end, size), size=size)) == end


@given(first=st.integers(1, 10**12), count=st.integers(2, 20), size=st.integers(1, 40), data=st.data())
def test_a_gap_anywhere_means_that_the_tier_is_lost(first: int, count: int, size: int, data: st.DataObject) -> None:
    numbers = list(range(first, first + count * size, size))
    gone = numbers.pop(data.draw(st.integers(0, count - 2)))
    with pytest.raises(TierLost, match=f"partition 3: entry {gone} is gone"):
        check_contiguous(3, first, numbered(*numbers, size=size))


@pytest.mark.parametrize("numbers", [[6, 7], [4, 5], [5, 5], [5, 7, 6], [6, 5]])
def test_only_the_expected_offsets_in_their_order_are_contiguous(numbers: Sequence[int]) -> None:
    with pytest.raises(TierLost):
        check_contiguous(0, 5, numbered(*numbers))


# Reading and acking


async def test_entries_are_synced_and_then_acked(bench: Bench) -> None:
    bench.tier.put(0, "a", "b")
    bench.tier.put(1, "x")
    assert await bench.steps() == [("sync", ["a", "b", "x"]), ("ack", 0, [1, 2]), ("ack", 1, [1])]


async def test_a_record_batch_is_synced_whole_and_acked_by_its_id(bench: Bench) -> None:
    bench.tier.put_together(0, "a", "b", "c")
    bench.tier.put_together(0, "d")
    assert await bench.steps(3) == [("sync", ["a", "b", "c", "d"]), ("ack", 0, [3, 4])]
    bench.tier.put_together(0, "e", "f")
    assert await bench.steps(3) == [("sync", ["e", "f"]), ("ack", 0, [6])]


async def test_a_barrier_within_a_record_batch_has_an_offset_of_its_own(bench: Bench) -> None:
    bench.tier.put_together(0, "a", "b")
    bench.tier.put_together(0, "c", BARRIER, "d", "e")
    await bench.steps()
    assert bench.lane.barriers == {0: (4, BARRIER)}


async def test_pending_entries_of_a_predecessor_come_before_new_ones(bench: Bench) -> None:
    bench.tier.put(0, "a", "b", "c")
    bench.tier.delivered[0] = 2
    assert await bench.steps() == [("sync", ["a", "b"]), ("ack", 0, [1, 2]), ("sync", ["c"]), ("ack", 0, [3])]


async def test_a_new_owner_forgets_known_dead_letters_before_it_syncs(bench: Bench) -> None:
    """It does not know the last owner's dead letters, for example."""
    bench.tier.put(0, "a")
    known: list[int] = []

    async def sync(batch: SyncBatch) -> None:
        known.append(bench.takeovers)
        await synced(batch)

    bench.sync = sync
    await bench.steps()
    assert (known, bench.takeovers) == ([1], 1)
    bench.leases.take(0)
    await bench.steps()
    bench.leases.give(0, 8)
    bench.tier.put(0, "b")
    await bench.steps()
    assert (known, bench.takeovers) == ([1, 2], 2)


async def test_many_pending_entries_are_claimed_in_batches() -> None:
    bench = Bench(batch_size=2)
    bench.leases.give(0, 7)
    bench.tier.put(0, "a", "b", "c", "d", "e")
    bench.tier.delivered[0] = 5
    events = await bench.steps()
    assert [keys for kind, *rest in events if kind == "sync" for keys in rest] == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_lane_that_is_behind_reads_larger_batches_until_it_has_caught_up() -> None:
    bench = Bench(batch_size=2)
    bench.leases.give(0, 7)
    bench.tier.put(0, *map(str, range(9)))
    events = await bench.steps()
    assert [len(keys) for kind, *rest in events if kind == "sync" for keys in rest] == [2, 7]
    bench.tier.put(0, *map(str, range(3)))
    events = await bench.steps()
    assert [len(keys) for kind, *rest in events if kind == "sync" for keys in rest] == [2, 1]


async def test_without_a_lease_nothing_is_read() -> None:
    bench = Bench()
    bench.tier.put(0, "a")
    assert await bench.steps() == []
    assert bench.tier.delivered == {}


async def test_only_owned_partitions_are_read() -> None:
    bench = Bench()
    bench.leases.give(1, 7)
    bench.tier.put(0, "a")
    bench.tier.put(1, "x")
    assert await bench.steps() == [("sync", ["x"]), ("ack", 1, [1])]


async def test_only_batches_with_entries_count_for_the_pace(bench: Bench) -> None:
    bench.tier.put(0, BARRIER)
    await bench.steps()
    assert bench.pace.batch_s == 0.0, "a barrier alone asks nothing of MongoDB and Typesense"
    bench.tier.put(0, "a")
    await bench.steps()
    assert bench.pace.batch_s > 0.0


async def test_a_barrier_is_passed_once_everything_before_it_is_acked(bench: Bench) -> None:
    async def fails_once(batch: SyncBatch) -> None:
        assert bench.lane.barriers == {}
        bench.sync = synced
        batch.result.set_exception(SyncFailed(DependencyUnavailable("away"), in_doubt=False))

    bench.sync = fails_once
    later = replace(BARRIER, order=BarrierOrder(4, 1, 2))
    bench.tier.put(0, "a", BARRIER, "b", later, "c")
    bench.tier.put(1, BARRIER)
    await bench.steps()
    assert bench.lane.barriers == {0: (4, later), 1: (1, BARRIER)}


# Failures


async def test_a_failing_batch_is_retried_until_it_is_synced(bench: Bench) -> None:
    failures = iter([DependencyUnavailable("away"), ConfigurationError("TYPESENSE_API_KEY: refused")])

    async def fails_twice(batch: SyncBatch) -> None:
        cause = next(failures, None)
        if cause is None:
            await synced(batch)
        else:
            batch.result.set_exception(SyncFailed(cause, in_doubt=False))

    bench.sync = fails_twice
    bench.tier.put(0, "a")
    assert await bench.steps() == [("sync", ["a"])] * 3 + [("ack", 0, [1])]


@pytest.mark.parametrize(
    ("cause", "attempts", "level"),
    [
        (
            DependencyUnavailable("Typesense: no answer in time", in_doubt=True, timed_out=True),
            ATTEMPTS,
            "degraded",
        ),
        (DependencyUnavailable("Typesense: 503"), ATTEMPTS, "degraded"),
        (ConfigurationError("TYPESENSE_API_KEY: refused"), 1, "red"),
    ],
    ids=["a time-out", "an outage", "a wrong setting"],
)
async def test_health_tells_after_the_attempts_at_a_batch_and_is_green_once_it_is_synced(
    cause: TsyncError, attempts: int, level: str
) -> None:
    bench = owning(deadline_s=0.001)
    seen: list[str] = []

    async def fails(batch: SyncBatch) -> None:
        seen.append(bench.health.status)
        if len(seen) <= attempts:
            batch.result.set_exception(SyncFailed(cause, in_doubt=False))
        else:
            await synced(batch)

    bench.sync = fails
    bench.tier.put(0, "a")
    assert ("ack", 0, [1]) in await bench.steps()
    assert seen == ["green"] * attempts + [level]
    assert bench.health.status == "green"


@pytest.mark.parametrize("when", ["the last attempt", "an earlier attempt", "an earlier batch"])
async def test_an_in_doubt_write_is_stored_before_the_ack(bench: Bench, when: str) -> None:
    async def in_doubt(batch: SyncBatch) -> None:
        bench.sync = synced
        if when == "an earlier batch":
            batch.result.set_exception(SyncFailed(DependencyUnavailable("slow"), in_doubt=True))
        else:
            batch.result.set_result(SyncResult(in_doubt=["listings"]))

    bench.sync = in_doubt
    bench.tier.put(0, "a", "b")
    events = await bench.steps()
    assert events[-2:] == [("doubt", ["a", "b"]), ("ack", 0, [1, 2])]


async def test_a_lease_lost_during_a_write_puts_the_batch_in_doubt(bench: Bench) -> None:
    async def overtaken(batch: SyncBatch) -> None:
        bench.leases.take(0)
        bench.tier.owners[0] = 8
        await synced(batch)

    bench.sync = overtaken
    bench.tier.put(0, "a", BARRIER)
    bench.tier.put(1, "x")
    events = await bench.steps(3)
    assert ("doubt", ["a"]) in events
    assert [event for event in events if event[0] == "ack"] == [("ack", 1, [1])]
    assert bench.lane.barriers == {}, "the new owner will pass it"


async def test_a_refused_ack_puts_every_entry_of_the_record_batch_in_doubt(bench: Bench) -> None:
    async def overtaken(batch: SyncBatch) -> None:
        bench.tier.owners[0] = 8
        await synced(batch)

    bench.sync = overtaken
    bench.tier.put_together(0, "a", "b", BARRIER, "c")
    events = await bench.steps(3)
    assert [event for event in events if event[0] != "sync"] == [("doubt", ["a", "b", "c"])]
    assert bench.lane.barriers == {}


async def test_entries_whose_ack_is_refused_do_not_count_as_acked(bench: Bench) -> None:
    async def overtaken(batch: SyncBatch) -> None:
        bench.tier.owners[0] = 8
        await synced(batch)

    bench.sync = overtaken
    bench.tier.put_together(0, "a", "b")
    bench.tier.put(1, "x")
    await bench.steps(3)
    assert bench.metrics.total("entries_acked") == 1


async def test_a_write_that_outlives_its_lease_is_in_doubt_even_without_a_new_owner(bench: Bench) -> None:
    async def expires(batch: SyncBatch) -> None:
        bench.leases.take(0)
        await synced(batch)

    bench.sync = expires
    bench.tier.put(0, "a")
    bench.tier.put(1, "x")
    assert await bench.steps(3) == [("sync", ["a", "x"]), ("doubt", ["a"]), ("ack", 0, [1]), ("ack", 1, [1])]


@pytest.mark.parametrize("in_doubt", [True, False])
async def test_a_batch_is_given_up_when_its_lease_is_lost(bench: Bench, in_doubt: bool) -> None:
    async def fails(batch: SyncBatch) -> None:
        bench.leases.take(0)
        batch.result.set_exception(SyncFailed(DependencyUnavailable("away"), in_doubt=in_doubt))

    bench.sync = fails
    bench.tier.put(0, "a")
    with pytest.raises(DependencyUnavailable, match="next owner"):
        await bench.steps()
    assert bench.events == [("sync", ["a"])] + [("doubt", ["a"])] * in_doubt


async def test_a_partition_with_a_newer_owner_is_left_alone(bench: Bench) -> None:
    bench.tier.owners[0] = 9
    bench.leases.stale.add(partition_lease(0))
    bench.tier.put(0, "a")
    with pytest.raises(DependencyUnavailable, match="newer owner"):
        await bench.steps()
    assert bench.events == []


async def test_an_owner_unknown_to_the_state_database_means_that_the_tier_is_lost(bench: Bench) -> None:
    bench.tier.owners[0] = 9
    bench.tier.put(0, "a")
    with pytest.raises(TierLost, match="newer than the state database's"):
        await bench.steps()
    assert bench.events == []


async def test_a_lease_is_released_once_its_batch_is_finished(bench: Bench) -> None:
    going_on = asyncio.Event()

    async def slow(batch: SyncBatch) -> None:
        await going_on.wait()
        await synced(batch)

    bench.sync = slow
    bench.tier.put(0, "a")
    working = asyncio.create_task(bench.steps(4))
    while not bench.events:
        await asyncio.sleep(0)
    first, second = (bench.leases.give_back(partition) for partition in (0, 1))
    released = asyncio.create_task(bench.lane.released(0, first))
    assert await asyncio.wait_for(bench.lane.released(1, second), HANG_S)
    assert not released.done()
    going_on.set()
    assert await asyncio.wait_for(released, HANG_S), "nothing is in doubt"
    assert ("ack", 0, [1]) in await working


async def test_a_lease_is_not_given_back_clean_while_a_write_is_in_doubt(bench: Bench) -> None:
    async def times_out(batch: SyncBatch) -> None:
        assert await bench.lane.released(1, bench.leases.give_back(1))
        batch.result.set_exception(SyncFailed(DependencyUnavailable("slow"), in_doubt=True))
        bench.lane.stop()

    async def unavailable(_in_doubt: object) -> int:
        raise DependencyUnavailable("MongoDB is away")

    bench.sync = times_out
    bench.rechecks.add = unavailable  # type: ignore[method-assign, assignment]
    bench.tier.put(0, "a")
    with pytest.raises(DependencyUnavailable):
        await bench.steps()
    assert not await bench.lane.released(0, bench.leases.give_back(0))


async def test_doubt_lasts_until_the_lease_was_given_back(bench: Bench) -> None:
    """The lane goes on with its other partitions while it is asked whether this one is clean."""
    bench.leases.give(0, 8, after_expiry=True)
    bench.tier.put(0, *range(20))
    bench.tier.delivered[0] = 20
    await bench.steps(1)  # ten of the twenty that are pending: those left are in doubt without a recheck
    leaving = bench.leases.give_back(0)
    await bench.steps(3)
    assert not await bench.lane.released(0, leaving)


@pytest.mark.parametrize("after_expiry", [True, False])
async def test_a_lease_under_which_nothing_was_done_passes_on_the_doubt_it_came_with(
    bench: Bench, after_expiry: bool
) -> None:
    bench.leases.give(0, 8, after_expiry=after_expiry)
    leaving = bench.leases.give_back(0)
    assert await bench.lane.released(0, leaving) is not after_expiry


@pytest.mark.parametrize("taken", [[0], [0, 1]], ids=["nothing waits in what is left", "nothing is left"])
async def test_an_idle_lane_reports_no_failure(bench: Bench, taken: Sequence[int]) -> None:
    """The batch's new owner reports the failure; nothing would ever clear ours."""

    attempts = iter(range(1, ATTEMPTS + 1))

    async def fails_while_leases_go(batch: SyncBatch) -> None:
        if next(attempts) == ATTEMPTS:
            for partition in taken:
                bench.leases.take(partition)
        batch.result.set_exception(SyncFailed(DependencyUnavailable("away"), in_doubt=False))

    bench.sync = fails_while_leases_go
    bench.tier.put(0, "a")
    with pytest.raises(DependencyUnavailable):
        await bench.steps()
    assert bench.health.report()["status"] == "degraded"
    await bench.steps(1)
    assert bench.health.report()["status"] == "green"


async def test_a_lane_that_only_fails_does_not_move(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the stall detector notices: work may wait that nobody reads."""
    read, reads, fails = bench.tier.read, 0, True

    async def fail(*arguments: Any) -> Read:
        nonlocal reads
        reads += 1
        if fails:
            raise DependencyUnavailable("the connection was closed")
        return await read(*arguments)

    moved_s = bench.lane.moved_s
    monkeypatch.setattr(bench.tier, "read", fail)
    running = asyncio.create_task(bench.lane.run())
    await eventually(lambda: reads >= 2)
    assert bench.lane.moved_s == moved_s
    fails = False
    await eventually(lambda: bench.lane.moved_s > moved_s)
    assert set(bench.lane.states.values()) == {"working"}
    await end_tasks([running])


async def test_a_lane_whose_leases_only_expired_keeps_reporting_its_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While MongoDB is away, holding no lease does not mean that another replica does the work."""

    async def refuse(*_: object) -> Read:
        bench.leases.take(0)
        bench.leases.take(1)
        bench.leases.left_s = -1.0
        raise DependencyUnavailable("MongoDB: the connection was closed")

    await bench.steps()
    monkeypatch.setattr(bench.tier, "read", refuse)
    running = asyncio.create_task(bench.lane.run())
    await eventually(lambda: bench.health.status == "degraded")
    moved_s = bench.lane.moved_s
    await eventually(lambda: bench.lane.moved_s > moved_s)
    assert bench.health.status == "degraded"
    bench.leases.left_s = 10.0
    await eventually(lambda: bench.health.status == "green")
    await end_tasks([running])


# Gaps


async def test_entries_of_a_lost_reply_are_claimed_and_none_is_skipped(bench: Bench) -> None:
    bench.tier.put(0, "a")
    await bench.steps()
    bench.tier.put(0, "b", "c")
    bench.tier.delivered[0] = 3  # given out, and lost on the way
    bench.tier.put(0, "d")
    assert await bench.steps() == [("sync", ["b", "c", "d"]), ("ack", 0, [2, 3, 4])]


async def test_a_gap_that_stays_means_that_the_tier_is_lost(bench: Bench) -> None:
    bench.tier.put(0, "a")
    await bench.steps()
    bench.tier.put(0, "b", "c")
    bench.tier.lose(0, 2)
    with pytest.raises(TierLost, match="entry 2 is gone"):
        await bench.steps()
    assert bench.events == [], "nothing behind the gap is synced or acked"


async def test_lost_new_entries_are_noticed_with_the_next_entry(bench: Bench) -> None:
    bench.tier.put(0, "a", "b", "c")
    await bench.steps()
    bench.tier.put(0, "d", "e")
    bench.tier.lose(0, 4)
    with pytest.raises(TierLost):
        await bench.steps()


@pytest.mark.parametrize("read_before", [0, 1, 3], ids=["nothing was read", "one was read", "all were read"])
async def test_a_gap_is_noticed_after_a_fault_or_restart(bench: Bench, read_before: int) -> None:
    """The lane's knowledge is lost with a fault or a crash, and the tier no longer knows of the entries."""
    bench.tier.put(0, "a")
    await bench.steps()
    bench.tier.put(0, "b", "c", "d")
    bench.tier.delivered[0] = 1 + read_before
    bench.tier.lose(0, 2, 3, 4)
    bench.lane_steps.owned.forget()
    bench.tier.put(0, "e")
    with pytest.raises(TierLost, match="entry 2 is gone"):
        await bench.steps()
    assert bench.events == []


async def test_a_claim_that_finds_only_lost_entries_is_not_repeated_endlessly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_but_more(*_: object) -> Claimed:
        """As Redis 6.2 answers when the oldest pending entries were deleted."""
        return Claimed({0: []}, 9, complete=False)

    monkeypatch.setattr(bench.tier, "claim", nothing_but_more)
    with pytest.raises(TierLost, match="entry 1 is gone"):
        await bench.steps()


async def test_entries_acked_by_a_new_owner_do_not_look_like_a_lost_tier(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane froze while it waited for the answer."""
    claim = bench.tier.claim
    bench.tier.put(0, "a", "b")
    bench.tier.delivered[0] = 2

    async def claim_late(epoch: EpochRef, partition: int, consumer: str, limit: int) -> Claimed:
        bench.leases.take(partition)
        bench.tier.lose(partition, 1, 2)
        return await claim(epoch, partition, consumer, limit)

    monkeypatch.setattr(bench.tier, "claim", claim_late)
    with pytest.raises(DependencyUnavailable, match="a lease is gone"):
        await bench.steps()


async def test_a_lost_tier_is_reported_for_its_epoch(bench: Bench) -> None:
    await bench.steps()
    await bench.lane._report_lost(TierLost("entry 2 is gone"))
    assert bench.positions.suspects == [(EPOCH, "entry 2 is gone")]
    assert bench.health.report()["status"] == "degraded"


async def test_a_tier_that_refuses_reads_is_reported_as_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The capturing replica may be allowed to append, and notice nothing."""

    async def refuse(*_: object) -> Read:
        bench.lane.stop()
        raise TierRefused("PRIMARY_REDIS_PASSWORD: its user may not run `xreadgroup`")

    await bench.steps()
    monkeypatch.setattr(bench.tier, "read", refuse)
    await bench.lane.run()
    assert [epoch for epoch, _ in bench.positions.suspects] == [EPOCH]
    (problem,) = bench.health.problems.values()
    assert problem.needs_person


async def test_a_loss_in_an_old_epoch_is_not_reported(bench: Bench) -> None:
    await bench.steps()
    assert bench.positions.current is not None
    newer = replace(EPOCH, epoch=EPOCH.epoch + 1, nonce="newer")
    bench.positions.current = replace(bench.positions.current, epoch=newer)
    await bench.lane._report_lost(TierLost("entry 2 is gone"))
    assert bench.positions.suspects == []


async def test_a_batch_of_an_old_epoch_is_not_acked(bench: Bench) -> None:
    async def moves_on(batch: SyncBatch) -> None:
        assert bench.positions.current is not None
        bench.positions.current = replace(bench.positions.current, epoch=replace(EPOCH, epoch=5, nonce="newer"))
        bench.tier.begin_again()
        bench.sync = synced
        await synced(batch)

    bench.sync = moves_on
    bench.tier.put(0, "a")
    assert await bench.steps() == [("sync", ["a"])]


# In-doubt writes after a takeover


@pytest.fixture
def at_100_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now_s", lambda: 100.0)


@pytest.mark.usefixtures("at_100_s")
@pytest.mark.parametrize(
    ("found_fence", "taken_s", "in_doubt"),
    [
        (6, 100.0, ["claimed"]),
        (0, 100.0, ["claimed", "new"]),
        (3, 100.0, ["claimed", "new"]),
        (0, 100.0 - 2 * DEADLINE_S - 1, ["claimed"]),
        (0, 100.0 - 2 * DEADLINE_S + 1, ["claimed", "new"]),
    ],
    ids=[
        "its holder worked in this epoch",
        "nobody worked in this epoch",
        "somebody before its holder did",
        "long ago",
        "not so long ago",
    ],
)
async def test_after_an_expired_lease_what_its_holder_may_still_write_is_in_doubt(
    found_fence: int, taken_s: float, in_doubt: list[str]
) -> None:
    bench = Bench()
    bench.leases.give(0, 7, after_expiry=True, taken_s=taken_s)
    bench.tier.owners[0] = found_fence
    bench.tier.put(0, "claimed")
    bench.tier.delivered[0] = 1
    bench.tier.put(0, "new")
    events = await bench.steps()
    assert [key for kind, *rest in events if kind == "doubt" for key in rest[0]] == in_doubt
    assert events[-1] == ("ack", 0, [2])


@pytest.mark.usefixtures("at_100_s")
@pytest.mark.parametrize("doubted_before", [True, False])
async def test_the_doubts_of_a_holder_that_expired_too_are_ours(doubted_before: bool) -> None:
    """It worked in this epoch, and the one before it did not: what that one had in hand is pending nowhere."""
    bench = Bench()
    bench.leases.give(0, 7, after_expiry=True, doubted_before=doubted_before, taken_s=100.0)
    bench.tier.owners[0] = 6
    bench.tier.put(0, "new")
    assert (("doubt", ["new"]) in await bench.steps()) is doubted_before


def next_epoch(bench: Bench) -> None:
    """The epoch has moved on, to a tier that holds nothing yet, and the lane's replica sees it."""
    assert bench.positions.current is not None
    bench.positions.current = replace(bench.positions.current, epoch=replace(EPOCH, epoch=5, nonce="newer"))
    bench.tier.begin_again()


@pytest.mark.usefixtures("at_100_s")
async def test_a_dead_owners_batch_in_an_epoch_unknown_to_us_is_in_doubt() -> None:
    """Our view of the epoch is up to 1.5 s old: that nothing is pending in the old one proves nothing."""
    bench = Bench()
    bench.leases.give(0, 7, after_expiry=True, taken_s=100.0)
    bench.tier.owners[0] = 6
    assert await bench.steps() == []
    next_epoch(bench)
    bench.tier.owners[0] = 6
    bench.tier.put(0, "in its hand")
    bench.tier.delivered[0] = 1
    assert ("doubt", ["in its hand"]) in await bench.steps()


@pytest.mark.usefixtures("at_100_s")
async def test_an_old_batch_of_a_dead_owner_is_not_in_doubt_in_a_new_epoch() -> None:
    bench = Bench()
    bench.leases.give(0, 7, after_expiry=True, taken_s=100.0 - 2 * DEADLINE_S - 1)
    bench.tier.owners[0] = 6
    assert await bench.steps() == []
    next_epoch(bench)
    bench.tier.put(0, "a")
    assert not [event for event in await bench.steps() if event[0] == "doubt"]


async def test_a_lease_lost_while_the_machine_was_suspended_puts_a_batch_of_an_old_epoch_in_doubt(
    bench: Bench,
) -> None:
    """Its clock stood still, so that it believes in its lease; whether it may have written over newer data, MongoDB
    knows. Nobody needs the ack itself any more."""

    async def paused(batch: SyncBatch) -> None:
        next_epoch(bench)
        bench.leases.stale.add(partition_lease(0))
        bench.sync = synced
        await synced(batch)

    bench.sync = paused
    bench.tier.put(0, "a")
    assert await bench.steps(5) == [("sync", ["a"]), ("doubt", ["a"])]


# Rechecks


async def test_an_idle_lane_works_off_all_its_rechecks(bench: Bench) -> None:
    waiting = [f"key {number}" for number in range(50)]
    bench.let_wait(waiting)
    events = await bench.steps(12)
    synced_keys = [key for kind, *rest in events if kind == "sync" for key in rest[0]]
    assert synced_keys == waiting, "ten at a time, with one look at the queue between two of them"
    assert bench.tier.waits_s.count(0.0) >= 4, "it waits for entries while rechecks wait"


async def test_under_load_at_most_every_fifth_batch_is_of_rechecks(bench: Bench) -> None:
    bench.let_wait([f"recheck {number}" for number in range(30)])
    bench.tier.put(0, *[f"new {number}" for number in range(200)])
    events = await bench.steps(14)
    batches = ["recheck" if "recheck" in str(rest[0]) else "new" for kind, *rest in events if kind == "sync"]
    assert batches.count("recheck") <= 3
    assert "new" in batches


@pytest.mark.usefixtures("at_100_s")
async def test_after_a_clean_stop_nothing_is_in_doubt(bench: Bench) -> None:
    bench.tier.put(0, "claimed")
    bench.tier.delivered[0] = 1
    bench.tier.put(0, "new")
    assert not [event for event in await bench.steps() if event[0] == "doubt"]


async def test_a_new_epoch_is_read_from_its_beginning(bench: Bench) -> None:
    bench.tier.put(0, "a", "b", "c")
    await bench.steps()
    assert bench.positions.current is not None
    newer = replace(EPOCH, epoch=5, nonce="newer")
    bench.positions.current = replace(bench.positions.current, epoch=newer)
    bench.tier.begin_again()
    bench.tier.put(0, "b", "c")
    assert await bench.steps() == [("sync", ["b", "c"]), ("ack", 0, [1, 2])]


async def test_a_batch_that_times_out_is_synced_in_smaller_pieces(bench: Bench) -> None:
    async def times_out_on_more_than_two(batch: SyncBatch) -> None:
        if len(batch.entries) > 2:
            batch.result.set_exception(SyncFailed(DependencyUnavailable("slow"), in_doubt=True))
        else:
            await synced(batch)

    bench.sync = times_out_on_more_than_two
    bench.tier.put(0, *"abcdef")
    events = await bench.steps()
    assert [len(keys) for kind, *rest in events if kind == "sync" for keys in rest] == [6, 3, 1, 2, 3, 1, 2]
    assert events[-2:] == [("doubt", list("abcdef")), ("ack", 0, [1, 2, 3, 4, 5, 6])]


async def test_a_batch_stays_whole_while_nothing_answers(bench: Bench) -> None:
    failures = iter([DependencyUnavailable("refused")] * 3)

    async def refused(batch: SyncBatch) -> None:
        cause = next(failures, None)
        if cause is None:
            await synced(batch)
        else:
            batch.result.set_exception(SyncFailed(cause, in_doubt=False))

    bench.sync = refused
    bench.tier.put(0, *"abcdef")
    assert await bench.steps() == [("sync", list("abcdef"))] * 4 + [("ack", 0, [1, 2, 3, 4, 5, 6])]


# An agent that is lost


async def test_a_silent_agent_loses_its_batch_and_may_send_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "SILENCE_S", 0.05)
    bench = owning(deadline_s=0.001)
    lost: list[SyncBatch] = []

    async def silent_once(batch: SyncBatch) -> None:
        lost.append(batch)
        bench.sync = synced

    bench.sync = silent_once
    bench.tier.put(0, "a")
    assert await bench.steps() == [("sync", ["a"]), ("sync", ["a"]), ("doubt", ["a"]), ("ack", 0, [1])]
    assert lost[0].lease_left_s() == 0.0
    assert lost[0].result.cancelled()


async def test_the_lane_waits_for_an_agent_that_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "SILENCE_S", 0.5)
    bench = owning(deadline_s=0.001)

    async def slow(batch: SyncBatch) -> None:
        for _ in range(20):
            assert batch.lease_left_s() > 0
            await asyncio.sleep(0.04)
        await synced(batch)

    bench.sync = slow
    bench.tier.put(0, "a")
    assert await bench.steps() == [("sync", ["a"]), ("ack", 0, [1])]


async def test_an_agent_may_be_silent_as_long_as_a_request_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "SILENCE_S", 0.01)
    bench = owning(deadline_s=1.0)

    async def slow(batch: SyncBatch) -> None:
        await asyncio.sleep(0.1)
        await synced(batch)

    bench.sync = slow
    bench.tier.put(0, "a")
    assert await bench.steps() == [("sync", ["a"]), ("ack", 0, [1])]


# Other settings


async def test_an_epoch_of_another_table_or_division_is_left_alone(bench: Bench) -> None:
    bench.tier.put(0, "a")
    ours = bench.positions.current
    assert ours is not None
    for others in (
        replace(ours, table="another"),
        ours.with_route("listings", fingerprint={**FINGERPRINT, "division": 1}),
        replace(ours, partitions=3),
    ):
        bench.positions.current = others
        assert await bench.steps() == []
        assert not bench.tier.owners, "not even the owner's fence is put there"
    bench.positions.current = ours
    assert await bench.steps() == [("sync", ["a"]), ("ack", 0, [1])]


@pytest.mark.parametrize("delivered", [0, 2])
async def test_an_entry_of_another_route_is_reported_and_never_synced(bench: Bench, delivered: int) -> None:
    bench.tier.put_together(0, "ours", "theirs")
    record_batch = bench.tier.streams[0][0]
    bench.tier.streams[0] = [
        record_batch._replace(items=[record_batch.items[0], entry("theirs")._replace(route="orders")])
    ]
    bench.tier.delivered[0] = delivered
    with pytest.raises(TierLost, match="entries of orders, while this replica syncs listings") as raised:
        await bench.steps()
    assert bench.events == []
    await bench.lane._report_lost(raised.value)
    assert [epoch for epoch, _ in bench.positions.suspects] == [EPOCH]
    assert [need.reason for need in bench.positions.needs] == ["entries of another route were in the queue"]
    assert bench.health.status == "degraded"


# Waiting


def test_a_short_flush_interval_does_not_make_an_idle_lane_poll() -> None:
    assert ReadLimits(batch_size=100, buffer_size=1_000, longest_linger_s=0.001).wait_s == IDLE_WAIT_S
