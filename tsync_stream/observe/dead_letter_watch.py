"""Counts the open dead letters of every route, on every replica, for health and metrics.

Invariants: counting stays cheap beside the pipeline's own work, however many there are: an index answers, and the
slower it is, the rarer the counts. While MongoDB does not answer, the last count stands.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.model import Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.dead_letter_counts import describe, refused_among, what_to_do
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection

CHECK = "dead letters"
LOOK_INTERVAL_S = 5.0
# A count that took long is followed by a rest of this many times as long.
REST_FACTOR = 50.0


class DeadLetterWatch:
    """`count_documents` returns about how many documents the source of a route has."""

    def __init__(
        self,
        table: RouteTable,
        records: DeadLetterRecords,
        count_documents: Callable[[Route], Awaitable[int]],
        health: Health,
        metrics: Metrics,
        alert_share: float,
    ) -> None:
        self._table = table
        self._records = records
        self._count_documents = count_documents
        self._health = health
        self._metrics = metrics
        self._alert_share = alert_share

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            began_s = time.monotonic()
            with suppress(TsyncError):  # MongoDB is away: other checks report it
                await self.look()
            await asyncio.sleep(max(LOOK_INTERVAL_S, REST_FACTOR * (time.monotonic() - began_s)))

    async def look(self) -> None:
        """Count once. Raises the errors of `errors.from_mongo`."""
        for route in self._table.routes:
            await self._look_at(route)

    async def _look_at(self, route: Route) -> None:
        check = self._table.title(CHECK, route.name)
        refused = refused_among(await self._records.count_by_reason(Selection(route=route.name), "open"))
        self._metrics.show_refused(route.name, refused.by_reason)
        if not refused.total:
            self._health.green(check)
            return
        documents = await self._count_documents(route)
        report = self._health.red if refused.level(documents, self._alert_share) == "red" else self._health.degraded
        advice = what_to_do(self._table.option(route.name))
        report(check, f"{describe(refused, documents, self._alert_share)}. {advice}", needs_person=True)
