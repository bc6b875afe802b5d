"""The pages of a worker: `/health` for people, its two probes for whatever runs the process, `/metrics` for Prometheus,
and `/`, the dashboard.

Invariant: health and metrics answer from what this process knows; they ask no server, so they answer during every
outage. The liveness probe fails only if the event loop does not turn: a restart repairs nothing else.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import faust
from faust.web import Request, Response, View
from faust.web.drivers.aiohttp import Web

from tsync_stream.core.health import LEVELS, Health
from tsync_stream.observe.health_report import LiveReport, ReplicaView, health_report, ready_report
from tsync_stream.observe.metrics import CONTENT_TYPE, Metrics
from tsync_stream.web.dashboard import Dashboard


def add_pages(app: faust.App, health: Health, metrics: Metrics, view_of: Callable[[], ReplicaView]) -> None:
    """Add all pages to the app. `/health` answers 503 while anything is red, `/health/ready` until we may take work."""

    metrics.healthy.set_function(lambda: health.status != "red")
    metrics.partitions_owned.set_function(lambda: view_of().partitions_owned)
    for level in LEVELS:
        metrics.health_problems.labels(level).set_function(partial(_count, health, level))

    @app.page("/health", name="health")
    async def health_page(view: View, request: Request) -> Response:
        report = health_report(health, view_of())
        return view.json(report.model_dump(mode="json"), status=503 if report.status == "red" else 200)

    @app.page("/health/ready", name="ready")
    async def ready_page(view: View, request: Request) -> Response:
        report = ready_report(health, view_of())
        return view.json(report.model_dump(mode="json"), status=200 if report.ready else 503)

    @app.page("/health/live", name="live")
    async def live_page(view: View, request: Request) -> Response:
        return view.json(LiveReport(live=True).model_dump(mode="json"), status=200)

    @app.page("/metrics", name="metrics")
    async def metrics_page(view: View, request: Request) -> Response:
        return view.bytes(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})


def add_dashboard(app: faust.App, dashboard: Dashboard) -> None:
    """Add the dashboard to the app. It speaks to aiohttp, below Faust's views: it needs methods, bodies and bounds."""
    cast("Web", app.web).web_app.add_routes(dashboard.routes())


def _count(health: Health, level: str) -> int:
    return sum(problem.level == level for problem in health.problems.values())
