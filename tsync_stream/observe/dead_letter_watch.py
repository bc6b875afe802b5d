"""Counts the open dead letters, on every replica, for health and metrics.

Invariants: counting stays cheap beside the pipeline's own work, however many there are: an index answers, and the
slower it is, the rarer the counts. While MongoDB does not answer, the last count stands.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.health import Health
from tsync_stream.observe.metrics import Metrics
from tsync_stream.state.dead_letter_counts import WHAT_TO_DO, describe, refused_among
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection

CHECK = "dead letters"
LOOK_INTERVAL_S = 5.0
# A count that took long is followed by a rest of this many times as long.
REST_FACTOR = 50.0


class DeadLetterWatch:
    """`count_documents` returns about how many documents the source has."""

    def __init__(
        self,
        route: str,
        records: DeadLetterRecords,
        count_documents: Callable[[], Awaitable[int]],
        health: Health,
        metrics: Metrics,
        alert_share: float,
    ) -> None:
        self._route = route
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
        refused = refused_among(await self._records.count_by_reason(Selection(route=self._route), "open"))
        self._metrics.show_refused(self._route, refused.by_reason)
        if not refused.total:
            self._health.green(CHECK)
            return
        documents = await self._count_documents()
        report = self._health.red if refused.level(documents, self._alert_share) == "red" else self._health.degraded
        report(CHECK, f"{describe(refused, documents, self._alert_share)}. {WHAT_TO_DO}", needs_person=True)
