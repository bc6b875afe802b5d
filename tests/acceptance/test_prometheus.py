"""A real Prometheus scrapes a real worker under load: every query of the dashboard has data, and no alert is raised."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deploy.grafana.panels import ROWS
from tests.acceptance.conftest import Source
from tests.support.listings import listings
from tests.support.many_routes import ManyRoutes
from tests.support.prometheus import Prometheus, prometheus
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

# A complete pass of the verification, and a load, while three tests run side by side.
pytestmark = [pytest.mark.timeout(600), pytest.mark.reads("several databases")]

QUERIES = {
    (row.title, panel.title, query.expression) for row in ROWS for panel in row.panels for query in panel.queries
}
# Panels that may be empty while all is well. The test brings about what fills them.
EMPTY_WHILE_ALL_IS_WELL = {
    "Pending and firing alerts": "no alert is raised",
    "Refused documents, by reason": "no document is refused",
    "Documents that are being refused": "no document is refused; the reasons are not known before",
    "Open jobs": "no job is open",
    "Progress of jobs": "no job is open",
    "Reindexes": "no route was reindexed",
}


def substituted(expression: str, job: str) -> str:
    """A query as Grafana sends it, for all routes and replicas."""
    for variable, value in {
        "$__rate_interval": "10s",
        "$job": job,
        "$route": ".*",
        "$instance": ".*",
    }.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def without_data(server: Prometheus, within: str = "") -> set[str]:
    """The panels of which a query has no series, or one that is no number."""

    def is_empty(expression: str) -> bool:
        found = server.query(substituted(expression, server.job), within)
        return all(series["value"][1] == "NaN" for series in found)

    with ThreadPoolExecutor(8) as asking:
        empty = asking.map(is_empty, (expression for _, _, expression in QUERIES))
        return {title for (_, title, _), is_it in zip(QUERIES, empty, strict=True) if is_it}


@pytest.fixture
def routes(stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path) -> Iterator[ManyRoutes]:
    made = ManyRoutes(stack, names, source.database.client, tmp_path)
    yield made
    source.database.client.drop_database(made.far)


@contextmanager
def load(*sources: Source) -> Iterator[None]:
    """Inserts, updates and deletes all the time, some hundred a second."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.02):
            number += 1
            for source in sources:
                source.insert_one({"_id": f"new-{number}", "title": "new", "price": number})
                source.update_many({"_id": {"$in": [f"new-{number - 1}"]}}, {"$inc": {"price": 1}})
                source.delete_one({"_id": f"new-{number - 5}"})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def refuse(source: Source) -> None:
    """Documents that cannot be written: two that would have the same id in Typesense."""
    source.insert_many([{"_id": 7, "title": "a number"}, {"_id": "7", "title": "a text"}])


def test_every_query_of_the_dashboard_has_data_and_no_alert_is_raised_while_all_is_well(
    worker: Worker, routes: ManyRoutes, tmp_path: Path
) -> None:
    routes.declare({"one": ("near", "one"), "two": ("far", "two")})
    one, two = routes.source("one"), routes.source("two")
    for source in (one, two):
        source.insert_many(listings(300))
    worker.environment |= routes.settings() | {"VERIFY_RATE": "500", "BACKUP_DIRECTORY": str(tmp_path)}
    with prometheus(tmp_path, [worker.port]) as server, ExitStack() as running:
        worker.start()
        # Documents that change all the time are compared several times, so the load begins after a complete pass.
        compared = "tsync_verified_since_timestamp_seconds"
        wait_for(lambda: len(server.query(compared)) == 2, 90.0, lambda: f"not compared: {server.targets()}")
        assert worker.run_command("backup").returncode == 0
        running.enter_context(load(one, two))
        wait_for(
            lambda: without_data(server) <= EMPTY_WHILE_ALL_IS_WELL.keys(),
            90.0,
            lambda: f"no data: {without_data(server)}",
        )
        wait_for(
            lambda: set(server.alerts().values()) == {"inactive"},
            90.0,
            lambda: f"{[pair for pair in server.alerts().items() if pair[1] != 'inactive']}",
        )
        # Whatever is empty while all is well has data once it is not.
        refuse(one)
        wait_for(lambda: server.alerts()["TsyncDeadLettersOpen"] == "pending", 60.0, "the alert is not raised")
        assert worker.run_command("reconcile", "--route", "two").returncode == 0
        at_once = ("--yes", "--no-follow", "--watch", "0s", "--keep", "0s")
        assert worker.run_command("reindex", "two", *at_once).returncode == 0
        wait_for(
            lambda: without_data(server, "5m") == set(),
            90.0,
            lambda: f"no data: {without_data(server, '5m')}",
        )


def test_the_list_of_empty_panels_names_panels_that_exist() -> None:
    assert EMPTY_WHILE_ALL_IS_WELL.keys() <= {title for _, title, _ in QUERIES}
    assert all(EMPTY_WHILE_ALL_IS_WELL.values())
