"""Keeps the history of the deployment while this replica captures (`state/history.py`).

Invariant: it writes what this replica knows already, once every few seconds, and asks nobody.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core.errors import TsyncError
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.rates import CAPTURED, SYNCED
from tsync_stream.state.history import INTERVAL_S, History, Sample


class HistoryKeeper:
    """Appends a sample every `INTERVAL_S` while the capture lease is ours."""

    def __init__(self, history: History, leases: LeaseKeeper, metrics: Metrics) -> None:
        self._history = history
        self._leases = leases
        self._metrics = metrics

    def __repr__(self) -> str:
        return f"<HistoryKeeper, {'writing' if self._leases.holding(CAPTURE) else 'standby'}>"

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            seen = self._leases.seen
            if seen is None or self._leases.holding(CAPTURE) is None:
                continue
            published = (document.get("statistics") or {} for document in seen.live.values())
            with suppress(TsyncError):  # MongoDB is away: other checks report it, and the chart has a gap
                await self._history.append(sample_of(published, self._metrics.present_lag_s))


def sample_of(published: Iterable[Mapping[str, Any]], lag_s: float | None) -> Sample:
    """What all live replicas have published together, and the lag that the capturing one measures (pure)."""
    found = list(published)

    def rate(name: str) -> float:
        return round(sum(float(statistics.get(name, 0.0)) for statistics in found), 1)

    return Sample(rate(CAPTURED), rate(SYNCED), None if lag_s is None else round(lag_s, 1))
