"""Several routes in one deployment: commands act on one or all, a broken one stands alone, and the table may change."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.acceptance.conftest import Source
from tests.acceptance.state import State
from tests.support.forked import ForkedWorker
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.reads("one database")

FILE = "tsync.yaml"
# A replica that is behind is seen, and one that crashed replaced, within seconds.
TIMES = {"LEASE_TTL": "3s", "TYPESENSE_CONNECTION_TIMEOUT": "1s"}


class Shop:
    """The collections of a shop, and what Typesense shows of them."""

    def __init__(self, source: Source, names: Names, typesense: httpx.Client) -> None:
        self.database = source.database
        self._names = names
        self._typesense = typesense

    def fill(self, name: str, count: int = 20) -> None:
        self.database[name].insert_many([{"_id": f"{name}-{number}", "size": number} for number in range(count)])

    def target(self, name: str) -> str:
        return f"{self._names.token}_{name}"

    def shown(self, name: str) -> dict[str, Any]:
        answer = self._typesense.get(f"/collections/{self.target(name)}/documents/export")
        found = [orjson.loads(line) for line in answer.text.splitlines()] if answer.is_success else []
        return {document["id"]: document["size"] for document in found}

    def equal(self, *names: str) -> None:
        """Wait until Typesense shows all of these collections."""
        for name in names:

            def expected(name: str = name) -> dict[str, Any]:
                return {document["_id"]: document["size"] for document in self.database[name].find()}

            wait_for(lambda n=name, e=expected: self.shown(n) == e(), 60.0, f"{name} is not equal")  # type: ignore[misc]

    def write(self, directory: Path, *names: str, **more: str) -> None:
        """A routes file with a plain route for each of these collections; `more` is added to single ones."""
        lines = ["routes:"]
        for name in names:
            lines += [f"  {name}:", f"    source: {self.database.name}.{name}", f"    target: {self.target(name)}"]
            lines += [f"    {more[name]}"] if name in more else []
        (directory / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def shop(stack: EmbeddedStack, source: Source, names: Names) -> Iterator[Shop]:
    with typesense_client(stack) as typesense:
        yield Shop(source, names, typesense)


def status(worker: Worker) -> Mapping[str, Any]:
    result = worker.run_command("status", "--json")
    shown: Mapping[str, Any] = json.loads(result.stdout)
    return shown


def problem(worker: Worker, check: str) -> Mapping[str, Any] | None:
    found = [each for each in worker.health()["problems"] if each["check"] == check]
    return found[0] if found else None


def routes(worker: Worker) -> dict[str, Mapping[str, Any]]:
    return {route["name"]: route for route in status(worker)["routes"]}


def done_loading(worker: Worker) -> None:
    def done() -> bool:
        found = routes(worker).values()  # none, or no lag, before the first start
        return bool(found) and all(route["lag_s"] is not None and not route["reconcile"] for route in found)

    wait_for(done, 60.0, "the loads do not end")


def test_commands_act_on_one_route_or_on_all(worker: Worker, shop: Shop) -> None:
    for name in ("listings", "sellers", "reviews"):
        shop.fill(name)
    shop.write(worker.directory, "listings", "sellers", "reviews")
    worker.start()
    shop.equal("listings", "sellers", "reviews")
    done_loading(worker)
    assert {name: route["documents"] for name, route in routes(worker).items()} == {
        "listings": 20,
        "sellers": 20,
        "reviews": 20,
    }
    text = worker.run_command("status").stdout
    assert f"{shop.database.name}.sellers" in text

    wrong = worker.run_command("verify", "--route", "seller")
    assert wrong.returncode == 2
    assert "There is no route seller. Did you mean sellers?" in wrong.stderr

    verified = worker.run_command("verify", "--wait", timeout_s=90.0)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "All 3 routes are equal." in verified.stdout

    with_one_less = shop.target("sellers")
    shop._typesense.delete(f"/collections/{with_one_less}/documents/sellers-3").raise_for_status()
    found = worker.run_command("verify", "--wait", timeout_s=90.0)
    assert found.returncode == 1
    assert "2 of 3 routes are equal; not equal, or not compared: sellers." in found.stdout

    again = worker.run_command("reconcile", "--route", "sellers", "--wait", timeout_s=90.0)
    assert again.returncode == 0, again.stderr
    assert "Done: 20 documents queued, none refused" in again.stdout
    assert "reconcile sellers: done" in worker.log()
    assert worker.log().count("reconcile listings: began") == 1, "the first load only"
    shop.equal("sellers")
    everything = worker.run_command("reconcile", "--wait", timeout_s=120.0)
    assert everything.returncode == 0, everything.stderr
    assert "A reconcile is filed for listings, sellers, reviews." in everything.stdout
    assert all(f"{name}:\n  Done: 20 documents queued" in everything.stdout for name in routes(worker))


def test_dead_letters_of_several_routes_are_told_apart_and_replayed(
    worker: Worker, shop: Shop, stack: EmbeddedStack
) -> None:
    bad = {"_id": "bad", "size": 2.5}
    numbers = "schema: {fields: [{name: size, type: int64}]}"
    for name in ("listings", "sellers"):
        shop.fill(name, 5)
        shop.database[name].insert_one(bad)
    shop.write(worker.directory, "listings", "sellers", listings=numbers, sellers=numbers)
    worker.start()
    done_loading(worker)
    listed = worker.run_command("dead-letters").stdout
    assert "route" in listed.splitlines()[1]
    wait_for(lambda: problem(worker, "dead letters sellers") is not None, 20.0, "no check of its own")
    assert "--route sellers" in str(problem(worker, "dead letters sellers"))
    for name in ("listings", "sellers"):
        shop.database[name].update_one({"_id": "bad"}, {"$set": {"size": 2}})
    shop.equal("listings", "sellers")
    none = worker.run_command("dead-letters", "--route", "selers")
    assert none.returncode == 2
    assert "Did you mean sellers?" in none.stderr


def test_a_route_without_its_source_is_suspended_alone_and_comes_back_by_itself(worker: Worker, shop: Shop) -> None:
    shop.fill("listings")
    shop.write(worker.directory, "listings", "sellers")
    worker.start()
    shop.equal("listings")
    wait_for(lambda: problem(worker, "route sellers") is not None, 30.0, lambda: str(worker.health()))
    found = problem(worker, "route sellers")
    assert found is not None
    assert found["needs_person"]
    assert "sellers" in found["text"]
    assert routes(worker)["sellers"]["suspended"]
    shop.database["listings"].update_many({}, {"$inc": {"size": 100}})
    shop.equal("listings")
    assert routes(worker)["listings"]["suspended"] is None

    shop.fill("sellers")
    shop.equal("sellers")
    wait_for(lambda: problem(worker, "route sellers") is None, 30.0, lambda: str(worker.health()))
    done_loading(worker)
    shop.database["sellers"].update_many({}, {"$inc": {"size": 100}})
    shop.database["sellers"].delete_one({"_id": "sellers-3"})
    shop.equal("sellers", "listings")


@pytest.fixture
def make_worker(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Iterator[Callable[[str], Worker]]:
    """Workers in directories of their own, each with its routes file; all are killed after the test."""
    made = []

    def make(name: str) -> Worker:
        directory = tmp_path / name
        directory.mkdir()
        made.append(ForkedWorker(stack, names, directory, **TIMES))
        return made[-1]

    yield make
    for worker in made:
        if worker.running:
            worker.kill()
        print(f"--- the end of {worker.directory.name}'s log ---\n{worker.log()[-5000:]}")


def test_a_new_table_takes_over_one_restart_after_the_other(
    make_worker: Callable[[str], Worker], shop: Shop, state: State
) -> None:
    first, second = make_worker("first"), make_worker("second")
    for name in ("listings", "sellers", "reviews"):
        shop.fill(name)
    for worker in (first, second):
        shop.write(worker.directory, "listings", "sellers")
        worker.start()
    shop.equal("listings", "sellers")
    done_loading(first)
    before = shop.shown("sellers")
    loads = sum(worker.log().count("reconcile listings: began") for worker in (first, second))

    # One replica is restarted: `reviews` is new, and `sellers` is gone.
    assert first.stop() == 0
    shop.write(first.directory, "listings", "reviews")
    first.start()
    wait_for(lambda: problem(second, "routes") is not None, 30.0, lambda: str(second.health()))
    behind = problem(second, "routes")
    assert behind is not None
    assert "only there: reviews" in behind["text"] or "only here: sellers" in behind["text"]
    assert behind["level"] == "degraded"
    shop.equal("reviews")
    wait_for(lambda: second.metrics()["tsync_partitions_owned"] == 0, 20.0, "the older one keeps partitions")
    shop.database["listings"].update_many({}, {"$inc": {"size": 100}})
    shop.database["sellers"].update_many({}, {"$inc": {"size": 100}})
    shop.equal("listings")
    assert shop.shown("sellers") == before, "a removed route leaves its collection alone"
    assert {route["name"] for route in state.pipeline()["routes"]} == {"listings", "reviews"}
    again = sum(worker.log().count("reconcile listings: began") for worker in (first, second)) - loads
    assert again == 0, "a table that changes moves no other route"

    # The other one follows; then an old file is started by mistake.
    assert second.stop() == 0
    shop.write(second.directory, "listings", "reviews")
    second.start()
    wait_for(lambda: second.metrics()["tsync_partitions_owned"] == 4, 30.0, lambda: str(second.health()))
    assert problem(second, "routes") is None
    late = make_worker("late")
    shop.write(late.directory, "listings", "sellers")
    late.start()
    wait_for(lambda: problem(late, "routes") is not None, 30.0, lambda: str(late.health()))
    assert late.metrics()["tsync_partitions_owned"] == 0
    shop.database["reviews"].update_many({}, {"$inc": {"size": 100}})
    shop.equal("reviews", "listings")
    assert shop.shown("sellers") == before
