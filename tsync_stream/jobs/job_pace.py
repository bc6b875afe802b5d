"""How fast jobs queue keys: no faster than they can be written where a rate is set, nor than searches can bear.

Otherwise the queue would fill with keys of jobs, and live changes, of other routes too, would wait behind them for as
long as it takes to write those. Invariants: jobs leave some of the rate to live changes, and stop while their own keys
pile up; a route's own limit holds up no other route's jobs.
"""

import asyncio
import logging
from collections.abc import Callable

from tsync_stream.core import clock
from tsync_stream.core.events import event
from tsync_stream.core.pacer import LOOK_S, MaxRates, Pacer
from tsync_stream.jobs.yielding import WINDOW_S, Ask, Yielding, searches_now

log = logging.getLogger(__name__)

# Of the rate. The rest is for live changes, and for what is written twice.
SHARE_OF_JOBS = 0.9
# A page is worth so many seconds.
PAGE_S = 0.25
# So much of a job may be queued and not synced: more than barriers take to say that it is.
MOST_UNSYNCED_S = 5.0
# Barriers are unacked entries too.
_BARRIERS = 20
_MOST = 1_000_000
# After so long without a job, another one begins with what searches take without it.
PAUSE_S = 60.0


class JobPace:
    """The pace of all jobs of a deployment: they run on one replica, and may use the whole rate.

    `ask` sends a request to Typesense, to learn how its searches do; None: jobs do not yield to searches.
    """

    def __init__(self, rates: MaxRates, ask: Ask | None = None) -> None:
        self._rates = rates
        self._ask = ask
        self._yielding = Yielding()
        self._looked_s = float("-inf")
        self._queued = 0  # since then
        self._of_all = Pacer(lambda: self._rate_per_s(rates.per_s))
        self._beside_searches = Pacer(lambda: self._yielding.per_s or _MOST)
        self._of_routes: dict[str, Pacer] = {}

    def __repr__(self) -> str:
        return f"<JobPace {self._of_all}, {self._of_routes}, {self._yielding}>"

    @property
    def slowing(self) -> list[str]:
        """What makes jobs slower than they could be, for people."""
        return [] if self._yielding.per_s is None else ["jobs are slowed, so that searches stay quick"]

    def page(self, route: str, most: int) -> int:
        """How many keys of a route to queue together, at most `most`."""
        rate_per_s = self._rates.of(route)
        limit = None if rate_per_s is None else rate_per_s * SHARE_OF_JOBS
        limits = [each for each in (limit, self._yielding.per_s) if each is not None]
        return max(1, min([most, *(int(each * PAGE_S) for each in limits)]))

    def most_waiting(self, most: int) -> int:
        """How many entries, of whatever kind, may be unacked for jobs to queue more; at most `most`."""
        rates = [each for each in (self._rates.per_s, self._yielding.per_s) if each is not None]
        return min(most, max(_BARRIERS, int(min(rates) * MOST_UNSYNCED_S))) if rates else most

    def took(self, route: str, keys: int) -> None:
        """So many keys of a route are queued."""
        self._queued += keys
        for pacer in self._pacers(route):
            pacer.take(keys)

    async def turn(self, route: str, unsynced: Callable[[], int]) -> None:
        """Wait until more keys of a route may be queued. `unsynced()`: how many of the job's own are not synced yet."""
        await self._look_at_searches()
        for pacer in self._pacers(route):
            await pacer.turn(0)
        while (rate_per_s := self._rates.by_route.get(route)) and unsynced() > max(1, rate_per_s * MOST_UNSYNCED_S):
            await asyncio.sleep(LOOK_S)

    async def _look_at_searches(self) -> None:
        now_s = clock.now_s()
        if self._ask is None or now_s - self._looked_s < WINDOW_S:
            return
        paused = now_s - self._looked_s > PAUSE_S
        queued_per_s = self._queued / (now_s - self._looked_s)
        self._looked_s, self._queued = now_s, 0  # first of all: several jobs may ask
        searches = await searches_now(self._ask)
        if searches is None:
            return
        if paused:
            self._yielding.begin()
        before = self._yielding.per_s
        self._yielding.note(searches, queued_per_s)
        if before is None and self._yielding.per_s is not None:
            text = "jobs: searches take %.0f ms, longer than usual, so jobs queue %.0f keys a second at most"
            log.info(text, searches.took_ms, self._yielding.per_s, extra=event("jobs.yielding"))
        elif before is not None and self._yielding.per_s is None:
            log.info("jobs: they queue at full pace again", extra=event("jobs.full_pace"))

    def _pacers(self, route: str) -> list[Pacer]:
        pacers = [] if self._yielding.per_s is None else [self._beside_searches]
        if route in self._rates.by_route:
            if route not in self._of_routes:
                self._of_routes[route] = Pacer(lambda: self._rate_per_s(self._rates.by_route.get(route)))
            pacers.append(self._of_routes[route])
        return pacers if self._rates.per_s is None else [*pacers, self._of_all]

    @staticmethod
    def _rate_per_s(rate_per_s: float | None) -> float:
        return SHARE_OF_JOBS * (rate_per_s or _MOST)
