"""What a replica says of its own work in its lease document: totals since it started, and the pace of late.

Invariant: pure; the caller reads the counters and the clock. Nothing in it names a document.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(slots=True)
class Rates:
    """Turns counters into numbers per second over the last interval, from one call of `measure` to the next.

    `now_s` is on any clock that does not jump; `started_at` is for people.
    """

    now_s: float
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _captured: int = 0
    _synced: int = 0

    def measure(self, now_s: float, captured: int, synced: int) -> dict[str, Any]:
        """The `statistics` of a replica's document: changes and entries since the start, and per second of late."""
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
