"""A worker whose settings and routes change while it runs: nothing is lost under load, a bad file changes nothing."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.forked import ForkedWorker
from tests.support.listings import listings
from tests.support.load import Load
from tests.support.many_routes import ManyRoutes
from tests.support.stack import Names
from tests.support.waiting import wait_for
from tsync_stream.embedded import EmbeddedStack

MakeLoad = Callable[[int], Load]


class Reloading(ForkedWorker):
    """A worker with a `.env`, which decides on its log, too."""

    secrets: Mapping[str, str] = {}

    def prepare(self) -> None:
        """Let `.env` decide what the tests change."""
        self.secrets = {name: self.environment.pop(name) for name in ("TYPESENSE_API_KEY", "MONGODB_URI")}
        del self.environment["VERIFY_RATE"]
        self.write(VERIFY_RATE="0")

    def launch(self) -> None:
        """Without a log level on the command line."""
        self._process = self._begin("-A", "tsync_stream", "worker")

    def write(self, **settings: str) -> None:
        """Replace `.env`, which holds the secrets, too."""
        text = "".join(f"{name}={value}\n" for name, value in {**self.secrets, **settings}.items())
        (self.directory / ".env").write_text(text, encoding="utf-8")

    def reloads(self, result: str) -> float:
        return self.metrics()[f'tsync_reloads_total{{result="{result}"}}']

    def wait_for_reload(self, result: str = "applied", count: int = 1) -> None:
        wait_for(lambda: self.reloads(result) == count, 20.0, lambda: f"not {result}:\n{self.log()[-3000:]}")

    def wait_until_green(self) -> None:
        wait_for(lambda: self.health()["status"] == "green", 40.0, lambda: str(self.health()["problems"]))

    def problem(self, check: str = "reload") -> str:
        """What a health check says; "" if it is green."""
        return next((each["text"] for each in self.health()["problems"] if each["check"] == check), "")


@pytest.fixture
def worker(stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path) -> Iterator[Reloading]:
    replica = Reloading(stack, names, tmp_path)
    replica.prepare()
    try:
        yield replica
    finally:
        if replica.running:
            replica.kill()
        print(f"--- the end of the worker's log ---\n{replica.log()[-8000:]}")


@contextmanager
def under_load(load: Load) -> Iterator[Load]:
    load.start()
    try:
        yield load
    finally:
        load.stop()


def test_changed_settings_take_effect_under_load_without_a_restart(
    worker: Reloading, source: Source, make_load: MakeLoad, equal: Equal, state: State
) -> None:
    source.insert_many(listings(200))
    worker.start()
    worker.wait_until_capturing()
    state.wait_until_reconciled()
    pid, before = worker.pid, worker.health()["settings"]
    assert worker.metrics().get("tsync_documents_verified_total", 0) == 0
    with under_load(make_load(1)):
        worker.write(VERIFY_RATE="2000", BATCH_SIZE="7", LOG_LEVEL="WARNING")
        worker.wait_for_reload()
        wait_for(lambda: worker.total("tsync_documents_verified_total") > 50, 20.0, "nothing is verified")
    equal()
    after = worker.health()["settings"]
    assert (worker.pid, worker.running) == (pid, True)
    assert after["version"] != before["version"]
    assert after["since"] > before["since"]
    assert after["restart_for"] == []
    assert "reload: LOG_LEVEL, BATCH_SIZE" not in worker.log(), "INFO is not logged any more"
    worker.write(VERIFY_RATE="2000", BATCH_SIZE="7", LOG_LEVEL="INFO", LOG_FORMAT="json")
    worker.wait_for_reload(count=2)
    wait_for(lambda: '"event":"settings.reloaded"' in worker.log(), 5.0, "the format of the log has not changed")
    worker.wait_until_green()

    worker.write(VERIFY_RATE="2000", BATCH_SIZE="7", LOG_LEVEL="INFO", LOG_FORMAT="json", TYPESENSE_API_KEY="not-known")
    worker.wait_for_reload(count=3)
    assert "the one before stays in use" in worker.problem("secret TYPESENSE_API_KEY")
    source.update_many({}, {"$inc": {"rooms": 1}})
    equal()
    worker.write(VERIFY_RATE="2000", BATCH_SIZE="7", LOG_LEVEL="INFO", LOG_FORMAT="json")
    wait_for(lambda: not worker.problem("secret TYPESENSE_API_KEY"), 20.0, lambda: str(worker.health()))
    assert "not-known" not in worker.log()


def test_a_bad_file_changes_nothing_until_it_is_corrected_and_what_needs_a_restart_is_named(
    worker: Reloading, source: Source, equal: Equal
) -> None:
    source.insert_many(listings(50))
    worker.start()
    equal()
    worker.wait_until_green()
    before = worker.health()["settings"]

    worker.write(VERIFY_RATE="0", BATCH_SIZE="nine", MAX_BUFFER_SIZE="5")
    worker.wait_for_reload("refused")
    health = worker.health()
    assert health["settings"] == before
    assert health["status"] == "degraded", health
    assert ".env cannot be used as changed" in worker.problem()
    assert "BATCH_SIZE='nine' is not valid" in worker.problem()
    source.update_many({}, {"$inc": {"rooms": 1}})
    equal()

    worker.write(VERIFY_RATE="0", MONGODB_URI="mongodb://nobody:n0-secret@127.0.0.1:1")
    wait_for(lambda: "MONGODB_URI leads to no MongoDB" in worker.problem(), 20.0, worker.problem)
    assert "n0-secret" not in worker.log() + worker.problem()
    worker.write(VERIFY_RATE="0", PARTITIONS="4", WEB_PORT="1")
    worker.wait_for_reload("restart needed")
    assert worker.problem() == ""
    assert worker.health()["settings"] == {**before, "restart_for": ["PARTITIONS"]}
    assert "reload: WEB_PORT changed in .env without effect: the environment" in worker.log()

    def replicas() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(worker.run_command("status", "--json").stdout)["replicas"]
        return found

    wait_for(lambda: [each["restart_for"] for each in replicas()] == [["PARTITIONS"]], 20.0, lambda: str(replicas()))
    assert "a restart is needed for PARTITIONS" in worker.run_command("status").stdout

    worker.write(VERIFY_RATE="0")
    wait_for(lambda: worker.health()["settings"] == before, 20.0, "a restart is still asked for")
    worker.signal(signal.SIGHUP)
    wait_for(lambda: "reload: nothing has changed" in worker.log(), 20.0, "SIGHUP is not answered")
    assert worker.reloads("applied") == 0
    uri = worker.secrets["MONGODB_URI"]
    worker.write(VERIFY_RATE="0", MONGODB_URI=f"{uri}{'&' if '?' in uri else '/?'}appName=another")
    worker.wait_for_reload()
    source.update_many({}, {"$inc": {"rooms": 1}})
    equal()


@pytest.fixture
def routes(stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path) -> ManyRoutes:
    return ManyRoutes(stack, names, source.database.client, tmp_path)


@pytest.mark.reads("one database")
def test_routes_are_added_changed_and_taken_back_under_load_and_nothing_is_lost(
    worker: Reloading, routes: ManyRoutes, names: Names, make_load: MakeLoad
) -> None:
    loaded, pets = (routes.near, names.collection), (routes.near, "pets")
    routes.declare({"one": loaded, "two": (routes.near, "two")})
    routes.source("two").insert_many(listings(50))
    worker.environment |= routes.settings() | {"MASS_DELETE_SHARE": "1"}
    worker.start()
    worker.wait_until_capturing()
    first = routes.file.read_text()
    pid = worker.pid
    with under_load(make_load(2)):
        routes.declare({"one": loaded, "two": (routes.near, "two"), "three": pets})
        routes.source("three").insert_many(listings(30))
        worker.wait_for_reload()
        routes.wait_until_equal("two", "three")
        declared = routes.file.read_text()
        routes.file.write_text(declared.replace(f"target: {routes.target('two')}", "target: no/name"))
        worker.wait_for_reload("refused")
        assert "routes.yaml:" in worker.problem()
        assert "route two" in worker.problem()
        routes.source("two").insert_many(listings(20, seed=2, first=1_000))
        routes.wait_until_equal("two")
        routes.file.write_text(f"{declared}    filter: {{rooms: {{$gte: 3}}}}\n")
        worker.wait_for_reload(count=2)
        matching = routes.source("three").count_documents({"rooms": {"$gte": 3}})
        wait_for(lambda: len(routes.shown("three")) == matching, 30.0, "the filter has no effect")
        routes.file.write_text(first)
        worker.wait_for_reload(count=3)  # a table of before, which nobody else has replaced: taken up at once
    routes.wait_until_equal("one", "two")
    assert (worker.pid, worker.running) == (pid, True)
    assert "settings.replaced" not in worker.log()
    worker.wait_until_green()


@pytest.mark.reads("one database")
def test_two_replicas_take_up_routes_one_after_the_other(
    stack: EmbeddedStack, worker: Reloading, routes: ManyRoutes, names: Names, tmp_path: Path, make_load: MakeLoad
) -> None:
    loaded = (routes.near, names.collection)
    routes.declare({"one": loaded})
    old, file = routes.file.read_text(), tmp_path / "other" / "routes.yaml"
    file.parent.mkdir()
    file.write_text(old)
    worker.environment |= routes.settings()
    worker.start()
    with Reloading(stack, names, file.parent, ROUTES_FILE=str(file)) as other:
        both = (worker, other)

        def wait_until_shared() -> None:
            wait_for(
                lambda: all(each.metrics()["tsync_partitions_owned"] == 4 for each in both), 30.0, "not shared evenly"
            )

        wait_until_shared()
        with under_load(make_load(3)):
            routes.declare({"one": loaded, "two": (routes.near, "two")})
            routes.source("two").insert_many(listings(30))
            worker.wait_for_reload()
            routes.wait_until_equal("two")
            wait_for(lambda: "a newer table of routes" in str(other.health()), 20.0, "the other one does not wait")
            file.write_text(routes.file.read_text())
            other.wait_for_reload()
            wait_until_shared()
            routes.file.write_text(old)
            file.write_text(old)
            for each in both:
                each.wait_for_reload(count=2)
            wait_until_shared()
        routes.wait_until_equal("one")
