"""Suspensions on a real MongoDB: one at a time, in force until it is ended, and never back again."""

import asyncio
from dataclasses import replace

import pytest
from bson.timestamp import Timestamp

from tests.integration.conftest import Database
from tsync_stream.core.model import EpochRef, Position
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.route_state import ReconcileNeed, RouteState, Suspension

EPOCH = EpochRef("deployment", 3, "nonce", "primary")
START = Position({"_data": "8200"}, Timestamp(100, 1))
WHY = "TYPESENSE_API_KEY (route orders): refused"


@pytest.fixture
def store(state: Database) -> PositionStore:
    return PositionStore(state)


@pytest.fixture
async def stored(store: PositionStore) -> Pipeline:
    """An epoch with two routes that need nothing; the name of one holds a dot."""
    routes = {"shop.listings": RouteState({"source": "a"}), "orders": RouteState({"source": "b"})}
    pipeline = Pipeline(EPOCH, 5, 2, START, START, routes)
    assert await store.create(pipeline)
    return pipeline


async def route_state(store: PositionStore, route: str = "orders") -> RouteState:
    loaded = await store.load()
    assert loaded is not None
    return loaded.routes[route]


async def suspend(store: PositionStore, reason: str = WHY) -> Suspension:
    suspended = await store.suspend(EPOCH, "orders", reason)
    assert suspended is not None
    return suspended


async def test_a_suspended_route_needs_a_reconcile_and_no_other_route_changes(
    store: PositionStore, stored: Pipeline
) -> None:
    suspended = await suspend(store)
    state = await route_state(store)
    assert state.suspended == suspended
    assert suspended.reason == WHY
    assert state.reconcile is not None
    assert state.reconcile.suspensions == 1
    assert await route_state(store, "shop.listings") == stored.routes["shop.listings"]


async def test_an_open_reconcile_begins_anew_with_a_suspension(store: PositionStore, stored: Pipeline) -> None:
    """Some of what it has queued may be dropped: its cursor, and its last barrier, say nothing any more."""
    await store.request_reconcile("orders", ReconcileNeed("job.1", "asked for"))
    await store.note_asked("job.1", 70)
    await suspend(store)
    need = (await route_state(store)).reconcile
    assert need is not None
    assert need.job != "job.1"
    assert need.asked_of == 70, "a question that nobody has answered stays open"
    await store.clear_reconcile("job.1")
    assert (await route_state(store)).reconcile == need


async def test_all_replicas_that_suspend_a_route_get_the_same_suspension(
    store: PositionStore, stored: Pipeline
) -> None:
    found = await asyncio.gather(*(store.suspend(EPOCH, "orders", f"seen by {number}") for number in range(6)))
    assert len(set(found)) == 1
    assert (await route_state(store)).suspended == found[0]
    need = (await route_state(store)).reconcile
    assert need is not None
    assert need.suspensions == 1


async def test_a_suspension_is_confirmed_until_it_is_ended(store: PositionStore, stored: Pipeline) -> None:
    suspended = await suspend(store)
    for _ in range(2):
        assert await store.confirm_suspended("orders", suspended.nonce)
    assert not await store.confirm_suspended("shop.listings", suspended.nonce)
    assert await store.resume("orders", suspended.nonce)
    assert not await store.confirm_suspended("orders", suspended.nonce)
    state = await route_state(store)
    assert state.suspended is None
    assert state.reconcile is not None, "what was dropped is made good now"


async def test_only_the_suspension_in_force_can_be_ended(store: PositionStore, stored: Pipeline) -> None:
    first = await suspend(store)
    assert await store.resume("orders", first.nonce)
    second = await suspend(store)
    assert second.nonce != first.nonce
    assert await store.resume("orders", first.nonce) is None
    assert await store.confirm_suspended("orders", second.nonce)
    need = (await route_state(store)).reconcile
    assert need is not None
    assert need.suspensions == 2


async def test_the_scan_that_follows_reads_no_earlier_than_what_was_dropped(
    store: PositionStore, stored: Pipeline, state: Database
) -> None:
    suspended = await suspend(store)
    async with await state.client.start_session() as session:
        await state["elsewhere"].insert_one({"_id": 1}, session=session)
        captured: Timestamp = session.delegate.operation_time
    assert await store.confirm_suspended("orders", suspended.nonce)
    resumed = await store.resume("orders", suspended.nonce)
    assert resumed is not None
    assert resumed > captured
    assert await store.time_of_now() > resumed, "a later term that goes on with the scan reads no earlier either"
    assert await store.load() is not None


async def test_no_writer_that_has_not_seen_a_suspension_or_its_end_begins_a_term(
    store: PositionStore, stored: Pipeline
) -> None:
    def following(old: Pipeline) -> Pipeline:
        return replace(old, capture_fence=old.capture_fence + 1)

    suspended = await suspend(store)
    assert not await store.replace(stored, following(stored)), "it would lose the suspension and the need"
    while_suspended = await store.load()
    assert while_suspended is not None
    assert await store.confirm_suspended("orders", suspended.nonce), "it may be confirmed meanwhile"
    assert await store.resume("orders", suspended.nonce)
    assert not await store.replace(while_suspended, following(while_suspended)), "it would bring the suspension back"
    now = await store.load()
    assert now is not None
    assert await store.replace(now, following(now))


async def test_a_suspension_outlives_a_term_and_an_epoch(store: PositionStore, stored: Pipeline) -> None:
    suspended = await suspend(store)
    now = await store.load()
    assert now is not None
    assert await store.replace(now, now.next_epoch(6, "backup", START, now.routes))
    assert await store.confirm_suspended("orders", suspended.nonce)


async def test_a_need_is_not_cleared_while_its_route_is_suspended(store: PositionStore, stored: Pipeline) -> None:
    suspended = await suspend(store)
    need = (await route_state(store)).reconcile
    assert need is not None
    await store.clear_reconcile(need.job)
    assert (await route_state(store)).reconcile == need
    assert await store.resume("orders", suspended.nonce)
    await store.clear_reconcile(need.job)
    assert (await route_state(store)).reconcile is None


async def test_nobody_suspends_a_route_of_an_epoch_that_is_over(store: PositionStore, stored: Pipeline) -> None:
    assert await store.suspend(replace(EPOCH, nonce="older"), "orders", WHY) is None
    assert await store.suspend(replace(EPOCH, epoch=2), "orders", WHY) is None
    assert await store.suspend(EPOCH, "unknown", WHY) is None
    assert await store.load() == stored
