"""How fast jobs queue keys while the rate of writes is limited: no faster than they can be written.

Otherwise the queue would fill with keys of jobs, and live changes, of other routes too, would wait behind them for as
long as it takes to write those. Invariants: jobs leave some of the rate to live changes, and stop while their own keys
pile up; a route's own limit holds up no other route's jobs.
"""

import asyncio
from collections.abc import Callable

from tsync_stream.core.pacer import LOOK_S, MaxRates, Pacer

# Of the rate. The rest is for live changes, and for what is written twice.
SHARE_OF_JOBS = 0.9
# A page is worth so many seconds.
PAGE_S = 0.25
# So much of a job may be queued and not synced: more than barriers take to say that it is.
MOST_UNSYNCED_S = 5.0
# Barriers are unacked entries too.
_BARRIERS = 20


class JobPace:
    """The pace of all jobs of a deployment: they run on one replica, and may use the whole rate."""

    def __init__(self, rates: MaxRates) -> None:
        self._rates = rates
        self._of_all = Pacer(lambda: self._rate_per_s(rates.per_s))
        self._of_routes: dict[str, Pacer] = {}

    def __repr__(self) -> str:
        return f"<JobPace {self._of_all}, {self._of_routes}>"

    def page(self, route: str, most: int) -> int:
        """How many keys of a route to queue together, at most `most`."""
        rate_per_s = self._rates.of(route)
        return most if rate_per_s is None else max(1, min(most, int(rate_per_s * SHARE_OF_JOBS * PAGE_S)))

    def most_waiting(self, most: int) -> int:
        """How many entries, of whatever kind, may be unacked for jobs to queue more; at most `most`."""
        return (
            most if self._rates.per_s is None else min(most, max(_BARRIERS, int(self._rates.per_s * MOST_UNSYNCED_S)))
        )

    def took(self, route: str, keys: int) -> None:
        """So many keys of a route are queued."""
        for pacer in self._pacers(route):
            pacer.take(keys)

    async def turn(self, route: str, unsynced: Callable[[], int]) -> None:
        """Wait until more keys of a route may be queued. `unsynced()`: how many of the job's own are not synced yet."""
        for pacer in self._pacers(route):
            await pacer.turn(0)
        while (rate_per_s := self._rates.by_route.get(route)) and unsynced() > max(1, rate_per_s * MOST_UNSYNCED_S):
            await asyncio.sleep(LOOK_S)

    def _pacers(self, route: str) -> list[Pacer]:
        pacers = []
        if route in self._rates.by_route:
            if route not in self._of_routes:
                self._of_routes[route] = Pacer(lambda: self._rate_per_s(self._rates.by_route.get(route)))
            pacers.append(self._of_routes[route])
        return pacers if self._rates.per_s is None else [*pacers, self._of_all]

    @staticmethod
    def _rate_per_s(rate_per_s: float | None) -> float:
        return SHARE_OF_JOBS * (rate_per_s or 1_000_000)
