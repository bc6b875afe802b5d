"""Which epoch is current is looked up again and again, by whoever needs it or else by the watch itself."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import cast

import pytest

from tests.support.lanes import START
from tests.support.waiting import eventually
from tsync_stream.cluster import epoch_watch
from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.health import Health
from tsync_stream.core.model import EpochRef
from tsync_stream.core.wake import Wake
from tsync_stream.source.driver import MongoHealth
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.route_state import ReconcileNeed, RouteState, suspended_state


@dataclass
class Positions:
    """The epoch document is not there yet, unless told; MongoDB is away as often as told."""

    loads: int = 0
    outages: int = 0
    pipeline: Pipeline | None = None

    async def load(self) -> Pipeline | None:
        self.loads += 1
        if self.outages:
            self.outages -= 1
            raise DependencyUnavailable("MongoDB: AutoReconnect")
        return self.pipeline


@pytest.fixture
def positions() -> Positions:
    return Positions()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def watch(positions: Positions, health: Health, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EpochWatch]:
    monkeypatch.setattr(epoch_watch, "LOOK_INTERVAL_S", 0.03)
    monkeypatch.setattr(epoch_watch, "LATE_S", 1.0)
    made = EpochWatch(cast("PositionStore", positions), Wake(), MongoHealth(health, lambda: None), "table")
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_looks_by_itself_through_outages(watch: EpochWatch, positions: Positions, health: Health) -> None:
    assert repr(watch) == "<EpochWatch, no epoch yet>"
    positions.outages = 2
    await eventually(lambda: "AutoReconnect" in str(health.problems))
    await eventually(lambda: positions.loads > 5)
    assert health.status == "green"


async def test_while_somebody_else_refreshes_it_does_not_look(
    watch: EpochWatch, positions: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await eventually(lambda: positions.loads == 1)
    for _ in range(10):
        await watch.refresh()
        await asyncio.sleep(0.03)
    assert positions.loads == 11
    monkeypatch.setattr(epoch_watch, "LATE_S", 0.0)
    await eventually(lambda: positions.loads > 13)


async def test_an_outage_is_over_as_soon_as_anybody_has_read_the_epoch(
    watch: EpochWatch, positions: Positions, health: Health
) -> None:
    positions.outages = 1
    await eventually(lambda: health.status == "degraded")
    await watch.refresh()
    assert health.status == "green"


async def test_every_replica_tells_that_a_reserve_is_the_queue_once_it_knows_the_epoch(
    watch: EpochWatch, positions: Positions, health: Health
) -> None:
    for number, (tier, status) in enumerate([("backup", "degraded"), ("mongo", "degraded"), ("primary", "green")]):
        positions.pipeline = Pipeline(EpochRef("deployment", number, "nonce", tier), 1, 2, START, START)
        await watch.refresh()
        assert health.status == status
        assert tier in str(health.problems) or status == "green"
        assert repr(watch).startswith(f"<EpochWatch epoch {number} on {tier}, for 0.")


async def test_every_replica_tells_which_routes_are_suspended(
    watch: EpochWatch, positions: Positions, health: Health
) -> None:
    reference = EpochRef("deployment", 1, "nonce", "primary")
    states = {name: RouteState({}) for name in ("listings", "orders")}
    positions.pipeline = Pipeline(reference, 1, 2, START, START, states)
    await watch.refresh()
    assert health.status == "green"
    suspended = suspended_state(RouteState({}), "TYPESENSE_API_KEY (route orders): refused")
    positions.pipeline = replace(positions.pipeline, routes={**states, "orders": suspended})
    await watch.refresh()
    ((check, problem),) = health.problems.items()
    assert (check, problem.level, problem.needs_person) == ("route orders", "red", True)
    for words in ("TYPESENSE_API_KEY (route orders): refused", "the others go on", "reconciled by itself"):
        assert words in problem.text
    positions.pipeline = replace(positions.pipeline, routes=states)
    await watch.refresh()
    assert health.status == "green"


async def test_every_replica_tells_which_routes_are_reconciled(
    watch: EpochWatch, positions: Positions, health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    reference = EpochRef("deployment", 1, "nonce", "primary")
    states = {"orders": RouteState({}, ReconcileNeed("job", "first start")), "listings": RouteState({})}
    positions.pipeline = Pipeline(reference, 1, 2, START, START, states)
    await watch.refresh()
    ((check, problem),) = health.problems.items()
    assert (check, problem.level, problem.kind) == ("reconciling orders", "degraded", "work")
    assert "first start" in problem.text
    positions.pipeline = replace(positions.pipeline, routes={"listings": RouteState({})})
    await watch.refresh()
    assert health.status == "green"
    assert "reconciling" not in caplog.text, "the reconcile logs its beginning and end itself"


async def test_a_route_that_is_removed_while_it_is_suspended_is_not_red_any_more(
    watch: EpochWatch, positions: Positions, health: Health
) -> None:
    reference = EpochRef("deployment", 1, "nonce", "primary")
    states = {"listings": RouteState({}), "orders": suspended_state(RouteState({}), "refused")}
    positions.pipeline = Pipeline(reference, 1, 2, START, START, states)
    await watch.refresh()
    assert health.status == "red"
    positions.pipeline = replace(positions.pipeline, routes={"listings": RouteState({})})
    await watch.refresh()
    assert health.status == "green"
