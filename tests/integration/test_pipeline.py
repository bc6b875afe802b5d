"""The epoch document and the barrier records on a real MongoDB: compare-and-set, forward only, nothing lost."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from bson.timestamp import Timestamp
from pymongo.errors import NetworkTimeout

from tests.integration.conftest import Client, Database, fail
from tests.support.stack import Names
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.model import Barrier, BarrierOrder, EpochRef, Position
from tsync_stream.state.pipeline import (
    BarrierRecord,
    Pipeline,
    PositionStore,
    TierSuspect,
    new_nonce,
    synced_position,
)
from tsync_stream.state.route_state import ReconcileNeed, RouteState

FENCE = 5
ROUTE = "shop.listings"  # a dot, as the name of a collection may have
FINGERPRINT = {"source": "shop.listings", "target_created_at": 1_700_000_000}
START = Position({"_data": "8200"}, Timestamp(100, 1), {"job.1": {"phase": "scan", "_id": 12.0}})


@pytest.fixture
def store(state: Database) -> PositionStore:
    return PositionStore(state)


def first(**changed: Any) -> Pipeline:
    """The epoch document of a first start."""
    pipeline = Pipeline(
        epoch=EpochRef("deployment", 1, new_nonce(), "primary"),
        capture_fence=FENCE,
        partitions=3,
        began=START,
        captured=START,
        routes={ROUTE: RouteState(FINGERPRINT, ReconcileNeed("job.1", "the first start"))},
    )
    return replace(pipeline, **changed)


@pytest.fixture
async def stored(store: PositionStore) -> Pipeline:
    """An epoch document in the database, without an open need."""
    pipeline = first(routes={ROUTE: RouteState(FINGERPRINT)})
    assert await store.create(pipeline)
    return pipeline


def after(old: Pipeline) -> Pipeline:
    """The epoch that follows, under the next fence."""
    return old.next_epoch(old.capture_fence + 1, "backup", START, old.routes)


def at(counter: int) -> Position:
    return Position({"_data": f"82{counter:02}"}, Timestamp(100 + counter, 1), {"job.1": {"_id": counter}})


def barrier(counter: int, *, epoch: int = 1, fence: int = FENCE) -> Barrier:
    return Barrier(BarrierOrder(epoch, fence, counter), at(counter))


# The epoch document


async def test_before_the_first_start_there_is_no_pipeline(store: PositionStore) -> None:
    assert await store.load() is None
    assert await store.records() == {}


async def test_what_is_stored_is_loaded(store: PositionStore) -> None:
    pipeline = first(tier_suspect=TierSuspect(1, "entries are gone"))
    assert await store.create(pipeline)
    assert await store.load() == pipeline


async def test_only_one_of_many_first_starts_succeeds(store: PositionStore) -> None:
    attempts = [first() for _ in range(8)]
    outcomes = await asyncio.gather(*(store.create(attempt) for attempt in attempts))
    assert outcomes.count(True) == 1
    assert await store.load() == attempts[outcomes.index(True)]


async def test_a_first_start_whose_reply_was_lost_can_be_repeated(store: PositionStore) -> None:
    pipeline = first()
    assert await store.create(pipeline)
    assert await store.create(pipeline)
    assert not await store.create(first())


async def test_an_epoch_follows_the_one_it_was_made_from(store: PositionStore, stored: Pipeline) -> None:
    following = after(stored)
    assert await store.replace(stored, following)
    assert await store.load() == following


@pytest.mark.parametrize("seed", range(3))
async def test_only_one_of_many_rivals_opens_the_next_epoch(store: PositionStore, stored: Pipeline, seed: int) -> None:
    rivals = [replace(after(stored), capture_fence=FENCE + number) for number in range(1, 9)]
    random.Random(seed).shuffle(rivals)
    outcomes = await asyncio.gather(*(store.replace(stored, rival) for rival in rivals))
    assert outcomes.count(True) == 1
    assert await store.load() == rivals[outcomes.index(True)]


@pytest.mark.parametrize("changed", [{"capture_fence": FENCE - 1}, {"capture_fence": FENCE + 7}])
async def test_a_term_follows_only_the_fence_it_knows(
    store: PositionStore, stored: Pipeline, changed: dict[str, int]
) -> None:
    assert not await store.replace(replace(stored, **changed), after(stored))  # type: ignore[arg-type]
    assert await store.load() == stored


@pytest.mark.parametrize("changed", [{"epoch": 0}, {"epoch": 2}, {"nonce": "another"}])
async def test_an_epoch_follows_only_the_one_it_knows(
    store: PositionStore, stored: Pipeline, changed: dict[str, Any]
) -> None:
    stranger = replace(stored, epoch=replace(stored.epoch, **changed))
    assert not await store.replace(stranger, after(stored))
    assert await store.load() == stored


async def test_a_replacement_whose_reply_was_lost_can_be_repeated(store: PositionStore, stored: Pipeline) -> None:
    following = after(stored)
    assert await store.replace(stored, following)
    assert await store.replace(stored, following)
    assert not await store.replace(stored, after(stored))
    assert await store.load() == following


async def test_a_reconcile_requested_meanwhile_is_not_overwritten(store: PositionStore, stored: Pipeline) -> None:
    need = ReconcileNeed("job.2", "requested by a person")
    assert await store.request_reconcile(ROUTE, need)
    assert not await store.replace(stored, after(stored))
    asked = await store.load()
    assert asked == stored.with_route(ROUTE, reconcile=need)
    assert await store.replace(asked, after(asked))
    loaded = await store.load()
    assert loaded is not None
    assert loaded.need(ROUTE) == need


async def test_a_permission_given_meanwhile_is_not_overwritten(store: PositionStore) -> None:
    pipeline = first()
    await store.create(pipeline)
    assert await store.allow_mass_delete(ROUTE)
    assert not await store.replace(pipeline, after(pipeline))
    loaded = await store.load()
    assert loaded is not None
    assert loaded.need(ROUTE) == ReconcileNeed("job.1", "the first start", allow_mass_delete=True)


async def test_only_one_of_several_reconcile_requests_succeeds(store: PositionStore, stored: Pipeline) -> None:
    needs = [ReconcileNeed(f"job.{number}", "asked for") for number in range(4)]
    outcomes = await asyncio.gather(*(store.request_reconcile(ROUTE, need) for need in needs))
    assert outcomes.count(True) == 1
    loaded = await store.load()
    assert loaded is not None
    assert loaded.need(ROUTE) == needs[outcomes.index(True)]


async def test_each_route_has_a_reconcile_of_its_own(store: PositionStore, stored: Pipeline) -> None:
    other = ReconcileNeed("job.9", "changed: mapping")
    both = replace(stored, routes={"shop.orders": RouteState(FINGERPRINT, other), **stored.routes})
    assert await store.replace(stored, both)
    need = ReconcileNeed("job.2", "asked for")
    assert not await store.request_reconcile("shop.orders", need), "it has one"
    assert await store.request_reconcile(ROUTE, need)
    assert await store.allow_mass_delete(ROUTE)
    await store.note_asked("job.2", 70)
    await store.save_marked(both, ROUTE, Timestamp(9, 1))
    expected = both.with_route(
        ROUTE, reconcile=replace(need, allow_mass_delete=True, asked_of=70), marked=Timestamp(9, 1)
    )
    assert await store.load() == expected
    assert not await store.replace(both, after(both)), "one more is open than that writer knows"
    await store.clear_reconcile("job.2")
    assert await store.load() == expected.with_route(ROUTE, reconcile=None)


async def test_what_people_want_of_a_reconcile_is_kept_and_passes_on(store: PositionStore) -> None:
    pipeline = first()
    await store.create(pipeline)
    assert await store.steer_reconcile("job.1", paused=True)
    assert not await store.replace(pipeline, after(pipeline)), "a writer that does not know of the pause"
    # In another order than a need is written in: what is compared must not depend on that.
    assert await store.steer_reconcile("job.1", rate_per_s=50)
    assert await store.allow_mass_delete(ROUTE)
    steered = await store.load()
    assert steered is not None
    need = ReconcileNeed("job.1", "the first start", allow_mass_delete=True, paused=True, rate_per_s=50)
    assert steered.need(ROUTE) == need
    assert await store.replace(steered, after(steered))
    following = await store.load()
    assert following is not None
    assert await store.need_reconciles(following, {ROUTE: "the source was dropped"})
    replaced = await store.load()
    assert replaced is not None
    found = replaced.need(ROUTE)
    assert found is not None
    assert (found.reason, found.paused, found.rate_per_s) == ("the source was dropped", True, 50)
    assert await store.steer_reconcile(found.job, paused=False, rate_per_s=None)
    resumed = await store.load()
    assert resumed is not None
    assert resumed.need(ROUTE) == replace(found, paused=False, rate_per_s=None)
    assert await store.replace(resumed, after(resumed))
    assert not await store.steer_reconcile("another", paused=True)


async def test_before_the_first_start_no_reconcile_can_be_requested(store: PositionStore) -> None:
    assert not await store.request_reconcile(ROUTE, ReconcileNeed("job", "asked for"))
    assert not await store.allow_mass_delete(ROUTE)
    assert await store.load() is None


async def test_only_the_requested_job_clears_the_reconcile_need(store: PositionStore) -> None:
    pipeline = first()
    await store.create(pipeline)
    await store.clear_reconcile("another")
    assert await store.load() == pipeline
    await store.clear_reconcile("job.1")
    assert await store.load() == pipeline.with_route(ROUTE, reconcile=None)
    assert not await store.allow_mass_delete(ROUTE)


async def test_captured_is_saved_for_its_own_term_only(store: PositionStore, stored: Pipeline) -> None:
    await store.save_captured(stored, at(3))
    assert await store.load() == replace(stored, captured=at(3))
    following = after(stored)
    await store.replace(stored, following)
    await store.save_captured(stored, at(9))
    assert await store.load() == following


async def test_a_tier_is_suspect_in_its_own_epoch_only(store: PositionStore, stored: Pipeline) -> None:
    await store.suspect_tier(replace(stored.epoch, nonce="another"), "old news")
    await store.suspect_tier(replace(stored.epoch, epoch=0), "old news")
    assert await store.load() == stored
    await store.suspect_tier(stored.epoch, "entries are gone")
    assert await store.load() == replace(stored, tier_suspect=TierSuspect(1, "entries are gone"))


async def test_a_suspicion_is_not_overwritten_by_a_term_that_has_not_seen_it(
    store: PositionStore, stored: Pipeline
) -> None:
    await store.suspect_tier(stored.epoch, "entries are gone")
    assert not await store.replace(stored, replace(stored, capture_fence=FENCE + 1))
    suspect = replace(stored, tier_suspect=TierSuspect(1, "entries are gone"))
    assert await store.load() == suspect
    assert await store.replace(suspect, after(suspect))


async def test_a_failed_read_of_the_pipeline_is_an_outage(
    store: PositionStore, stored: Pipeline, client: Client, mongo_names: Names
) -> None:
    await fail(client, mongo_names, "find", times=4, errorCode=50)
    with pytest.raises(DependencyUnavailable) as caught:
        await store.load()
    assert not isinstance(caught.value, NetworkTimeout)


# Barrier records


async def test_a_barrier_is_recorded_with_its_place_and_position(store: PositionStore) -> None:
    await store.record_barriers({0: (17, barrier(3)), 2: (40, barrier(4))})
    assert await store.records() == {
        0: BarrierRecord(BarrierOrder(1, FENCE, 3), 17, at(3)),
        2: BarrierRecord(BarrierOrder(1, FENCE, 4), 40, at(4)),
    }


@pytest.mark.parametrize(
    "older",
    [
        barrier(9),
        barrier(10),
        barrier(99, fence=FENCE - 1),
        barrier(99, fence=FENCE + 99, epoch=1),
        barrier(2, epoch=2, fence=FENCE - 4),
    ],
    ids=["an earlier one", "the same", "an older fence's", "an older epoch's", "an older fence's of the same epoch"],
)
async def test_a_record_never_goes_back(store: PositionStore, older: Barrier) -> None:
    now = barrier(10, epoch=2) if older.order.epoch == 2 or older.order.fence > FENCE else barrier(10)
    await store.record_barriers({0: (10, now), 1: (10, now)})
    await store.record_barriers({0: (99, older)})
    records = await store.records()
    assert records[0] == records[1]


async def test_barrier_orders_are_compared_as_numbers_field_by_field(store: PositionStore) -> None:
    ordered = [(1, 9, 99), (1, 10, 5), (1, 10, 10), (2, 3, 1), (2, 3, 2**40), (10, 1, 1)]
    for epoch, fence, counter in ordered:
        order = BarrierOrder(epoch, fence, counter)
        await store.record_barriers({0: (counter, Barrier(order, START))})
        assert (await store.records())[0].order == order


async def test_an_outdated_barrier_does_not_block_the_others_of_its_batch(store: PositionStore) -> None:
    await store.record_barriers({1: (9, barrier(9))})
    await store.record_barriers({0: (5, barrier(5)), 1: (5, barrier(5)), 2: (5, barrier(5))})
    records = await store.records()
    assert {partition: record.offset for partition, record in records.items()} == {0: 5, 1: 9, 2: 5}


@pytest.mark.parametrize("seed", range(3))
async def test_the_newest_barrier_wins_whatever_overlaps(store: PositionStore, seed: int) -> None:
    await store.record_barriers({0: (0, barrier(0))})
    counters = list(range(1, 25))
    random.Random(seed).shuffle(counters)
    await asyncio.gather(*(store.record_barriers({0: (counter, barrier(counter))}) for counter in counters))
    assert await store.records() == {0: BarrierRecord(BarrierOrder(1, FENCE, 24), 24, at(24))}


async def test_synced_follows_the_slowest_partition(store: PositionStore, stored: Pipeline) -> None:
    steps = [({0: 1, 1: 1}, START), ({2: 1}, at(1)), ({0: 2, 1: 3}, at(1)), ({2: 2}, at(2)), ({0: 3, 2: 3}, at(3))]
    for arrived, expected in steps:
        await store.record_barriers({partition: (n, barrier(n)) for partition, n in arrived.items()})
        assert synced_position(stored, await store.records()) == expected
    assert synced_position(after(stored), await store.records()) == START, "the next epoch starts over"
