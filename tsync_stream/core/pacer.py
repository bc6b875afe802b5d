"""So many a second: a leaky bucket for whatever is counted, and the rates that people set.

Invariants: whoever asks first goes first, whatever the amounts. At most `CREDIT_S` of a pause is made up for. The rate
may change at any time, also for those who wait.

`aiolimiter` does not fit: its rate is fixed when it is made, an amount may not exceed its bucket, and a small amount
overtakes a large one that waits.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tsync_stream.core import clock

# Without it, what every wait oversleeps would be lost, and the rate would stay below the one that is set.
CREDIT_S = 0.25
# How soon somebody who waits notices a change.
LOOK_S = 0.25
NO_TIME_S = 1e-6


class Pacer:
    """`rate_per_s()` is the rate at this moment, above 0."""

    def __init__(self, rate_per_s: Callable[[], float]) -> None:
        self._rate_per_s = rate_per_s
        self._passed = 0.0  # how many could have passed until `_seen_s`
        self._taken = 0.0  # how many were asked for
        self._seen_s = clock.now_s()

    def __repr__(self) -> str:
        return f"<Pacer {self._rate_per_s():g} a second, {max(0.0, self._taken - self._passed):.0f} ahead>"

    def portion(self, seconds: float, most: int) -> int:
        """How many pass in so many seconds, at the present rate: at least 1 and at most `most`."""
        return max(1, int(min(self._rate_per_s() * seconds, most)))

    def take(self, amount: float) -> float:
        """A place in line for so many; `left_s` says when it is their turn."""
        self._look()
        place = self._taken
        self._taken += amount
        return place

    def left_s(self, place: float) -> float:
        """How long from now until it is this place's turn, at the present rate; 0 if it is."""
        rate_per_s = self._look()
        left_s = (place - self._passed) / rate_per_s
        return left_s if left_s > NO_TIME_S else 0.0

    async def turn(self, amount: float) -> None:
        """Wait in line for so many, and return when it is their turn."""
        place = self.take(amount)
        while left_s := self.left_s(place):
            await asyncio.sleep(min(left_s, LOOK_S))

    def _look(self) -> float:
        now_s, rate_per_s = clock.now_s(), self._rate_per_s()
        passed = self._passed + (now_s - self._seen_s) * rate_per_s
        self._passed = min(passed, self._taken + rate_per_s * CREDIT_S)
        self._seen_s = now_s
        return rate_per_s


@dataclass(slots=True)
class MaxRates:
    """How many documents a second Typesense may be sent: by all routes together (None: no limit), and by single ones.

    The values may be replaced while we run: whoever uses them looks every time.
    """

    per_s: float | None = None
    by_route: Mapping[str, float] = field(default_factory=dict)

    def of(self, route: str) -> float | None:
        """The lower one of those that apply to a route; None if none does."""
        rates = [rate for rate in (self.per_s, self.by_route.get(route)) if rate is not None]
        return min(rates, default=None)
