"""The pages of a worker: `/health` for people and load balancers, `/metrics` for Prometheus.

Invariant: a page answers from what this process knows; it asks no server, so that it answers during every outage.
"""

from collections.abc import Callable

import faust
from faust.web import Request, Response, View

from tsync_stream.core.health import Health
from tsync_stream.observe.metrics import CONTENT_TYPE, Metrics


def add_pages(app: faust.App, health: Health, metrics: Metrics, partitions_owned: Callable[[], int]) -> None:
    """Add both pages to the app. `/health` answers 503 while anything is red, otherwise 200."""

    @app.page("/health", name="health")
    async def health_page(view: View, request: Request) -> Response:
        report = health.report()
        return view.json(report, status=503 if report["status"] == "red" else 200)

    @app.page("/metrics", name="metrics")
    async def metrics_page(view: View, request: Request) -> Response:
        metrics.healthy.set(0 if health.status == "red" else 1)
        metrics.partitions_owned.set(partitions_owned())
        return view.bytes(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})
