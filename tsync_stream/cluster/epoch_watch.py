"""Which epoch is current, as far as this replica knows: looked up once a second, and whenever somebody asks.

Invariant: while MongoDB answers, the answer is never older than `LOOK_INTERVAL_S + LATE_S`.
"""

import asyncio

from tsync_stream.core import clock
from tsync_stream.core.errors import TsyncError
from tsync_stream.core.model import PRIMARY, EpochRef
from tsync_stream.core.wake import Wake
from tsync_stream.source.driver import MongoHealth
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.route_state import ReconcileNeed, Suspension

LOOK_INTERVAL_S = 1.0
# The capturing replica refreshes once a second anyway; the watch looks only if that is late.
LATE_S = 0.5
# A replica that has just begun with another table waits for the epoch of that table, which opens soon.
FIRST_LOOK_INTERVAL_S = 0.1
FIRST_LOOKS_S = 10.0
ROUTE_CHECK = "route "
RECONCILING = "reconciling "


def route_check(route: str) -> str:
    """The health check of one route."""
    return f"{ROUTE_CHECK}{route}"


def about_suspension(suspended: Suspension) -> str:
    """What health says of a suspended route (pure)."""
    return (
        f"{suspended.reason}; this route is suspended, and the others go on. Its changes are not queued up; once this "
        "is repaired, it is reconciled by itself"
    )


def about_reconcile(need: ReconcileNeed) -> str:
    """What health says of a route that is being reconciled (pure)."""
    if need.paused:
        return (
            f"the reconcile of the route is paused by a person ({need.reason}); until it is done, search may lack "
            "documents, or show some that are gone. `tsync reconcile --resume` lets it go on"
        )
    return (
        f"the route is reconciled ({need.reason}); until that is done, search may lack documents, or show some that "
        "are gone. `tsync status` shows how far it is"
    )


class EpochWatch:
    """Holds the epoch document that was last read; `current` is None before the first start.

    `table` is the version of the table of routes that this replica works by, `best_tier` the tier that should be the
    queue.
    """

    def __init__(
        self, positions: PositionStore, wake: Wake, mongo: MongoHealth, table: str, best_tier: str = PRIMARY
    ) -> None:
        self._positions = positions
        self._wake = wake
        self._mongo = mongo
        self._health = mongo.health
        self._table = table
        self._best_tier = best_tier
        self._began_s = clock.now_s()
        self.current: Pipeline | None = None
        self._seen_since_s = clock.now_s()
        self._refreshed_s = float("-inf")

    def __repr__(self) -> str:
        if self.current is None:
            return "<EpochWatch, no epoch yet>"
        epoch = self.current.epoch
        return f"<EpochWatch epoch {epoch.epoch} on {epoch.tier}, for {self.age_s():.1f} s>"

    def age_s(self) -> float:
        """How long we have seen the current epoch."""
        return clock.now_s() - self._seen_since_s

    def epoch(self) -> EpochRef | None:
        """The current epoch; None before the first start."""
        return None if self.current is None else self.current.epoch

    def tier(self) -> str | None:
        """The tier that is the queue now; None before the first start."""
        return None if self.current is None else self.current.epoch.tier

    async def refresh(self) -> Pipeline | None:
        """Read the epoch document now. Raises the errors of `errors.from_mongo`."""
        current = await self._look()
        self._refreshed_s = clock.now_s()
        return current

    async def run(self) -> None:
        """Look once a second until cancelled, unless others have refreshed it."""
        while True:
            try:
                await self._look()
            except TsyncError as error:
                self._mongo.failed(
                    "epoch", error, "until it can be read, this replica does not know which epoch is current"
                )
            await asyncio.sleep(FIRST_LOOK_INTERVAL_S if self._awaits_an_epoch() else LOOK_INTERVAL_S)
            while (early_s := self._refreshed_s + LOOK_INTERVAL_S + LATE_S - clock.now_s()) > 0:
                await asyncio.sleep(early_s)

    def _awaits_an_epoch(self) -> bool:
        is_ours = self.current is not None and self.current.table == self._table
        return not is_ours and clock.now_s() < self._began_s + FIRST_LOOKS_S

    async def _look(self) -> Pipeline | None:
        before, self.current = self.current, await self._positions.load()
        # Whoever has read it: as long as somebody else refreshes it, `run` does not look.
        self._mongo.worked("epoch")
        self._tell_routes(before)
        if (before and before.epoch) != (self.current and self.current.epoch):
            self._seen_since_s = clock.now_s()
            self._tell_tier()
            self._wake.ring()
        return self.current

    def _tell_routes(self, before: Pipeline | None) -> None:
        """Every replica tells which routes are suspended or reconciled, whether it works on any partition or not."""
        now = {} if self.current is None else self.current.routes
        for route in {} if before is None else before.routes.keys() - now.keys():
            self._health.green(route_check(route))
            self._health.green(f"{RECONCILING}{route}")
        for route, state in now.items():
            if state.suspended is None:
                self._health.green(route_check(route))
            else:
                self._health.red(route_check(route), about_suspension(state.suspended), needs_person=True)
            if state.reconcile is None or state.suspended is not None:
                self._health.green(f"{RECONCILING}{route}")
            else:
                self._health.working(f"{RECONCILING}{route}", about_reconcile(state.reconcile))

    def _tell_tier(self) -> None:
        """Every replica tells it with the epoch; why the better tier failed, it learns a little later."""
        tier = self.current.epoch.tier if self.current else self._best_tier
        if tier == self._best_tier:
            self._health.green("queue")
        else:
            better = f"not the {self._best_tier} one; the queue returns once that one is healthy"
            self._health.degraded("queue", f"the {tier} tier is the queue, {better}")
