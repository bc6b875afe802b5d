"""The capture leader: a term whenever the lease is ours, an end for each term, and one way to begin again."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.support.waiting import HANG_S, eventually
from tsync_stream.capture import leader as leader_module
from tsync_stream.capture.begin import Beginning
from tsync_stream.capture.feed import Feed
from tsync_stream.capture.handover import Handover, TermEnd
from tsync_stream.capture.leader import CaptureLeader, TermRunner, TermWork
from tsync_stream.capture.targets import Targets
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.capture.tiers import Tiers
from tsync_stream.cluster.assignment import Held
from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core.errors import Fenced, PositionLost, TierLost, TierUnavailable, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.model import EpochRef, Head, Position, Route
from tsync_stream.core.wake import Wake
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.pipeline import Pipeline

START = Position({"_data": "00"}, Timestamp(1, 0))
ROUTE = Route("listings", "shop", "listings", "listings")
TABLE = RouteTable([Declaration(ROUTE)])


class World:
    """A leader whose lease, beginnings and term parts are in memory. `ends` are how the terms end, in order."""

    def __init__(self, *ends: TermEnd | TsyncError) -> None:
        self.ends = list(ends)
        self.ours = True
        self.fence = 0
        self.begun: list[Handover] = []
        self.terms: list[CaptureTerm] = []
        self.failing_beginnings: dict[int, TsyncError] = {}
        self.failed_tiers: list[str] = []
        self.forgotten = 0
        self.health, self.metrics = Health(), Metrics()
        self.terms_runner = TermRunner(
            cast("Feed", self), self.beside, cast("Tiers", self), cast("EpochWatch", self), self.metrics
        )
        self.leader = CaptureLeader(
            cast("LeaseKeeper", self),
            cast("Beginning", self),
            self.terms_runner,
            cast("Targets", self),
            self.health,
            Wake(),
        )

    # the lease

    async def raise_fence(self, name: str) -> Held | None:
        self.fence += 1
        return Held(name, self.fence, False, 0.0) if self.ours else None

    def time_left_s(self) -> float:
        return 1.0

    # the beginning

    async def begin(self, fence: int, handover: Handover) -> CaptureTerm:
        self.begun.append(handover)
        if error := self.failing_beginnings.get(len(self.begun)):
            raise error
        pipeline = Pipeline(EpochRef("d", 1, "n", "primary"), fence, 1, START, START)
        term = CaptureTerm(pipeline, cast("Tier", None), TABLE, [Head(0, 0, START.token)], START)
        self.terms.append(term)
        return term

    # the parts of a term

    async def run(self, term: CaptureTerm, stopping: Callable[[], bool]) -> TermEnd:
        while not stopping():
            await asyncio.sleep(0.001)
        return TermEnd("stopped")

    def beside(self, term: CaptureTerm) -> list[TermWork]:
        async def end() -> TermEnd:
            if not self.ends:
                await asyncio.Event().wait()
            result = self.ends.pop(0)
            if isinstance(result, TsyncError):
                raise result
            return result

        return [end()]

    async def refresh(self) -> None: ...

    def failed_at_work(self, name: str) -> None:
        self.failed_tiers.append(name)

    def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_module, "PAUSE_AFTER_FAULT_S", 0.001)


async def run_until(world: World, condition: Callable[[], bool]) -> None:
    running: Coroutine[Any, Any, None] = world.leader.run()
    task = asyncio.create_task(running)
    await eventually(condition)
    world.leader.stop()
    await asyncio.wait_for(task, HANG_S)


async def test_every_end_of_a_term_is_followed_by_another_with_a_fence_of_its_own() -> None:
    world = World(TermEnd("a reconcile was requested"), PositionLost("code 286"), Fenced("another term has begun"))
    await run_until(world, lambda: len(world.terms) == 4)
    assert world.begun == [Handover(), Handover(), Handover(position_lost="code 286"), Handover()]
    assert len({term.fence for term in world.terms}) == 4
    assert all(term.closed for term in world.terms)


async def test_a_beginning_that_fails_keeps_what_the_last_term_left() -> None:
    world = World(TierLost("the stream is gone"))
    world.failing_beginnings[2] = PositionLost("code 286")
    await run_until(world, lambda: len(world.terms) == 2)
    left = Handover(leave_tier="the stream is gone")
    assert world.begun[1:] == [left, Handover(leave_tier="the stream is gone", position_lost="code 286")]


@pytest.mark.parametrize(("fault", "failed"), [(TierLost("gone"), ["primary"]), (TierUnavailable("down"), [])])
async def test_a_tier_that_is_lost_at_work_is_noted(fault: TsyncError, failed: list[str]) -> None:
    world = World(fault)
    await run_until(world, lambda: len(world.terms) == 2)
    assert world.failed_tiers == failed


async def test_a_replica_without_the_lease_forgets_what_it_reported() -> None:
    world = World()
    world.ours = False
    world.health.red("tier", "lost")
    await run_until(world, lambda: world.forgotten > 0)
    assert not world.health.problems
    assert world.terms == []


async def test_a_stop_waits_for_batches_in_flight() -> None:
    world = World()
    task = asyncio.create_task(world.leader.run())
    await eventually(lambda: len(world.terms) == 1)
    with world.terms[0].sending() as delivery:
        pass
    world.leader.stop()
    await asyncio.sleep(0.05)
    assert not task.done()
    assert "stopping" in repr(world.leader)
    delivery.settle()
    await asyncio.wait_for(task, HANG_S)


async def test_a_leader_shows_its_state() -> None:
    world = World()
    assert repr(world.leader).startswith("<CaptureLeader waiting, Handover(")
    task = asyncio.create_task(world.leader.run())
    await eventually(lambda: repr(world.leader).startswith("<CaptureLeader capturing, <CaptureTerm epoch 1 on primary"))
    world.leader.stop()
    await asyncio.wait_for(task, HANG_S)
