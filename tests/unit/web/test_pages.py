"""The pages of a worker: what they answer, and with which status."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from tsync_stream.core.health import Health
from tsync_stream.observe.health_report import ReplicaView
from tsync_stream.observe.metrics import Metrics
from tsync_stream.web.pages import add_pages

Page = Callable[[Any, Any], Awaitable[Any]]
RUNNING = ReplicaView(phase="running", replica="host.1", member=True, partitions_owned=3)


class MemoryApp:
    """The part of a Faust app that pages are added to."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}

    def page(self, path: str, *, name: str) -> Callable[[Page], Page]:
        def add(page: Page) -> Page:
            self.pages[path] = page
            return page

        return add


class MemoryView:
    """Gives back what a page hands to Faust."""

    def json(self, value: Any, *, status: int) -> tuple[Any, int]:
        return value, status

    def bytes(self, value: bytes, *, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        return value.decode(), headers


def pages(health: Health, metrics: Metrics, view: ReplicaView = RUNNING) -> dict[str, Page]:
    app = MemoryApp()
    add_pages(cast("Any", app), health, metrics, lambda: view)
    return app.pages


async def test_health_answers_503_only_while_something_is_red() -> None:
    health = Health()
    page = pages(health, Metrics())["/health"]

    health.green("start")
    assert (await page(MemoryView(), None))[1] == 200
    health.fault("server typesense", "out of reach")
    report, status = await page(MemoryView(), None)
    assert (report["status"], status) == ("degraded", 200)
    health.fault("server mongodb", "MONGODB_URI is refused", needs_person=True)
    report, status = await page(MemoryView(), None)
    assert (report["status"], status) == ("red", 503)


async def test_the_probes_answer_503_only_for_what_a_restart_or_a_wait_is_for() -> None:
    health = Health()
    health.red("server mongodb", "MONGODB_URI is refused", needs_person=True)
    running, starting = pages(health, Metrics()), pages(health, Metrics(), ReplicaView())

    assert await running["/health/live"](MemoryView(), None) == ({"live": True}, 200)
    assert await starting["/health/live"](MemoryView(), None) == ({"live": True}, 200)
    assert await running["/health/ready"](MemoryView(), None) == ({"ready": True, "text": ""}, 200)
    report, status = await starting["/health/ready"](MemoryView(), None)
    assert (report["ready"], status) == (False, 503)


@pytest.mark.parametrize(("red", "healthy"), [(False, "1.0"), (True, "0.0")])
async def test_metrics_tell_what_only_the_moment_knows(red: bool, healthy: str) -> None:
    health = Health()
    if red:
        health.red("server mongodb", "out of reach")

    text, headers = await pages(health, Metrics())["/metrics"](MemoryView(), None)

    assert "tsync_partitions_owned 3.0" in text
    assert f"tsync_healthy {healthy}" in text
    assert headers["Content-Type"].startswith("text/plain")
