"""The statistics that a replica publishes in its lease document: totals since its start, and current rates.

Invariant: pure; the caller reads the counters and the clock. Nothing names a document.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(slots=True)
class Rates:
    """Turns counters into rates over the interval between two calls of `measure`.

    `now_s` is on any clock that never jumps; `started_at` is for people.
    """

    now_s: float
    _captured: int = 0
    _synced: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def measure(self, now_s: float, captured: int, synced: int) -> dict[str, Any]:
        """The `statistics` of a replica's document: totals since its start, and rates since the last call."""
        passed_s = now_s - self.now_s
        statistics = {
            "started_at": self.started_at,
            "captured": captured,
            "synced": synced,
            "captured_per_s": _per_second(captured - self._captured, passed_s),
            "synced_per_s": _per_second(synced - self._synced, passed_s),
        }
        self.now_s, self._captured, self._synced = now_s, captured, synced
        return statistics


def _per_second(count: int, passed_s: float) -> float:
    return round(count / passed_s, 1) if passed_s > 0 else 0.0
