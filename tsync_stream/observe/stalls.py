"""Detects work that has stopped moving. Every replica runs it, so one without leases also reports a stalled pipeline.

Invariant: while anything has waited for `BOUND_S` without moving, every replica's health is red. Together, four checks
cover the whole way of a change:

- A live replica holds every lease.
- The captured position advances. Barriers move it at least every ten seconds, even while nothing changes.
- Each of our own lanes reads, and finishes the batch it is working on.
- A fault at a replica that holds leases is one at every replica, of the same level.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from tsync_stream.cluster.assignment import Seen
from tsync_stream.cluster.epoch_watch import RECONCILING, ROUTE_CHECK, EpochWatch
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core import clock
from tsync_stream.core.health import Health, Level
from tsync_stream.core.model import Position

# Longer than a take-over with the default LEASE_TTL, and than any wait that is part of normal work.
BOUND_S = 60.0
LOOK_INTERVAL_S = 1.0
# A problem that a lease holder overcomes sooner is not repeated by the others.
REPEATED_AFTER_S = 5.0
MOST_NAMED = 2

OTHERS = "other replicas"
LEASES, CAPTURE, LANES = "progress, leases", "progress, capture", "progress, lanes"
CHECKS = (OTHERS, LEASES, CAPTURE, LANES)


class Working(Protocol):
    """A loop that works on one batch at a time: a lane."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def moved_s(self) -> float:
        """When it last finished a batch, or found nothing to do, on `core.clock`."""


class StallDetector:
    """Sets the four health checks from what the replica knows already; it asks no server."""

    def __init__(self, leases: LeaseKeeper, epochs: EpochWatch, lanes: Sequence[Working], health: Health) -> None:
        self._leases = leases
        self._epochs = epochs
        self._lanes = lanes
        self._health = health
        self._captured: Position | None = None
        self._captured_s = clock.now_s()
        self._unheld = clock.Stopwatch()
        self._troubles = clock.Stopwatch()

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def look(self) -> None:
        """Judge what is known now."""
        now_s, seen = clock.now_s(), self._leases.seen
        self._look_at_capture(now_s)
        self._report(
            LANES,
            [lane.name for lane in self._lanes if now_s - lane.moved_s > BOUND_S],
            lambda names: (
                f"{names}: no batch has been read and finished for more than {BOUND_S:g} s; that is retried until one "
                "is, and the other checks say what holds it up"
            ),
        )
        if seen is None:
            return
        self._report(
            LEASES,
            self._unheld.longer_than(BOUND_S, unheld(seen), now_s),
            lambda names: (
                f"no live replica has held these leases for more than {BOUND_S:g} s: {names}; their changes wait in "
                "the queue or in MongoDB. Start a replica, or see the health of those that run"
            ),
        )
        found = troubles(self._leases.replica, seen)
        lasting = self._troubles.longer_than(REPEATED_AFTER_S, found, now_s)
        # What is red comes first: a few are named.
        told = sorted((found[name] for name in lasting), key=lambda trouble: trouble.level != "red")
        self._report(
            OTHERS,
            [trouble.text for trouble in told],
            lambda texts: f"a replica with leases reports: {texts}",
            level=told[0].level if told else "red",
        )

    def _look_at_capture(self, now_s: float) -> None:
        pipeline = self._epochs.current
        captured = None if pipeline is None else pipeline.captured
        if captured != self._captured:
            self._captured, self._captured_s = captured, now_s
        stalled = now_s - self._captured_s > BOUND_S
        text = (
            f"no replica has captured anything for more than {BOUND_S:g} s; changes wait in MongoDB's oplog. The "
            "replica that holds the capture lease reports why"
        )
        self._report(CAPTURE, ["capture"] if stalled else [], lambda _: text)

    def _report(self, check: str, found: Sequence[str], text: Callable[[str], str], *, level: Level = "red") -> None:
        if not found:
            self._health.green(check)
            return
        more = f", and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        report = self._health.red if level == "red" else self._health.fault
        report(check, text(f"{', '.join(found[:MOST_NAMED])}{more}"))


def own_problems(problems: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The problems to publish to other replicas (pure).

    Without those learned from others, which would echo forever, and reconciles, which every replica sees by itself.
    """
    return [
        problem
        for problem in problems
        if problem["check"] not in CHECKS and not problem["check"].startswith(RECONCILING)
    ]


def unheld(seen: Seen) -> list[str]:
    """The leases that no live replica holds (pure)."""
    return sorted(name for name, lease in seen.leases.items() if lease.holder not in seen.live)


class Trouble(NamedTuple):
    """A fault of another replica, in its own words."""

    level: Level
    text: str


def troubles(me: str, seen: Seen) -> dict[str, Trouble]:
    """The faults of other replicas that hold leases, by replica and check (pure).

    But for those of routes, which every replica reports by itself.
    """
    holders = {lease.holder for lease in seen.leases.values()} - {me}
    found = {}
    for name, document in sorted(seen.live.items()):
        if name in holders:
            for problem in own_problems((document.get("statistics") or {}).get("problems", ())):
                if problem["kind"] == "fault" and not problem["check"].startswith(ROUTE_CHECK):
                    where = f"{name}, {problem['check']}"
                    found[where] = Trouble(problem["level"], f"{where}: {problem['text']}")
    return found
