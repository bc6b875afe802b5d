"""What ends a term at a look: results where a new term is asked for, faults where this one is over."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tsync_stream.capture import monitor as monitor_module
from tsync_stream.capture.handover import TermEnd
from tsync_stream.capture.monitor import Monitor
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core.errors import Fenced, TierLost
from tsync_stream.core.model import EpochRef, Head, Position, Route
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.pipeline import Pipeline, TierSuspect
from tsync_stream.state.route_state import ReconcileNeed, RouteState

FENCE = 7
START = Position({"_data": "00"}, Timestamp(1, 0))
ROUTE = Route("listings", "shop", "listings", "listings")
TABLE = RouteTable([Declaration(ROUTE)])
STATE = RouteState({"target_name": "listings"})
PIPELINE = Pipeline(EpochRef("d", 1, "n", "primary"), FENCE, 1, START, START, {ROUTE.name: STATE})


class World:
    """Everything that a monitor looks at. `stored` is the epoch document."""

    def __init__(self) -> None:
        self.stored: Pipeline | None = PIPELINE
        self.fence: int | None = FENCE
        self.looks = 0
        self.saved: list[Position] = []
        self.term = CaptureTerm(PIPELINE, cast("Tier", None), TABLE, [Head(0, 0, START.token)], START)
        everything = cast("Any", self)
        self.monitor = Monitor(everything, everything, everything, everything)

    def holding(self, name: str) -> Any:
        return None if self.fence is None else SimpleNamespace(fence=self.fence)

    async def refresh(self) -> Pipeline | None:
        return self.stored

    async def save_captured(self, stored: Pipeline, captured: Position) -> None:
        self.saved.append(captured)

    async def synced(self, stored: Pipeline) -> Position:
        return START

    async def measure(self, term: CaptureTerm) -> None: ...

    async def look(self, stored: Pipeline, synced: Position) -> None:
        self.looks += 1
        if self.looks == 20:
            self.stored = None  # ends every test

    async def run(self) -> TermEnd:
        return await self.monitor.run(self.term, cast("Any", self))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "MONITOR_INTERVAL_S", 0.0)


async def test_a_requested_reconcile_ends_the_term_without_a_fault() -> None:
    world = World()
    world.stored = PIPELINE.with_route(ROUTE.name, reconcile=ReconcileNeed("r1", "requested by a person"))
    assert (await world.run()).reason.startswith("a reconcile was requested")


async def test_a_reconcile_that_the_term_began_with_does_not_end_it() -> None:
    world = World()
    world.stored = world.term.pipeline = PIPELINE.with_route(
        ROUTE.name, reconcile=ReconcileNeed("r1", "the first start")
    )
    with pytest.raises(Fenced):
        await world.run()
    assert world.looks == 20


@pytest.mark.parametrize("fence", [None, FENCE + 1])
async def test_a_lease_that_is_gone_is_a_fault(fence: int | None) -> None:
    world = World()
    world.fence = fence
    with pytest.raises(Fenced, match="the capture lease is gone"):
        await world.run()


async def test_a_tier_that_a_reader_suspects_is_lost() -> None:
    world = World()
    world.stored = replace(PIPELINE, tier_suspect=TierSuspect(1, "partition 3: entries are missing"))
    with pytest.raises(TierLost, match="partition 3"):
        await world.run()


async def test_the_captured_position_is_saved_when_it_has_moved() -> None:
    world = World()
    moved = replace(START, token={"_data": "05"})
    world.term.done([], moved, None, 0)
    with pytest.raises(Fenced):
        await world.run()
    assert world.saved == [moved]
