"""Measures once a second what no part of the pipeline notices by itself: the event loop's delay and lease changes.

Invariant: a lease that was given back and taken again between two looks was taken at another time, and counts as both.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from tsync_stream.cluster.assignment import Held
from tsync_stream.observe.metrics import Metrics

LOOK_INTERVAL_S = 1.0


class ProcessWatch:
    """`held()` returns the leases of this replica, by name."""

    def __init__(self, held: Callable[[], Mapping[str, Held]], metrics: Metrics) -> None:
        self._held = held
        self._metrics = metrics
        self._taken_s: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<ProcessWatch of {len(self._taken_s)} leases>"

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            asked_s = time.monotonic()
            await asyncio.sleep(LOOK_INTERVAL_S)
            self.look(time.monotonic() - asked_s - LOOK_INTERVAL_S)

    def look(self, delay_s: float) -> None:
        """Look once; the event loop was `delay_s` late."""
        self._metrics.event_loop_delay_seconds.observe(max(0.0, delay_s))
        taken_s = {name: lease.taken_s for name, lease in self._held().items()}
        taken = sum(self._taken_s.get(name) != at_s for name, at_s in taken_s.items())
        gone = sum(taken_s.get(name) != at_s for name, at_s in self._taken_s.items())
        self._metrics.lease_changes.labels("taken").inc(taken)
        self._metrics.lease_changes.labels("gone").inc(gone)
        self._taken_s = taken_s
