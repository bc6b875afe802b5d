"""A reindex under load, while processes and servers are killed: it ends by itself, and both sides are equal then.

As long as Typesense itself runs, no search through the alias fails, or misses one of the documents that nobody writes.
Each seed kills at other moments.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.faults.support import damage
from tests.faults.support.trial import Trial
from tests.support.forked import ForkedWorker
from tests.support.listings import listings
from tests.support.load import RATE
from tests.support.reindexing import FACETED, UNTOUCHED, Reindexed
from tests.support.waiting import wait_for
from tsync_stream.embedded import Server

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]

DOCUMENTS = 200
# Few enough that a reindex lasts until everything was killed.
SLOWLY = ("--rate", "300")
AT_ONCE = ("--yes", "--no-follow", "--watch", "2s", "--keep", "0s")
TO_KEEP = ("--yes", "--no-follow", "--watch", "0s", "--keep", "24h")
LONGEST_S = 120.0
# A command asks once.
PATIENT = {"TYPESENSE_CONNECTION_TIMEOUT": "10s", "LEASE_TTL": "30s"}


@contextmanager
def reindexed(trial: Trial, fault: str, seed: int, replicas: int, *, rate: float = RATE) -> Iterator[Reindexed]:
    """Replicas and load run, and the routes file declares another schema than the collection has."""
    with trial.prepared(fault, seed, rate=rate):
        trial.source.insert_many(listings(DOCUMENTS, first=UNTOUCHED))
        trial.cluster.settings["ROUTES_FILE"] = str(trial.cluster.directory / "tsync.yaml")
        directory, settings = trial.cluster.directory, {**trial.cluster.settings, **PATIENT}
        commands = ForkedWorker(trial.stack, trial.names, directory, **settings)  # runs them, and is no replica
        made = Reindexed(trial.stack, trial.names, commands, trial.state)
        made.begin()
        trial.cluster.add(max(replicas, trial.least_replicas))
        trial.cluster.wait_until_shared()
        trial.wait_until_reconciled()
        made.declare(FACETED)
        with trial.running():
            trial.load.wait_for_operations(300)
            yield made
        trial.check()


def ask(route: Reindexed, *options: str) -> None:
    """Run the command, which must work."""
    done = route.reindex(*options)
    assert done.returncode == 0, done.stdout + done.stderr


def kill(server: Server) -> None:
    """kill -9, and a restart."""
    server.kill()
    server.start()


def test_replicas_are_killed_during_a_reindex(trial: Trial, seed: Seed) -> None:
    generator = random.Random(seed(646))
    with reindexed(trial, "46 reindex, kill -9 of replicas", seed(646), 3) as route, route.searched() as searches:
        ask(route, *AT_ONCE, *SLOWLY)
        for _ in range(4):
            trial.load.wait_for_operations(generator.randint(50, 600))
            victim = trial.cluster.capturing() if generator.random() < 0.6 else generator.choice(trial.cluster.running)
            victim.kill()
            trial.cluster.start(victim)
        route.wait_for_phase("", timeout_s=LONGEST_S)
        assert route.stored()["last"]["result"] == "done"
        trial.load.wait_for_operations(300)
    assert searches.failed == []
    assert set(searches.found) == {DOCUMENTS}
    assert route.collections() == {f"{route.target}_2"}


def test_servers_are_killed_during_a_reindex(trial: Trial, seed: Seed) -> None:
    generator = random.Random(seed(647))
    stack = trial.stack
    servers = [stack.mongo, stack.primary_redis, stack.backup_redis]
    with reindexed(trial, "47 reindex, kill -9 of servers", seed(647), 2) as route, route.searched() as searches:
        ask(route, *AT_ONCE, *SLOWLY)
        for server in generator.sample(servers, len(servers)):
            trial.load.wait_for_operations(generator.randint(50, 500))
            kill(server)
        trial.load.wait_for_operations(generator.randint(50, 500))
        damage.wipe(stack.primary_redis)
        route.wait_for_phase("", timeout_s=LONGEST_S)
        assert route.stored()["last"]["result"] == "done"
    assert searches.failed == []
    assert set(searches.found) == {DOCUMENTS}


def test_typesense_is_killed_during_a_reindex(trial: Trial, seed: Seed) -> None:
    """It replays its log after each restart, in which searches fail, and late requests may arrive."""
    generator = random.Random(seed(650))
    with reindexed(trial, "50 reindex, kill -9 of Typesense", seed(650), 2) as route:
        ask(route, *AT_ONCE, *SLOWLY)
        with trial.watcher.excused():
            for _ in range(2):
                trial.load.wait_for_operations(generator.randint(50, 900))
                kill(trial.stack.typesense)
            route.wait_for_phase("", timeout_s=LONGEST_S)
            trial.load.wait_for_operations(300)
    assert route.shown() in {f"{route.target}_1", f"{route.target}_2"}
    assert route.collections() == {route.shown()}


@pytest.mark.timeout(4_800)  # an hour of writes, if --fault-kept asks for it
def test_the_way_back_is_equal_after_further_writes_and_a_lost_queue(
    trial: Trial, seed: Seed, request: pytest.FixtureRequest
) -> None:
    kept_s = request.config.getoption("--fault-kept")
    rate = RATE / 10 if kept_s else RATE
    with reindexed(trial, "48 reindex, way back", seed(648), 2, rate=rate) as route, route.searched() as searches:
        ask(route, *TO_KEEP)
        route.wait_for_phase("kept", timeout_s=LONGEST_S)
        assert route.shown() == f"{route.target}_2"
        shown_s = time.monotonic()
        trial.load.wait_for_operations(500)
        while time.monotonic() < shown_s + kept_s:
            trial.load.wait_for_operations(100)
        damage.wipe(trial.stack.primary_redis)
        trial.cluster.capturing().kill()
        trial.load.wait_for_operations(500)
        ask(route, "--rollback", "--no-follow")
        route.wait_for_phase("", timeout_s=LONGEST_S)
        assert route.stored()["last"]["result"] == "rolled back"
        trial.load.wait_for_operations(300)
    assert route.shown() == f"{route.target}_1"
    assert searches.failed == []
    assert set(searches.found) == {DOCUMENTS}


def test_typesense_loses_everything_during_a_reindex(trial: Trial, seed: Seed) -> None:
    """Nobody has to set the alias again, or to begin another reindex."""
    with reindexed(trial, "49 reindex, Typesense loses its disk", seed(649), 2) as route:
        ask(route, *AT_ONCE, *SLOWLY)
        trial.load.wait_for_operations(300)
        with trial.watcher.excused():
            stack = trial.stack
            stack.typesense.kill()
            stack.typesense.wipe()
            stack.typesense.start()
            wait_for(lambda: bool(route.shown()), LONGEST_S, "the alias shows nothing")
            route.wait_for_phase("", timeout_s=LONGEST_S)
            trial.wait_until_reconciled()
    assert route.shown() == f"{route.target}_2"
