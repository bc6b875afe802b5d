"""Does the work go on? Judged by every replica, whether or not it holds leases: who holds none still sees who does.

Invariant: while something waits and does not move for `BOUND_S`, no replica's health is green. Four things are watched,
which together are all of the way of a change:

- Somebody holds every lease, and is alive.
- The captured position moves: it does so at least every ten seconds, since barriers follow also where nothing changes.
- A lane of our own ends what it has in hand.
- What a holder of leases says of itself: while it is red there, it is red everywhere.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from tsync_stream.cluster.assignment import Seen
from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core import clock
from tsync_stream.core.health import Health
from tsync_stream.core.model import Position

# Longer than a take-over with the default LEASE_TTL, and than any wait that belongs to the work.
BOUND_S = 60.0
LOOK_INTERVAL_S = 1.0
# What a holder is through with so soon is not told everywhere.
TOLD_AFTER_S = 5.0

OTHERS = "other replicas"
CHECKS = (OTHERS, "progress, leases", "progress, capture", "progress, lanes")


class Working(Protocol):
    """What takes one piece of work after the other: a lane."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def moved_s(self) -> float:
        """When its last piece began, on `core.clock`."""


class Progress:
    """`run` looks once a second, until cancelled."""

    def __init__(self, leases: LeaseKeeper, epochs: EpochWatch, lanes: Sequence[Working], health: Health) -> None:
        self._leases = leases
        self._epochs = epochs
        self._lanes = lanes
        self._health = health
        self._captured: Position | None = None
        self._captured_s = clock.now_s()
        self._unheld = _Lasting()
        self._troubles = _Lasting()

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def look(self) -> None:
        """Judge what is known now; nothing is asked for it."""
        now_s, seen = clock.now_s(), self._leases.seen
        self._look_at_capture(now_s)
        self._tell(
            "progress, lanes",
            [lane.name for lane in self._lanes if now_s - lane.moved_s > BOUND_S],
            lambda names: f"{names}: what it has in hand is not done for more than {BOUND_S:g} s",
        )
        if seen is None:
            return
        self._tell(
            "progress, leases",
            self._unheld.longer_than(BOUND_S, unheld(seen), now_s),
            lambda names: f"no replica works on {names} for more than {BOUND_S:g} s; those that run say why",
        )
        told = troubles(self._leases.replica, seen)
        lasting = self._troubles.longer_than(TOLD_AFTER_S, told, now_s)
        self._tell(OTHERS, [told[name] for name in lasting], lambda texts: f"who holds leases says: {texts}")

    def _look_at_capture(self, now_s: float) -> None:
        pipeline = self._epochs.current
        captured = None if pipeline is None else pipeline.captured
        if captured != self._captured:
            self._captured, self._captured_s = captured, now_s
        stands = now_s - self._captured_s > BOUND_S
        text = f"nothing was captured for more than {BOUND_S:g} s, by any replica; MongoDB's oplog keeps what changes"
        self._tell("progress, capture", ["capture"] if stands else [], lambda _: text)

    def _tell(self, check: str, found: Sequence[str], text: Callable[[str], str]) -> None:
        if not found:
            self._health.green(check)
            return
        more = f", and {len(found) - 2} more" if len(found) > 2 else ""
        self._health.red(check, text(f"{', '.join(found[:2])}{more}"))


def own_problems(problems: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that others may be told: what we have from others would come back to them, and never end (pure)."""
    return [problem for problem in problems if problem["check"] not in CHECKS]


def unheld(seen: Seen) -> list[str]:
    """The leases that nobody who lives holds (pure)."""
    return sorted(name for name, lease in seen.leases.items() if lease.holder not in seen.live)


def troubles(me: str, seen: Seen) -> dict[str, str]:
    """What is red at other replicas that hold leases, in their own words, by replica and check (pure)."""
    holders = {lease.holder for lease in seen.leases.values()} - {me}
    found = {}
    for name, document in sorted(seen.live.items()):
        if name in holders:
            for problem in own_problems((document.get("statistics") or {}).get("problems", ())):
                if problem.get("level", "red") == "red":
                    found[f"{name}, {problem['check']}"] = f"{name}, {problem['check']}: {problem['text']}"
    return found


class _Lasting:
    """Since when each of some things has been so."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def longer_than(self, bound_s: float, found: Iterable[str], now_s: float) -> list[str]:
        """Those of the things that are `found` now, and have been for so long."""
        self._since_s = {name: self._since_s.get(name, now_s) for name in found}
        return [name for name, since_s in self._since_s.items() if now_s - since_s > bound_s]
