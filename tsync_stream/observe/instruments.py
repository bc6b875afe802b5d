"""How a metric is declared: once, with its name, kind, labels, unit and meaning, on one registry.

Invariants: names follow Prometheus' conventions (base units, `_total` on counters), so the unit is the end of a name. A
value that is not known is absent, not 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

PREFIX = "tsync_"
UNITS = ("seconds", "bytes", "ratio")


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric as Prometheus shows it. `unit` is "" where things are counted."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    unit: str
    meaning: str


class Measured(Collector):
    """A gauge that is absent while its value is None."""

    def __init__(self, name: str, meaning: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._meaning = meaning
        self.value: float | None = None
        registry.register(self)

    def set(self, value: float | None) -> None:
        """Set the value; None: not known."""
        self.value = value

    def collect(self) -> Iterator[Metric]:
        """What Prometheus sees."""
        family = GaugeMetricFamily(self._name, self._meaning)
        if self.value is not None:
            family.add_metric([], self.value)
        yield family


class Instruments:
    """Declares metrics on `registry`; `declared` lists them in that order."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.declared: list[Declared] = []

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """What only grows since the start of the process; `_total` is added to its name."""
        self._declare(f"{name}_total", "counter", labels, meaning)
        return Counter(f"{PREFIX}{name}", meaning, labels, registry=self.registry)

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """What goes up and down."""
        self._declare(name, "gauge", labels, meaning)
        return Gauge(f"{PREFIX}{name}", meaning, labels, registry=self.registry)

    def measured(self, name: str, meaning: str) -> Measured:
        """A gauge that may be unknown."""
        self._declare(name, "gauge", (), meaning)
        return Measured(f"{PREFIX}{name}", meaning, self.registry)

    def histogram(self, name: str, meaning: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
        """What is observed many times, once per batch."""
        self._declare(name, "histogram", labels, meaning)
        return Histogram(f"{PREFIX}{name}", meaning, labels, registry=self.registry, buckets=buckets)

    def _declare(
        self, name: str, kind: Literal["counter", "gauge", "histogram"], labels: tuple[str, ...], meaning: str
    ) -> None:
        plain = name.removesuffix("_total")
        unit = next((unit for unit in UNITS if plain.endswith(f"_{unit}")), "")
        self.declared.append(Declared(f"{PREFIX}{name}", kind, labels, unit, meaning))
