"""Generations of a route in a running deployment: they come and go under load, and each shows what it declares."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.by_hand import Ages, ByHand
from tests.support.comparison import actual_documents
from tests.support.forked import ForkedWorker
from tests.support.listings import listings
from tests.support.load import Load
from tests.support.many_routes import ManyRoutes
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.core.keys import BSON_OPTIONS, typesense_id
from tsync_stream.core.model import Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.routes.declaration import Declaration
from tsync_stream.sink.mapping import encode_line, map_document
from tsync_stream.sink.mapping_plan import MappingOptions, Plan

FIELDS = ("number", "price", "version")
FILTER = {"rooms": {"$gte": 3}}


@pytest.fixture
def by_hand(stack: EmbeddedStack, names: Names, source: Source) -> ByHand:
    state = source.database.client[names.state_database]
    return ByHand(stack, state, names.collection, names.typesense_collection)


@pytest.fixture
def narrow(names: Names) -> Declaration:
    """Some documents of the source, and some of their fields."""
    route = Route(names.collection, names.database, names.collection, names.typesense_collection)
    return Declaration(route, filter=FILTER, fields=FIELDS)


@pytest.fixture
def other(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Iterator[ForkedWorker]:
    """A second replica, not started yet."""
    directory = tmp_path / "other"
    directory.mkdir()
    replica = ForkedWorker(stack, names, directory)
    try:
        yield replica
    finally:
        if replica.running:
            replica.kill()
        print(f"--- the end of the other worker's log ---\n{replica.log()[-8000:]}")


def wait_until_narrow(stack: EmbeddedStack, source: Source, collection: str) -> None:
    """Wait until a collection shows exactly what `narrow` declares."""

    def expected() -> dict[str, Any]:
        plain = source.with_options(codec_options=BSON_OPTIONS)
        plan = Plan(MappingOptions())
        found = plain.find(FILTER, dict.fromkeys(FIELDS, 1))
        return {typesense_id(each["_id"]): orjson.loads(encode_line(map_document(each, plan))) for each in found}

    def shown() -> dict[str, Any]:
        return actual_documents(stack, Names("", "", "", collection, "", "", ""))

    wait_for(lambda: shown() == expected(), 30.0, lambda: f"{len(shown())} documents instead of {len(expected())}")


def test_generations_come_and_go_under_load(
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    worker: ForkedWorker,
    other: ForkedWorker,
    state: State,
    by_hand: ByHand,
    narrow: Declaration,
    make_load: Callable[[int], Load],
    equal: Equal,
) -> None:
    source.insert_many(listings(500, first=10_000))
    worker.launch()
    other.launch()
    for each in (worker, other):
        each.wait_until_started()
    state.wait_until_reconciled()
    moments = []
    with Ages(stack, names).measured() as ages, make_load(1).running() as load:
        load.wait_for_operations(500)
        moments.append(time.monotonic())
        by_hand.file(narrow)
        by_hand.wait_until_filled(2)
        load.wait_for_operations(1_000)
        moments.append(time.monotonic())
        load.pause()
        equal()
        wait_until_narrow(stack, source, by_hand.collection(2))
        load.go_on()

        moments.append(time.monotonic())
        by_hand.remove(2)
        by_hand.wait_until_gone(2)
        load.wait_for_operations(500)
        moments.append(time.monotonic())
    equal()
    for begin, end in (moments[:2], moments[2:]):
        print(f"what was seen was {ages.worst_between(begin, end):.2f} s old at the most")
    assert Counter(job["route"] for job in state.jobs.find({"kind": "reconcile"})) == {
        by_hand.name(1): 1,
        by_hand.name(2): 1,
    }, "another name for the target, and the other generation, are no reason to reconcile"
    assert state.epoch() == 3, "each layout has an epoch of its own"
    for each in (worker, other):
        assert each.health()["settings"]["restart_for"] == []
        # As of a route that a file declares no more: a reindex tells itself what it deletes.
        assert "there is no route" not in worker.log() + other.log()


def test_the_other_replica_goes_on_when_the_capturing_one_dies_while_both_take_up_a_table(
    source: Source,
    worker: ForkedWorker,
    other: ForkedWorker,
    state: State,
    by_hand: ByHand,
    narrow: Declaration,
) -> None:
    source.insert_many(listings(50))
    worker.start()
    state.wait_until_reconciled()
    other.start()
    wait_for(lambda: other.metrics()["tsync_partitions_owned"] > 0, 20.0, "the other takes no partitions")
    worker.signal(signal.SIGSTOP)
    by_hand.file(narrow)
    wait_for(lambda: "taking up what a reindex has changed" in other.log(), 10.0, "the other has not seen the change")
    worker.kill()
    by_hand.wait_until_filled(2, timeout_s=15.0)  # less than the longest wait


def test_commands_mean_the_live_generation(
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    worker: ForkedWorker,
    state: State,
    by_hand: ByHand,
    narrow: Declaration,
) -> None:
    source.insert_many([{**each, "_id": f"d{number}"} for number, each in enumerate(listings(50))])
    worker.start()
    state.wait_until_reconciled()
    by_hand.file(narrow)
    by_hand.wait_until_filled(2)
    by_hand.show(2)

    status = json.loads(worker.run_command("status", "--json").stdout)
    assert [(each["name"], each["target"]) for each in status["routes"]] == [
        (by_hand.name(1), by_hand.collection(1)),
        (by_hand.name(2), by_hand.collection(2)),
    ]
    shown = source.find_one(FILTER)
    assert shown is not None
    found = json.loads(worker.run_command("explain", shown["_id"], "--json").stdout)
    assert (found["route"], found["verdict"]) == (by_hand.name(2), "equal")
    assert by_hand.name(2) in worker.run_command("verify", "--route", by_hand.route, "--json").stdout
    first = json.loads(worker.run_command("reconcile", "--route", f"{by_hand.route}@1", "--json").stdout)
    assert [each["route"] for each in first["jobs"]] == [by_hand.name(1)]
    unknown = worker.run_command("verify", "--route", f"{by_hand.route}@3")
    assert (unknown.returncode, f"There is no route {by_hand.route}@3" in unknown.stderr) == (2, True)


def test_a_restart_goes_on_with_the_generations(
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    worker: ForkedWorker,
    state: State,
    by_hand: ByHand,
    narrow: Declaration,
    equal: Equal,
) -> None:
    source.insert_many(listings(50))
    worker.start()
    state.wait_until_reconciled()
    by_hand.file(narrow)
    by_hand.wait_until_filled(2)
    epoch = state.epoch()
    assert worker.stop() == 0
    source.insert_many(listings(20, first=50))
    worker.start()
    equal()
    wait_until_narrow(stack, source, by_hand.collection(2))
    assert state.epoch() == epoch


@pytest.mark.reads("one database")
def test_a_changed_file_and_generations_go_together_and_a_removed_route_takes_its_generations_along(
    stack: EmbeddedStack, names: Names, source: Source, worker: ForkedWorker, state: State, tmp_path: Path
) -> None:
    routes = ManyRoutes(stack, names, source.database.client, tmp_path)
    one, two = (routes.near, "one"), (routes.near, "two")
    routes.declare({"one": one})
    routes.source("one").insert_many(listings(30))
    worker.environment |= routes.settings()
    worker.start()
    state.wait_until_reconciled()
    by_hand = ByHand(stack, source.database.client[names.state_database], "one", routes.target("one"))
    by_hand.file(Declaration(Route("one", *one, routes.target("one")), filter=FILTER, fields=FIELDS))
    by_hand.wait_until_filled(2)

    def wait_for_routes(*expected: str) -> None:
        wait_for(lambda: [each["name"] for each in state.pipeline()["routes"]] == list(expected), 30.0, str(expected))

    routes.declare({"one": one, "two": two})
    wait_for_routes("one", "one@2", "two")
    routes.source("one").insert_many(listings(20, seed=2, first=1_000))
    routes.source("two").insert_many(listings(20))
    routes.wait_until_equal("one", "two")
    wait_until_narrow(stack, routes.source("one"), by_hand.collection(2))

    routes.declare({"two": two})
    wait_for_routes("two")
    wait_for(lambda: worker.log().count("there is no route one") == 2, 10.0, "nothing is said of both generations")
    shown = actual_documents(stack, replace(names, typesense_collection=by_hand.collection(2)))
    assert len(shown) == source.database["one"].count_documents(FILTER), "collections stay"

    routes.declare({"one": one, "two": two})
    wait_for_routes("one", "one@2", "two")
    state.wait_until_reconciled()
    routes.wait_until_equal("one", "two")
    wait_until_narrow(stack, source.database["one"], by_hand.collection(2))
