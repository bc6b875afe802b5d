"""The statistics that a replica publishes in its lease document: totals since its start, and current rates.

Invariants: pure; the caller reads the counters and the clock. Nothing names a document. The document stays small,
however many routes there are: only the busiest have rates of their own.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

MOST_ROUTES = 50

CAPTURED, SYNCED = "captured_per_s", "synced_per_s"


@dataclass(slots=True)
class Rates:
    """Turns counters into rates over the interval between two calls of `measure`.

    `now_s` is on any clock that never jumps; `started_at` is for people.
    """

    now_s: float
    _captured: Mapping[str, int] = field(default_factory=dict)
    _synced: Mapping[str, int] = field(default_factory=dict)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def measure(self, now_s: float, captured: Mapping[str, int], synced: Mapping[str, int]) -> dict[str, Any]:
        """The `statistics` of a replica's document: totals since its start, and rates since the last call.

        Both counters are by route. In `routes` are those where something passed.
        """
        passed_s = now_s - self.now_s
        captured_now, synced_now = _more(captured, self._captured), _more(synced, self._synced)
        busy = Counter(captured_now) + Counter(synced_now)  # those where nothing passed are left out
        routes = sorted(busy, key=lambda name: (-busy[name], name))
        statistics = {
            "started_at": self.started_at,
            "captured": sum(captured.values()),
            "synced": sum(synced.values()),
            CAPTURED: _per_second(sum(captured_now.values()), passed_s),
            SYNCED: _per_second(sum(synced_now.values()), passed_s),
            # A list, because dots in the names of fields have a meaning.
            "routes": [
                {
                    "route": name,
                    CAPTURED: _per_second(captured_now.get(name, 0), passed_s),
                    SYNCED: _per_second(synced_now.get(name, 0), passed_s),
                }
                for name in routes[:MOST_ROUTES]
            ],
        }
        self.now_s, self._captured, self._synced = now_s, captured, synced
        return statistics


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in now.items()}


def _per_second(count: int, passed_s: float) -> float:
    return round(count / passed_s, 1) if passed_s > 0 else 0.0


def rate_of(statistics: Mapping[str, Any], name: str, route: str) -> float | None:
    """The rate `name` of a route in what a replica published; None if it publishes none by route (pure)."""
    if "routes" not in statistics:
        return None
    return next((float(each[name]) for each in statistics["routes"] if each["route"] == route), 0.0)
