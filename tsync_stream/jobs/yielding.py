"""How fast jobs may queue while people search: as fast as searches stay quick (pure, but for the question).

Typesense says how many searches it answers and how long they take on average, for ten seconds at a time. Before a job
queues anything, that is what is usual. Multiplicative decrease while searches take twice as long, additive increase
while they do not. Invariants: without searches, or while they are quick, nothing is limited; some keys may always be
queued, so every job ends; live changes are never slowed by this.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

import orjson

from tsync_stream.core.errors import TsyncError
from tsync_stream.sink.http import Answer

Ask = Callable[[str, str], Awaitable[Answer]]

# Typesense counts for so long before it says anything new.
WINDOW_S = 10.0
# Fewer searches a second say nothing, and need nothing.
ENOUGH_PER_S = 1.0
# Searches are slowed when they take so many times as long as at best, and by this much at least.
SLOW_TIMES = 2.0
SLOW_BY_MS = 5.0
FACTOR = 0.5
# Of the pace that was too fast.
STEP_SHARE = 0.05
LEAST_SHARE = 0.05
LEAST_PER_S = 50.0
# What is usual may change: by so much in each window, twice as long in some twenty minutes.
DRIFT = 1.005


class Searches(NamedTuple):
    """What Typesense said last: how many searches a second, and how long they took on average."""

    per_s: float
    took_ms: float


class Yielding:
    """`per_s` is how many keys a second jobs may queue now; None: any number."""

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._best_ms = float("inf")
        self._too_fast_per_s = 0.0

    def __repr__(self) -> str:
        return f"Yielding({'no limit' if self.per_s is None else f'{self.per_s:.0f} a second'}, {self._best_ms:g} ms)"

    def note(self, searches: Searches, queued_per_s: float) -> None:
        """A window has passed, in which jobs queued so many keys a second."""
        enough = searches.per_s >= ENOUGH_PER_S
        if enough:
            self._best_ms = min(self._best_ms * DRIFT, searches.took_ms)
        slow = searches.took_ms > max(SLOW_TIMES * self._best_ms, self._best_ms + SLOW_BY_MS)
        if enough and slow:
            self._slow_down(queued_per_s)
        elif self.per_s is not None:
            self._speed_up(all_of_it=not enough)

    def begin(self) -> None:
        """Jobs have queued nothing for a while: whatever searches take now is usual."""
        self.per_s, self._best_ms = None, float("inf")

    def _slow_down(self, queued_per_s: float) -> None:
        if self.per_s is None:
            if queued_per_s <= LEAST_PER_S:
                return  # jobs are not what slows searches down
            self._too_fast_per_s = self.per_s = queued_per_s
        self.per_s = max(LEAST_PER_S, LEAST_SHARE * self._too_fast_per_s, self.per_s * FACTOR)

    def _speed_up(self, *, all_of_it: bool) -> None:
        assert self.per_s is not None
        self.per_s += STEP_SHARE * self._too_fast_per_s
        if all_of_it or self.per_s >= self._too_fast_per_s:
            self.per_s = None


async def searches_now(ask: Ask) -> Searches | None:
    """What Typesense says of its searches; None if it does not, or our key may not know."""
    try:
        answer = await ask("GET", "/stats.json")
        if answer.status != HTTPStatus.OK:
            return None
        stats = orjson.loads(answer.body)
        return Searches(float(stats["search_requests_per_second"]), float(stats["search_latency_ms"]))
    except (TsyncError, ValueError, LookupError, TypeError):
        return None
