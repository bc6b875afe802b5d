"""Time that leases and deadlines are measured on: it includes suspend, and never steps back.

A lease must be found expired when a laptop or a virtual machine wakes from a sleep that outlasted it. On Linux the
ordinary monotonic clock stands still during suspend; CLOCK_BOOTTIME does not (clock_gettime(2)).
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Seconds since some moment before this machine's start."""
    return time.clock_gettime(_CLOCK)


class Moment(NamedTuple):
    """A moment that something has lasted since: the time for people, and seconds on this clock for durations."""

    at: datetime
    on_clock_s: float

    def for_s(self) -> float:
        """How long ago that was, in seconds."""
        return now_s() - self.on_clock_s


def moment() -> Moment:
    """The present moment."""
    return Moment(datetime.now(UTC), now_s())


class Stopwatch:
    """How long each of several named conditions has held, without a break. Pure: the caller passes the time."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def longer_than(self, bound_s: float, holding: Iterable[str], now_s: float) -> list[str]:
        """Of the conditions that hold now, those that have held for more than `bound_s`; the others start over."""
        self._since_s = {name: self._since_s.get(name, now_s) for name in holding}
        return [name for name, since_s in self._since_s.items() if now_s - since_s > bound_s]
