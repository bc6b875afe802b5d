"""Exports the metrics by OpenTelemetry's protocol (OTLP over HTTP), if OTLP_ENDPOINT says where to.

The official exporter sends them; it comes with the extra `otel`, and is imported only if it is needed. Invariants:
nothing is declared twice, because each export converts what the registry of `/metrics` holds. An export runs in a
thread and ends by its deadline; one that fails is logged, and the next one carries the same totals.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from tsync_stream.core import __version__
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.events import event
from tsync_stream.core.quiet import about

log = logging.getLogger(__name__)

EXPORT_INTERVAL_S = 15.0
DEADLINE_S = 10.0
PATH = "/v1/metrics"
SERVICE = "tsync-stream"


def require_exporter() -> None:
    """Raise `ConfigurationError` if the official exporter is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http.metric_exporter
        import opentelemetry.sdk.metrics.export  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "OTLP_ENDPOINT is set, but the exporter is not installed: pip install 'tsync-stream[otel]', or leave "
            "OTLP_ENDPOINT empty"
        ) from None


class OtlpExport:
    """Exports one registry to `endpoint`, which is without `/v1/metrics`. `replica` names the service instance."""

    def __init__(self, endpoint: str, registry: CollectorRegistry, replica: str) -> None:
        import requests
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        session = requests.Session()
        session.trust_env = False  # like every client here: no proxy from the environment
        self._endpoint = endpoint
        self._exporter = OTLPMetricExporter(endpoint=endpoint.rstrip("/") + PATH, timeout=DEADLINE_S, session=session)
        self._registry = registry
        self._replica = replica
        self._began_ns = time.time_ns()

    def __repr__(self) -> str:
        return f"<OtlpExport of {self._replica} to {self._endpoint}>"

    async def run(self) -> None:
        """Export every `EXPORT_INTERVAL_S`, until cancelled."""
        try:
            while True:
                await asyncio.sleep(EXPORT_INTERVAL_S)
                self._tell(await asyncio.to_thread(self.export))
        finally:
            self._exporter.shutdown()  # ends the pauses of a running export, so that a stop need not wait for it

    def export(self) -> bool:
        """Export once, and block until that has ended; returns whether it succeeded."""
        from opentelemetry.sdk.metrics.export import MetricExportResult

        data = metrics_data(self._registry, self._replica, self._began_ns, time.time_ns())
        return bool(self._exporter.export(data) == MetricExportResult.SUCCESS)

    def _tell(self, succeeded: bool) -> None:
        if not succeeded:
            log.warning(
                "otlp: the metrics could not be exported to OTLP_ENDPOINT (%s); trying again every %g s, nothing else "
                "depends on it",
                self._endpoint,
                EXPORT_INTERVAL_S,
                extra={**event("otlp.failing"), **about("otlp", "failing")},
            )


def metrics_data(registry: CollectorRegistry, replica: str, began_ns: int, now_ns: int) -> Any:
    """What the registry holds, as the exporter takes it (pure). Names are those of `/metrics`."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    found = []
    for family in registry.collect():
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        if samples:
            found.append(_metric(family.name, family.type, family.documentation, samples, began_ns, now_ns))
    resource = Resource({"service.name": SERVICE, "service.version": __version__, "service.instance.id": replica})
    scope = ScopeMetrics(InstrumentationScope("tsync_stream", __version__), found, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(name: str, kind: str, meaning: str, samples: list[Sample], began_ns: int, now_ns: int) -> Any:
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Metric, NumberDataPoint, Sum

    unit = "s" if name.endswith("_seconds") else "By" if name.endswith("_bytes") else "1"
    if kind == "histogram":
        histogram = Histogram(_histogram_points(samples, began_ns, now_ns), AggregationTemporality.CUMULATIVE)
        return Metric(name, meaning, unit, histogram)
    points = [NumberDataPoint(dict(sample.labels), began_ns, now_ns, sample.value) for sample in samples]
    if kind == "counter":
        return Metric(f"{name}_total", meaning, unit, Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True))
    return Metric(name, meaning, unit, Gauge(points))


def _histogram_points(samples: Iterable[Sample], began_ns: int, now_ns: int) -> list[Any]:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    by_labels: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        by_labels.setdefault(labels, []).append(sample)
    points = []
    for labels, found in by_labels.items():
        bounds, counts, total = _buckets(found)
        none: Any = None  # the smallest and largest value are not known, and left out
        points.append(
            HistogramDataPoint(dict(labels), began_ns, now_ns, sum(counts), total, counts, bounds, none, none)
        )
    return points


def _buckets(samples: Iterable[Sample]) -> tuple[list[float], list[int], float]:
    """The bounds, the count of each bucket by itself (one more than bounds), and the sum of all values (pure)."""
    upto: list[tuple[float, int]] = []
    total = 0.0
    for sample in samples:
        if sample.name.endswith("_bucket"):
            upto.append((float(sample.labels["le"]), int(sample.value)))
        elif sample.name.endswith("_sum"):
            total = float(sample.value)
    upto.sort()
    before = [0, *(count for _, count in upto[:-1])]
    counts = [count - earlier for (_, count), earlier in zip(upto, before, strict=True)]
    return [bound for bound, _ in upto[:-1]], counts, total
