"""How much this replica sends to Typesense: the rates that are set, of all routes and of single ones.

The rates are those of the whole deployment. A replica has the share of them that it has of the partitions, so nobody
has to be asked, and all replicas together stay below them. A document counts each time it is written or deleted.

Invariants: a lane waits here before it hands a part of its batch to the sync agent, so no document is read, and no
lease is checked, before the wait. A wait ends as soon as the lane has to let go of its batch.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping

from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.core import clock
from tsync_stream.core.pacer import LOOK_S, MaxRates, Pacer
from tsync_stream.observe.metrics import Metrics
from tsync_stream.sink.load_control import LoadControl
from tsync_stream.sync.portion import Portion

# What is sent at once is worth so many seconds: little, so that lanes and replicas take turns quickly.
PORTION_S = 0.25
# What a lane reads at once: its batch ends within about so many seconds, and so does what a crash repeats.
BATCH_S = 10.0
# Whoever asks is told of a limit if a batch has waited for it within so many seconds.
RECENTLY_S = 10.0
# More than any batch has.
_MOST = 1_000_000


class RateLimit:
    """One for all lanes of a replica. `held()` names the leases that it has, `partitions` is how many there are.

    `load` says whether Typesense gets less than usual, because it is slow.
    """

    def __init__(
        self,
        rates: MaxRates,
        held: Callable[[], Collection[str]],
        partitions: int,
        lanes: int,
        metrics: Metrics,
        load: LoadControl,
    ) -> None:
        self._rates = rates
        self._load = load
        self._held = held
        self._partitions = partitions
        self._lanes = lanes
        self._metrics = metrics
        self._of_all = Pacer(lambda: (rates.per_s or _MOST) * self._share())
        self._of_routes: dict[str, Pacer] = {}
        self._waited_s: dict[str, float] = {}  # when somebody last had to wait, by route; "" for all

    def __repr__(self) -> str:
        if not self._is_set:
            return "RateLimit(none)"
        routes = "".join(f", {route}: {per_s:g}" for route, per_s in self._rates.by_route.items())
        return f"RateLimit({self._rates.per_s or 'any'} a second{routes}; {self._share():.0%} of it is ours)"

    @property
    def portion(self) -> Portion | None:
        """How much of a batch may be sent at once; None while no rate is set."""
        if not self._is_set:
            return None
        most = None if self._rates.per_s is None else self._of_all.portion(PORTION_S, _MOST)
        return Portion(most, {route: self._of(route).portion(PORTION_S, _MOST) for route in self._rates.by_route})

    @property
    def most_in_hand(self) -> int | None:
        """How many entries a lane should have in hand at most; None: any number."""
        most = self._load.documents if self._load.is_lowered else None
        if self._rates.per_s is None:
            return most
        return self._of_all.portion(BATCH_S / self._lanes, _MOST if most is None else most)

    @property
    def slowing(self) -> list[str]:
        """What makes batches slower than they could be, for people."""
        recent_s = clock.now_s() - RECENTLY_S
        names = sorted(name for name, waited_s in self._waited_s.items() if waited_s > recent_s)
        slow = ["slowed because Typesense answers slowly"] if self._load.is_lowered else []
        return slow + [
            f"limited by `max_rate` of route {name}" if name else "limited by TYPESENSE_MAX_RATE" for name in names
        ]

    async def turn(self, documents: Mapping[str, int], may_go_on: Callable[[], bool]) -> bool:
        """Wait until so many documents may be sent, by route. False as soon as `may_go_on` says no."""
        places = [
            (route, self._of(route), count) for route, count in documents.items() if route in self._rates.by_route
        ]
        if self._rates.per_s is not None:
            places.append(("", self._of_all, sum(documents.values())))
        began_s = clock.now_s()
        try:
            for name, pacer, count in places:
                if not await self._turn(name, pacer, count, may_go_on):
                    return False
        finally:
            self._metrics.rate_limit_wait_seconds.inc(clock.now_s() - began_s)
        return True

    async def _turn(self, name: str, pacer: Pacer, count: int, may_go_on: Callable[[], bool]) -> bool:
        place = pacer.take(count)
        while left_s := pacer.left_s(place):
            self._waited_s[name] = clock.now_s()
            await asyncio.sleep(min(left_s, LOOK_S))
            if not may_go_on():
                return False
        return True

    def _share(self) -> float:
        """Ours: of one partition at least, for a batch whose lease is on its way back."""
        held = sum(name != CAPTURE for name in self._held())
        return max(1, held) / self._partitions

    @property
    def _is_set(self) -> bool:
        return self._rates.per_s is not None or bool(self._rates.by_route)

    def _of(self, route: str) -> Pacer:
        if route not in self._of_routes:
            self._of_routes[route] = Pacer(lambda: self._rates.by_route.get(route, _MOST) * self._share())
        return self._of_routes[route]
