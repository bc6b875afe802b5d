"""What the capturing replica measures once a second: the backlog, the lag, and how much of the oplog is left.

Invariants: over MAX_BACKLOG the feed pauses until a tenth of that is worked off. While changes wait, in the queue or in
the oplog, health knows how long MongoDB will still hold those that are not synced.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from bson.timestamp import Timestamp

from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core.health import Health
from tsync_stream.core.model import Position
from tsync_stream.observe.metrics import Metrics
from tsync_stream.source.driver import MongoClient
from tsync_stream.source.oplog import Oplog, read_oplog

OPLOG_LOOK_INTERVAL_S = 10.0
# The queue is full until it has shrunk to this share of MAX_BACKLOG.
FULL_UNTIL_SHARE = 0.9


class Backlog:
    """`full` says whether the feed should pause. `tiers` are the names of all tiers, for the metrics.

    `refreshing_since` returns, for each route with open refreshes, the time of the oldest change that they stand for.
    """

    def __init__(
        self,
        client: MongoClient,
        tiers: Collection[str],
        max_backlog: int,
        health: Health,
        metrics: Metrics,
        refreshing_since: Callable[[], Awaitable[Mapping[str, Timestamp]]],
    ) -> None:
        self._client = client
        self._tiers = tiers
        self._max_backlog = max_backlog
        self._health = health
        self._metrics = metrics
        self._refreshing_since = refreshing_since
        self.full = False
        self._oplog: Oplog | None = None
        self._oplog_looked_s = float("-inf")

    def __repr__(self) -> str:
        return f"<Backlog {'full' if self.full else 'not full'}>"

    async def measure(self, term: CaptureTerm) -> None:
        """Measure once. Raises the errors of the tier and of MongoDB."""
        metrics, synced = self._metrics, term.synced
        backlog = await term.tier.backlog(term.pipeline.epoch, term.partitions)
        term.backlog = sum(backlog)
        tier = term.pipeline.epoch.tier
        for partition, entries in enumerate(backlog):
            metrics.backlog_entries.labels(tier, str(partition)).set(entries)
        metrics.backlog_limit_entries.set(self._max_backlog)
        metrics.epoch.set(term.pipeline.epoch.epoch)
        for name in self._tiers:
            metrics.tier.labels(name).set(name == term.pipeline.epoch.tier)
        behind = term.backlog > 0 or term.in_flight > 0
        lag_s = _ago_s(synced.cluster_time) if behind else 0.0
        metrics.lag_seconds.set(lag_s)
        since = await self._refreshing_since()
        metrics.route_lag_seconds.clear()
        for name in term.table:
            if term.pipeline.need(name) is None:  # what is synced says nothing about a route that is being reconciled
                refresh_lag_s = _ago_s(since[name]) if name in since else 0.0
                metrics.route_lag_seconds.labels(name).set(max(lag_s, refresh_lag_s))
        await self._look_at_oplog()
        self._report(term.backlog, synced, behind=behind)

    async def _look_at_oplog(self) -> None:
        if time.monotonic() - self._oplog_looked_s >= OPLOG_LOOK_INTERVAL_S:
            self._oplog_looked_s = time.monotonic()
            self._oplog = await read_oplog(self._client)

    def _report(self, backlog: int, synced: Position, *, behind: bool) -> None:
        health, limit = self._health, self._max_backlog
        self.full = backlog > (FULL_UNTIL_SHARE * limit if self.full else limit)
        left_s = None if self._oplog is None else self._oplog.left_s(synced.cluster_time)
        self._metrics.oplog_left_seconds.set(left_s)
        if self.full:
            health.fault(
                "backlog",
                f"more than MAX_BACKLOG ({limit}) entries are queued; further changes wait in MongoDB's oplog until "
                f"some are synced: {describe_left(left_s)}",
            )
        else:
            health.green("backlog")
        # What is not synced fills half of the oplog: time for a warning, whatever its size.
        if behind and self._oplog is not None and left_s is not None and left_s < self._oplog.capacity_s / 2:
            text = f"{describe_left(left_s)}; enlarge the oplog, or find out why nothing is synced"
            health.red("oplog", text, needs_person=True)
        else:
            health.green("oplog")


def _ago_s(cluster_time: Timestamp) -> float:
    return max(0.0, time.time() - cluster_time.time)


def describe_left(left_s: float | None) -> str:
    """How much of the oplog is left, for people; in steps, because every new text is logged (pure)."""
    if left_s is None:
        return "how long the oplog will hold them cannot be seen"
    if left_s <= 0:
        return "some of them have fallen out of it, and a reconcile will repair that"
    for unit_s, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if left_s >= 2 * unit_s:
            return f"at the present rate the oplog holds what is not synced for another {left_s / unit_s:.0f} {unit}"
    return "at the present rate the oplog holds what is not synced for less than two minutes"
