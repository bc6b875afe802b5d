"""What a replica publishes of itself in its lease document, so that any other one can show the whole deployment.

Invariants: it asks no server. It is small, and names settings, servers and counts, never a document or a secret.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tsync_stream.core import clock
from tsync_stream.core.health import Health
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.rates import Rates
from tsync_stream.observe.stalls import own_problems


class Publisher:
    """`statistics` goes with every renewal of the leases. `more` returns what else is published."""

    def __init__(self, metrics: Metrics, health: Health, more: Callable[[], Mapping[str, Any]]) -> None:
        self._metrics = metrics
        self._health = health
        self._more = more
        self._rates = Rates(clock.now_s(), *self._counts())

    def __repr__(self) -> str:
        return f"<Publisher of {self._metrics.total('entries_acked')} entries>"

    def statistics(self) -> dict[str, Any]:
        """Totals and rates, `more`, and the problems that this replica sees by itself."""
        return {
            **self._rates.measure(clock.now_s(), *self._counts()),
            **self._more(),
            "problems": own_problems(self._health.report()["problems"]),
        }

    def _counts(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        return self._metrics.by_route("changes_captured"), self._metrics.by_route("entries_acked")
