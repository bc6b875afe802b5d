"""Promise 4: an outage is waited out, not dead-lettered. It grows the queue, never the dead letters."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.support import damage
from tests.faults.support.trial import Trial
from tests.support.proxy import Proxy
from tests.support.waiting import wait_for
from tsync_stream.embedded import RedisServer

pytestmark = pytest.mark.timeout(600)
Seed = Callable[[int], int]

ANSWERS = (
    (503, "Not Ready or Lagging"),
    (500, "Could not write to the raft log."),
    (422, "Rejecting write: running out of resource type: OUT_OF_DISK"),
    (404, "Not Found"),
    (429, "Rate limit exceeded or blocked"),
)


def red(trial: Trial, word: str) -> None:
    """Wait until a replica's health names what is wrong."""

    def named() -> bool:
        return any(word in str(replica.health()["problems"]) for replica in trial.cluster.running)

    wait_for(named, 40.0, lambda: f"health does not name {word}")


def green(trial: Trial) -> None:
    """Wait until every replica's health is green again."""

    def all_green() -> bool:
        return all(replica.health()["status"] == "green" for replica in trial.cluster.running)

    wait_for(all_green, 60.0, lambda: f"red: {[replica.health() for replica in trial.cluster.running]}")


def acked_during(trial: Trial, operations: int) -> float:
    """How many entries are acked during this many operations."""
    before = trial.cluster.total("tsync_entries_acked_total")
    trial.load.wait_for_operations(operations)
    return trial.cluster.total("tsync_entries_acked_total") - before


def test_typesense_answers_with_errors(trial: Trial, seed: Seed) -> None:
    with Proxy(trial.stack.typesense.port) as proxy:
        settings = {"TYPESENSE_PORT": str(proxy.port)}
        with trial.under_load("24 Typesense answers 503, 500, 422, 404, 429", seed(424), settings=settings):
            for code, message in ANSWERS:
                trial.load.wait_for_operations(200)
                proxy.answer_http(code, message)
                red(trial, "Typesense")
                # Entries that were written just before are still acked.
                wait_for(lambda: acked_during(trial, 100) == 0, 5.0, "entries are acked that were not written")
                assert acked_during(trial, 400) == 0, f"entries of requests that got {code} were acked"
                proxy.restore()
                green(trial)
                trial.check_in_between()


def test_typesense_is_frozen_and_requests_time_out(trial: Trial, seed: Seed) -> None:
    """A request that timed out is carried out later, perhaps over newer data; the retry repairs that."""
    with trial.under_load("24 Typesense times out", seed(425), replicas=2):
        for _ in range(2):
            trial.load.wait_for_operations(300)
            trial.stack.typesense.freeze()
            red(trial, "Typesense")
            trial.load.wait_for_operations(300)
            trial.stack.typesense.thaw()
        green(trial)


def test_typesense_is_killed_under_load(trial: Trial, seed: Seed, tmp_path: Path) -> None:
    with trial.under_load("24 Typesense kill -9", seed(426), replicas=2):
        damage.snapshot_typesense(trial, tmp_path)
        for _ in range(2):
            trial.load.wait_for_operations(300)
            with trial.watcher.excused():
                trial.stack.typesense.kill()
                trial.load.wait_for_operations(200)
                trial.stack.typesense.start()
        green(trial)
        assert trial.pipeline()["epoch"] == 1, "a reconcile would hide what was lost"


Act = Callable[[RedisServer], None]


@pytest.mark.parametrize(
    ("act", "undo", "word"),
    [
        (damage.fill_memory, damage.give_memory, "OOM"),
        (damage.make_read_only, damage.make_writable, "READONLY"),
        (damage.break_snapshots, damage.repair_snapshots, "MISCONF"),
        (damage.change_password, damage.change_password_back, "PRIMARY_REDIS_PASSWORD"),
    ],
)
def test_redis_refuses(trial: Trial, seed: Seed, act: Act, undo: Act, word: str) -> None:
    """Whichever tier becomes the queue, everything arrives and nothing becomes a dead letter."""
    server = trial.stack.primary_redis
    with trial.under_load(f"15 Redis refuses: {word}", seed(415), replicas=2):
        trial.load.wait_for_operations(200)
        act(server)
        try:
            red(trial, word)
            trial.load.wait_for_operations(500)
        finally:
            undo(server)
        green(trial)
        trial.load.wait_for_operations(100)


def test_redis_is_slow_to_load(trial: Trial, seed: Seed) -> None:
    server = trial.stack.primary_redis
    with trial.under_load("15 Redis refuses: LOADING", seed(416), replicas=2):
        trial.load.wait_for_operations(600)
        with damage.slow_loading(server):
            red(trial, "LOADING")
        green(trial)
        trial.load.wait_for_operations(100)
