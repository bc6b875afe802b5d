"""Routes that only a person can repair are suspended; those beside them go on, and each comes back by itself."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.acceptance.conftest import Source
from tests.support.forked import ForkedWorker
from tests.support.stack import Names, typesense_client
from tests.support.waiting import PATIENCE, wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.reads("one database")

Shown = Callable[[str], dict[str, Any]]
Grant = Callable[..., None]

GOOD = ("good", "better")
BROKEN = ("keyless", "transformed", "sourceless")
LAG_S = 1.0

FILE = """routes:
  good: {source: "${MONGODB_DATABASE}.good", target: "${TOKEN}_good"}
  better: {source: "${MONGODB_DATABASE}.better", target: "${TOKEN}_better"}
  keyless: {source: "${MONGODB_DATABASE}.keyless", target: "${TOKEN}_keyless"}
  transformed:
    source: ${MONGODB_DATABASE}.transformed
    target: ${TOKEN}_transformed
    transform: TOKEN_transform:shown
  sourceless: {source: "${MONGODB_DATABASE}.sourceless", target: "${TOKEN}_sourceless"}
"""
BROKEN_MODULE = "raise RuntimeError('on purpose')\n"
MODULE = "def shown(document):\n    return {**document, 'n': document['n'] + 1}\n"


@pytest.fixture
def grant(stack: EmbeddedStack, names: Names, worker: Worker) -> Iterator[Grant]:
    """Makes the worker's API key one for the collections of these routes; the last call counts."""
    made: list[int] = []
    with typesense_client(stack) as client:

        def allow(*routes: str) -> None:
            for old in made:
                client.delete(f"/keys/{old}").raise_for_status()
            made.clear()
            targets = [f"{names.token}_{route}" for route in routes]
            scope = {"actions": ["*"], "collections": [*targets, "tsync_stream_markers"]}
            key = {"description": "a test's", **scope, "value": f"key-of-{names.token}"}
            answer = client.post("/keys", json=key).raise_for_status()
            made.append(answer.json()["id"])

        worker.environment["TYPESENSE_API_KEY"] = f"key-of-{names.token}"
        yield allow
        for key in made:
            client.delete(f"/keys/{key}").raise_for_status()


@pytest.fixture
def shown(stack: EmbeddedStack, names: Names) -> Iterator[Shown]:
    """What a route's Typesense collection shows of the field `n`, by id."""
    with typesense_client(stack) as client:

        def documents(route: str) -> dict[str, Any]:
            answer: httpx.Response = client.get(f"/collections/{names.token}_{route}/documents/export")
            found = [orjson.loads(line) for line in answer.text.splitlines()] if answer.is_success else []
            return {document["id"]: document["n"] for document in found}

        yield documents


def red_routes(worker: Worker) -> dict[str, str]:
    """The routes that health shows as red, with what it says of them."""
    problems = worker.health()["problems"]
    return {
        problem["check"].removeprefix("route "): problem["text"]
        for problem in problems
        if problem["check"].startswith("route ") and problem["level"] == "red" and problem["needs_person"]
    }


def expected(source: Source, route: str) -> dict[str, Any]:
    more = 1 if route == "transformed" else 0
    return {str(document["_id"]): document["n"] + more for document in source.database[route].find()}


def write(source: Source, routes: tuple[str, ...], first: int) -> None:
    """Insert ten documents in each, change one that was there, and delete one."""
    for route in routes:
        collection = source.database[route]
        collection.insert_many([{"_id": first + number, "n": number} for number in range(10)])
        collection.update_one({"_id": 1}, {"$set": {"n": first}})
        collection.delete_one({"_id": first + 5})


def lags_s(source: Source, shown: Shown, first: int, count: int) -> list[float]:
    """How long single changes of the good routes take until they are shown, in order of size."""
    lags = []
    for number in range(first, first + count):
        route = GOOD[number % 2]
        began_s = time.monotonic()
        source.database[route].insert_one({"_id": number, "n": number})
        wait_for(lambda: str(number) in shown(route), 30.0, f"{number} is not shown")  # noqa: B023
        lags.append(time.monotonic() - began_s)
    return sorted(lags)


def test_broken_routes_are_suspended_while_the_others_go_on_and_come_back_by_themselves(
    source: Source, worker: Worker, names: Names, shown: Shown, grant: Grant
) -> None:
    worker.environment["TOKEN"] = names.token
    module = f"{names.token}_transform"
    (worker.directory / "tsync.yaml").write_text(FILE.replace("TOKEN_transform", module), encoding="utf-8")
    (worker.directory / f"{module}.py").write_text(BROKEN_MODULE, encoding="utf-8")
    grant("good", "better", "transformed", "sourceless")
    for route in (*GOOD, "keyless", "transformed"):
        source.database[route].insert_many([{"_id": number, "n": number} for number in range(50)])

    def catches_up(*routes: str) -> None:
        for route in routes:
            wait_for(
                lambda: shown(route) == expected(source, route),  # noqa: B023
                30.0,
                lambda: f"{route}: {len(shown(route))} and not {len(expected(source, route))}; {worker.health()}",  # noqa: B023
            )

    worker.start()
    catches_up(*GOOD)
    wait_for(lambda: set(red_routes(worker)) == set(BROKEN), 30.0, lambda: str(worker.health()))
    said = red_routes(worker)
    assert "TYPESENSE_API_KEY" in said["keyless"]
    assert f"transform `{module}:shown` cannot be imported (RuntimeError)" in said["transformed"]
    assert "there is no collection" in said["sourceless"]
    assert all("reconciled by itself" in text for text in said.values())

    write(source, (*GOOD, "keyless", "transformed"), 100)
    lags = lags_s(source, shown, 200, 20)
    assert lags[len(lags) // 2] < LAG_S * PATIENCE, f"the others wait: {lags}"
    catches_up(*GOOD)
    assert set(red_routes(worker)) == set(BROKEN)
    assert shown("keyless") == shown("transformed") == shown("sourceless") == {}

    grant(*GOOD, *BROKEN)
    (worker.directory / f"{module}.py").write_text(MODULE, encoding="utf-8")
    source.database.sourceless.insert_many([{"_id": number, "n": number} for number in range(50)])
    catches_up(*BROKEN)
    wait_for(lambda: not red_routes(worker), 30.0, lambda: str(worker.health()))
    write(source, (*GOOD, *BROKEN), 300)
    catches_up(*GOOD, *BROKEN)


def test_a_collection_that_somebody_deletes_holds_up_no_other_route_and_comes_back(
    source: Source, worker: Worker, names: Names, shown: Shown, stack: EmbeddedStack
) -> None:
    """The capturing replica creates it again and reconciles the route; meanwhile sync has suspended the route."""
    file = "\n".join(FILE.splitlines()[:4])
    worker.environment["TOKEN"] = names.token
    (worker.directory / "tsync.yaml").write_text(file, encoding="utf-8")
    routes = (*GOOD, "keyless")
    for route in routes:
        source.database[route].insert_many([{"_id": number, "n": number} for number in range(50)])

    def catches_up() -> None:
        for route in routes:
            wait_for(
                lambda: shown(route) == expected(source, route),  # noqa: B023
                60.0,
                lambda: f"{route}: {len(shown(route))} of {len(expected(source, route))}; {worker.health()}",  # noqa: B023
            )

    worker.start()
    catches_up()
    with typesense_client(stack) as client:
        client.delete(f"/collections/{names.token}_keyless").raise_for_status()
    write(source, routes, 100)
    lags = lags_s(source, shown, 200, 20)
    assert lags[-1] < LAG_S * PATIENCE, f"the others wait until the collection is created: {lags}"
    catches_up()
    wait_for(lambda: worker.health()["status"] == "green", 30.0, lambda: str(worker.health()))
    write(source, routes, 300)
    catches_up()


def test_a_suspension_outlives_the_replica_that_captures(
    source: Source, worker: Worker, names: Names, shown: Shown, grant: Grant, stack: EmbeddedStack
) -> None:
    worker.environment["TOKEN"] = names.token
    (worker.directory / "tsync.yaml").write_text("\n".join(FILE.splitlines()[:4]), encoding="utf-8")
    grant(*GOOD)
    for route in (*GOOD, "keyless"):
        source.database[route].insert_many([{"_id": number, "n": number} for number in range(50)])
    other = ForkedWorker(stack, names, worker.directory)
    other.environment = {**worker.environment, "WEB_PORT": str(other.port)}
    with worker, other:
        for replica in (worker, other):
            wait_for(lambda: set(red_routes(replica)) == {"keyless"}, 30.0, lambda: str(replica.health()))  # noqa: B023
        worker.kill()
        write(source, (*GOOD, "keyless"), 100)
        for route in GOOD:
            wait_for(lambda: shown(route) == expected(source, route), 60.0, f"{route} stands still")  # noqa: B023
        assert set(red_routes(other)) == {"keyless"}
        assert shown("keyless") == {}
        grant(*GOOD, "keyless")
        wait_for(lambda: shown("keyless") == expected(source, "keyless"), 60.0, lambda: str(other.health()))
        wait_for(lambda: not red_routes(other), 30.0, lambda: str(other.health()))
