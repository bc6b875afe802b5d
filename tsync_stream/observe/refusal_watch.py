"""Looks, on every replica, at how many documents are refused, for health and metrics.

Invariants: a look is cheap beside what the pipeline does, however many there are: an index answers, and the longer
that takes, the rarer are the looks. While MongoDB cannot be asked, what was seen last stands.
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
# After a look that took long.
REST_FACTOR = 50.0


class RefusalWatch:
    """`count_documents` says about how many documents the source has."""

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
        """Look until cancelled."""
        while True:
            began_s = time.monotonic()
            with suppress(TsyncError):  # MongoDB: others say so
                await self.look()
            await asyncio.sleep(max(LOOK_INTERVAL_S, REST_FACTOR * (time.monotonic() - began_s)))

    async def look(self) -> None:
        """Look once. Raises the errors of `errors.from_mongo`."""
        refused = refused_among(await self._records.count_by_reason(Selection(route=self._route), "open"))
        self._metrics.show_refused(refused.by_reason)
        if not refused.total:
            self._health.green(CHECK)
            return
        documents = await self._count_documents()
        tell = self._health.red if refused.level(documents, self._alert_share) == "red" else self._health.degraded
        tell(CHECK, f"{describe(refused, documents, self._alert_share)}. {WHAT_TO_DO}", needs_person=True)
