"""Metrics by OpenTelemetry's protocol: a collector receives what `/metrics` shows, from the same registry."""

import asyncio
import builtins
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as otel
from prometheus_client import CollectorRegistry

from tests.support.waiting import eventually
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.observe import otlp
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.otlp import OtlpExport, require_exporter


class Collector:
    """Takes what the exporter sends, as a collector does."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status = 200
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == otlp.PATH:
                    collector.bodies.append(body)
                self.send_response(collector.status if self.path == otlp.PATH else 404)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Tests print nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def metrics(self) -> dict[str, Any]:
        """The metrics of the newest export, by name."""
        request = otel.ExportMetricsServiceRequest.FromString(self.bodies[-1])
        (resource,) = request.resource_metrics
        attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
        assert (attributes["service.name"], attributes["service.instance.id"]) == ("tsync-stream", "host.1")
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        thread.join()
        made.server.server_close()


def labels(point: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in point.attributes}


def test_a_collector_receives_what_the_page_shows(collector: Collector) -> None:
    metrics = Metrics()
    metrics.entries_acked.labels("listings").inc(3)
    metrics.partitions_owned.set(8)
    for seconds in (0.001, 0.03, 0.04, 90):
        metrics.stage_seconds.labels("persist").observe(seconds)
    assert OtlpExport(collector.url, metrics.registry, "host.1").export()
    found = collector.metrics()
    acked = found["tsync_entries_acked_total"].sum
    assert (acked.is_monotonic, [(labels(point), point.as_double) for point in acked.data_points]) == (
        True,
        [({"route": "listings"}, 3.0)],
    )
    assert [point.as_double for point in found["tsync_partitions_owned"].gauge.data_points] == [8.0]
    (persist,) = (
        point for point in found["tsync_stage_seconds"].histogram.data_points if labels(point) == {"stage": "persist"}
    )
    assert (persist.count, persist.sum) == (4, pytest.approx(90.071))
    counted = dict(zip([*persist.explicit_bounds, "more"], persist.bucket_counts, strict=True))
    assert {bound: count for bound, count in counted.items() if count} == {0.002: 1, 0.05: 2, "more": 1}
    assert found["tsync_stage_seconds"].unit == "s"
    # Gauges that are not known are absent, as on the page.
    shown = {family.name for family in metrics.registry.collect() if family.samples}
    assert {name.removesuffix("_total") for name in found} == shown


def test_an_export_that_is_refused_says_so(collector: Collector) -> None:
    collector.status = 400
    assert not OtlpExport(collector.url, CollectorRegistry(), "host.1").export()


async def test_it_exports_again_and_again_and_reports_failures(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otlp, "EXPORT_INTERVAL_S", 0.01)
    collector.status = 400
    running = asyncio.create_task(OtlpExport(collector.url, Metrics().registry, "host.1").run())
    await eventually(lambda: len(collector.bodies) >= 2 and "OTLP_ENDPOINT" in caplog.text)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_without_the_extra_a_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_exporter()
    imported = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigurationError, match=r"pip install 'tsync-stream\[otel\]'"):
        require_exporter()
