"""The stall detector: a replica without leases sees it too when waiting work does not move."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from tests.support.lanes import EPOCH, START
from tsync_stream.cluster.assignment import LeaseView, Seen
from tsync_stream.core import clock
from tsync_stream.core.health import Health
from tsync_stream.observe.stalls import BOUND_S, REPEATED_AFTER_S, StallDetector, own_problems
from tsync_stream.state.pipeline import Pipeline

ME, OTHER = "me.1", "other.1"


@dataclass
class Leases:
    replica: str = ME
    seen: Seen | None = None


@dataclass
class Epochs:
    current: Pipeline | None = None


@dataclass
class Lane:
    name: str = "lane 0"
    moved_s: float = 0.0


@dataclass
class World:
    """What a replica without leases knows, and a clock; the captured position advances unless `captures` is False."""

    now_s: float = 100.0
    leases: Leases = field(default_factory=Leases)
    epochs: Epochs = field(default_factory=Epochs)
    lane: Lane = field(default_factory=Lane)
    health: Health = field(default_factory=Health)
    captures: bool = True
    lane_moves: bool = True

    def __post_init__(self) -> None:
        self.epochs.current = Pipeline(EPOCH, 1, 2, START, START)
        self.stalls = StallDetector(
            cast("Any", self.leases), cast("Any", self.epochs), [cast("Any", self.lane)], self.health
        )

    def see(self, holder: str | None, *, live: tuple[str, ...] = (ME, OTHER), problems: tuple[Any, ...] = ()) -> None:
        leases = {"capture": LeaseView("capture", holder, 1)}
        self.leases.seen = Seen(leases, {name: {"statistics": {"problems": list(problems)}} for name in live})

    def after(self, seconds: float) -> str:
        for _ in range(int(seconds)):
            self.now_s += 1.0
            if self.captures:
                assert self.epochs.current is not None
                self.epochs.current = replace(self.epochs.current, captured=replace(START, token={"n": self.now_s}))
            if self.lane_moves:
                self.lane.moved_s = self.now_s
            self.stalls.look()
        return self.health.status


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made: list[World] = []
    monkeypatch.setattr(clock, "now_s", lambda: made[0].now_s if made else 100.0)
    made.append(World())
    return made[0]


def problem(check: str, level: str = "red", kind: str = "fault") -> dict[str, Any]:
    return {"check": check, "level": level, "kind": kind, "text": "it fails", "needs_person": False}


def test_work_that_moves_is_green(world: World) -> None:
    world.see(OTHER)
    assert world.after(3 * BOUND_S) == "green"


def test_a_captured_position_that_stands_still_is_red_until_it_advances(world: World) -> None:
    world.see(OTHER)
    world.captures = False
    assert world.after(BOUND_S) == "green"
    assert world.after(2) == "red"
    assert list(world.health.problems) == ["progress, capture"]
    world.captures = True
    assert world.after(1) == "green"


def test_a_pipeline_that_never_begins_is_red(world: World) -> None:
    world.epochs.current, world.captures = None, False
    assert world.after(BOUND_S + 2) == "red"


@pytest.mark.parametrize("holder", [None, "dead.1"])
def test_a_lease_that_nobody_holds_is_red(world: World, holder: str | None) -> None:
    world.see(holder)
    assert world.after(BOUND_S) == "green", "a take-over is normal"
    assert world.after(2) == "red"
    assert "capture" in world.health.problems["progress, leases"].text
    world.see(OTHER)
    assert world.after(1) == "green"


def test_a_lane_that_does_not_finish_its_batch_is_red(world: World) -> None:
    world.lane_moves = False
    world.lane.moved_s = world.now_s
    assert world.after(BOUND_S) == "green"
    assert world.after(2) == "red"
    assert "lane 0" in world.health.problems["progress, lanes"].text


def test_a_lease_holder_that_is_red_makes_every_replica_red(world: World) -> None:
    world.see(OTHER, problems=(problem("capture"),))
    assert world.after(REPEATED_AFTER_S) == "green", "it may be over in a moment"
    assert world.after(2) == "red"
    assert "other.1, capture: it fails" in world.health.problems["other replicas"].text
    world.see(OTHER)
    assert world.after(1) == "green"


def test_an_outage_that_a_lease_holder_waits_out_is_one_everywhere(world: World) -> None:
    world.see(OTHER, problems=(problem("sync, lane 0", "degraded"),))
    assert world.after(REPEATED_AFTER_S + 2) == "degraded"
    world.see(OTHER, problems=(problem("sync, lane 0", "degraded"), problem("tier")))
    assert world.after(REPEATED_AFTER_S + 2) == "red"
    assert world.health.problems["other replicas"].text.startswith("a replica with leases reports: other.1, tier: ")


@pytest.mark.parametrize(
    ("holder", "reported"),
    [
        (None, problem("capture")),  # a replica without leases concerns nobody else
        (OTHER, problem("backup", "degraded", "notice")),
        (OTHER, problem("other replicas")),  # learned from us
        (OTHER, problem("route orders")),  # we report it by ourselves
    ],
)
def test_other_problems_stay_local(world: World, holder: str | None, reported: dict[str, Any]) -> None:
    world.see(holder, problems=(reported,))
    assert world.after(BOUND_S - 1) == "green"


def test_what_every_replica_learns_by_itself_is_not_published() -> None:
    found = [problem("other replicas"), problem("capture"), problem("reconciling listings", "degraded", "work")]
    assert own_problems(found) == [problem("capture")]
