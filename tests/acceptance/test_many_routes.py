"""Several routes in one deployment, on real servers: one stream, and whatever happens to one source stays with it."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from tests.acceptance.conftest import Source
from tests.acceptance.state import State
from tests.support.listings import listings
from tests.support.many_routes import ManyRoutes, needs, suspended, wait_for_reconciles
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.reads("several databases")

# A second on an idle machine; a busy one gets half of that for its own delays.
MOST_LAG_S = 1.5


@pytest.fixture
def routes(stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path) -> Iterator[ManyRoutes]:
    made = ManyRoutes(stack, names, source.database.client, tmp_path)
    yield made
    source.database.client.drop_database(made.far)


def start(worker: Worker, routes: ManyRoutes) -> None:
    worker.environment |= routes.settings() | {"MASS_DELETE_SHARE": "1"}
    worker.start()


class Beside:
    """Writes to another route all the time, and notes how long each write takes to be shown."""

    def __init__(self, stack: EmbeddedStack, routes: ManyRoutes, route: str) -> None:
        self._stack = stack
        self._source = routes.source(route)
        self._path = f"/collections/{routes.target(route)}/documents"
        self._stop = Event()
        self._thread = Thread(target=self._write)
        self.delays_s: list[float] = []

    def __enter__(self) -> "Beside":
        self._thread.start()
        wait_for(lambda: len(self.delays_s) > 5, 20.0, "nothing arrives")
        return self

    def __exit__(self, *_: object) -> None:
        seen = len(self.delays_s)
        try:
            wait_for(lambda: len(self.delays_s) > seen + 10 or not self._thread.is_alive(), 20.0, "nothing arrives")
        finally:
            self._stop.set()
            self._thread.join()

    def _write(self) -> None:
        with typesense_client(self._stack) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                began_s = time.monotonic()
                self._source.insert_one({"_id": f"beside-{number}"})
                while client.get(f"{self._path}/beside-{number}").status_code == 404 and not self._stop.is_set():
                    time.sleep(0.01)
                self.delays_s.append(time.monotonic() - began_s)


LAYOUTS = {
    "two of one database": {"one": ("near", "one"), "two": ("near", "two")},
    "three of two databases": {"one": ("near", "one"), "two": ("near", "two"), "three": ("far", "one")},
    "two of one source": {"one": ("near", "one"), "again": ("near", "one")},
    "three of two sources": {"one": ("near", "one"), "again": ("near", "one"), "two": ("near", "two")},
}


def places(routes: ManyRoutes, layout: str) -> dict[str, tuple[str, str]]:
    return {name: (getattr(routes, database), collection) for name, (database, collection) in LAYOUTS[layout].items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_route_shows_its_own_collection(worker: Worker, routes: ManyRoutes, state: State, layout: str) -> None:
    routes.declare(places(routes, layout))
    for name in LAYOUTS[layout]:
        routes.source(name).insert_many([{"from": name, "number": number} for number in range(50)])
    start(worker, routes)
    routes.wait_until_equal()
    for number, name in enumerate(LAYOUTS[layout]):
        source = routes.source(name)
        source.replace_one({"_id": 12}, {"of": name}, upsert=True)
        source.update_many({"number": {"$lt": 20}}, {"$set": {"touched": number}})
        source.delete_many({"number": {"$gte": 40}})
    routes.wait_until_equal()
    routes.source("one").delete_one({"_id": 12})
    routes.wait_until_equal()
    state.wait_until_reconciled()
    wait_for_reconciles(state.jobs, *LAYOUTS[layout])
    assert state.epoch() == 1


@pytest.mark.parametrize("far", ["near", "far"])
@pytest.mark.parametrize("how", ["dropped", "renamed away", "replaced"])
def test_what_happens_to_one_source_is_the_matter_of_its_route_alone(
    stack: EmbeddedStack, worker: Worker, routes: ManyRoutes, state: State, how: str, far: str
) -> None:
    routes.declare(
        {"broken": (routes.near, "broken"), "one": (routes.near, "one"), "two": (getattr(routes, far), "two")}
    )
    broken = routes.source("broken")
    broken.insert_many(listings(30))
    start(worker, routes)
    routes.wait_until_equal()
    wait_for_reconciles(state.jobs, "broken", "one", "two")
    shown = 30
    with Beside(stack, routes, "two") as beside:
        began = state.pipeline()["began"]["cluster_time"]
        if how == "dropped":
            broken.drop()
        elif how == "renamed away":
            broken.rename("away")
        else:
            other = broken.database["other"]
            other.insert_many(listings(20))
            other.rename("broken", dropTarget=True)
            wait_for_reconciles(state.jobs, "broken", "broken", "one", "two")
        if how != "replaced":
            wait_for(lambda: suspended(state.pipeline()) == {"broken"}, 20.0, lambda: f"{state.pipeline()['routes']}")
            assert len(_ids(stack, routes, "broken")) == shown, "a missing source never empties Typesense"
            checks = worker.health()["problems"]
            assert any(name == "route broken" for name in _names(checks)), checks
            if how == "dropped":
                broken.insert_many(listings(10))
            else:
                broken.database["away"].insert_one({"_id": "while it was away"})
                broken.database["away"].rename("broken")
            wait_for(lambda: not suspended(state.pipeline()), 30.0, lambda: f"{state.pipeline()['routes']}")
    routes.wait_until_equal(timeout_s=40.0)
    wait_for(lambda: not needs(state.pipeline()), 30.0, lambda: f"{state.pipeline()['routes']}")
    reconciled = [job["route"] for job in state.jobs.find({"kind": "reconcile"})]
    assert reconciled.count("one") == reconciled.count("two") == 1, "only at the first start"
    assert reconciled.count("broken") >= 2
    assert state.epoch() == 1, "the queue went on"
    assert state.pipeline()["began"]["cluster_time"] >= began, "no position moved back"
    assert max(beside.delays_s) < MOST_LAG_S, sorted(beside.delays_s)[-5:]


def test_a_dropped_database_is_the_matter_of_its_routes_alone(
    stack: EmbeddedStack, worker: Worker, routes: ManyRoutes, state: State
) -> None:
    routes.declare({"one": (routes.near, "one"), "gone": (routes.far, "gone"), "with_it": (routes.far, "other")})
    routes.source("gone").insert_many(listings(20))
    routes.source("with_it").insert_many(listings(20))
    start(worker, routes)
    routes.wait_until_equal()
    wait_for_reconciles(state.jobs, "gone", "one", "with_it")
    with Beside(stack, routes, "one") as beside:
        routes.source("gone").database.client.drop_database(routes.far)
        wait_for(
            lambda: suspended(state.pipeline()) == {"gone", "with_it"}, 20.0, lambda: f"{state.pipeline()['routes']}"
        )
        routes.source("gone").insert_one({"_id": "anew"})
        wait_for(lambda: suspended(state.pipeline()) == {"with_it"}, 30.0, lambda: f"{state.pipeline()['routes']}")
    routes.wait_until_equal("one", "gone", timeout_s=40.0)
    assert state.epoch() == 1
    assert max(beside.delays_s) < MOST_LAG_S, sorted(beside.delays_s)[-5:]


def test_a_table_change_reconciles_what_is_new_and_moves_nothing_else(
    worker: Worker, routes: ManyRoutes, state: State
) -> None:
    """Wider and narrower again: from a database's stream to the cluster's, to that of one collection."""
    near = {"one": (routes.near, "one"), "two": (routes.near, "two")}
    routes.declare(near)
    for name in near:
        routes.source(name).insert_many(listings(20))
    start(worker, routes)
    routes.wait_until_equal()
    wait_for_reconciles(state.jobs, "one", "two")
    worker.stop()
    routes.source("one").insert_one({"_id": "meanwhile"})
    routes.source("two").insert_one({"_id": "meanwhile"})
    routes.declare({**near, "three": (routes.far, "three")})
    routes.source("three").insert_many(listings(20))
    worker.start()
    routes.wait_until_equal()
    wait_for_reconciles(state.jobs, "one", "three", "two")
    routes.source("two").insert_one({"_id": "last"})
    routes.wait_until_equal()
    worker.stop()
    routes.source("one").insert_one({"_id": "meanwhile too"})
    routes.declare({"one": near["one"]})
    worker.start()
    routes.wait_until_equal()
    wait_for(lambda: len(state.pipeline()["routes"]) == 1, 10.0, lambda: f"{state.pipeline()['routes']}")
    wait_for_reconciles(state.jobs, "one", "three", "two")
    assert "there is no route two any more" in worker.log()
    assert needs(state.pipeline()) == {}


def test_a_route_whose_source_is_missing_at_the_first_start_waits_for_it_alone(
    worker: Worker, routes: ManyRoutes, state: State
) -> None:
    routes.declare({"one": (routes.near, "one"), "later": (routes.near, "later")}, create=False)
    routes.source("one").insert_many(listings(20))
    start(worker, routes)
    routes.wait_until_equal("one")
    assert suspended(state.pipeline()) == {"later"}
    routes.source("later").insert_many(listings(20))
    routes.wait_until_equal(timeout_s=40.0)


def _ids(stack: EmbeddedStack, routes: ManyRoutes, route: str) -> list[bytes]:
    with typesense_client(stack) as client:
        return client.get(f"/collections/{routes.target(route)}/documents/export").content.splitlines()


def _names(problems: Any) -> list[str]:
    return list(problems) if isinstance(problems, dict) else [str(problem.get("check")) for problem in problems]
