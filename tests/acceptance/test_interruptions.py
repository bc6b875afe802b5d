"""What happens in the middle of a load: restarts, crashes, outages, bad documents. Each ends with the comparison."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.acceptance.conftest import Source
from tests.support.comparison import wait_for
from tests.support.listings import listing, listings
from tests.support.stack import Names
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

Equal = Callable[..., None]


class Load:
    """Writes about 500 operations a second from a thread until told to stop; the same ones for the same seed."""

    def __init__(self, source: Source, seed: int) -> None:
        self._source = source
        self._generator = random.Random(seed)
        self._keys: list[Any] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: Exception | None = None
        self.operations = 0

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Runs as long as the block; at least one operation is done before the block begins."""
        self._thread.start()
        try:
            wait_for(lambda: self.operations > 0, 10.0, "the load does not start")
            yield self
        finally:
            self._stopping.set()
            self._thread.join()
        if self._error is not None:
            raise self._error

    def wait_for_operations(self, count: int) -> None:
        """Wait until `count` more operations were done."""
        goal = self.operations + count
        wait_for(lambda: self.operations >= goal or self._error is not None, 30.0, "the load stands still")

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.02):
                for _ in range(10):
                    self._operate()
        except Exception as error:  # noqa: BLE001 - raised again in the test's own thread
            self._error = error

    def _operate(self) -> None:
        generator, dice = self._generator, self._generator.random()
        if dice < 0.5 or len(self._keys) < 20:
            document = listing(self.operations, generator)
            self._keys.append(self._source.insert_one(document).inserted_id)
        elif dice < 0.92:
            # A skewed choice: a few documents are hot.
            key = self._keys[int(len(self._keys) * generator.random() ** 3)]
            self._source.update_one({"_id": key}, {"$inc": {"number": 1}, "$set": {"address.city": "moved"}})
        else:
            self._source.delete_one({"_id": self._keys.pop(generator.randrange(len(self._keys)))})
        self.operations += 1


def test_a_stop_and_a_start_in_the_middle_lose_nothing(source: Source, worker: Worker, equal: Equal) -> None:
    worker.start()
    with Load(source, seed=11).running() as load:
        load.wait_for_operations(300)
        assert worker.stop() == 0
        load.wait_for_operations(300)
        worker.start()
        load.wait_for_operations(300)
    equal()


@pytest.mark.timeout(600)
def test_a_clean_stop_leaves_nothing_half_done(source: Source, worker: Worker, equal: Equal) -> None:
    worker.start()
    source.insert_many(listings(5000))
    wait_for_acks(worker, 500)
    assert worker.stop() == 0
    assert "left in the queue" not in worker.log()
    worker.start()
    equal(timeout_s=60)
    assert worker.metrics()["tsync_rechecks_synced_total"] == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [21, 22, 23])
def test_kill_9_at_any_moment_of_a_burst_loses_nothing(source: Source, worker: Worker, equal: Equal, seed: int) -> None:
    generator = random.Random(seed)
    worker.start()
    source.insert_many(listings(6000, seed))
    for _ in range(3):
        wait_for_acks(worker, generator.randint(200, 1800))
        worker.kill()
        source.update_many({"number": {"$mod": [7, generator.randint(0, 6)]}}, {"$inc": {"rooms": 1}})
        source.delete_many({"number": {"$mod": [50, generator.randint(0, 49)]}})
        worker.start()
    equal(timeout_s=90)


@pytest.mark.timeout(600)
def test_kill_9_during_the_first_load_loses_nothing(source: Source, worker: Worker, equal: Equal) -> None:
    source.insert_many(listings(20_000))
    worker.start()
    with Load(source, seed=31).running():
        wait_for_acks(worker, 2000)
        worker.kill()
        worker.start()
        wait_for_acks(worker, 2000)
    equal(timeout_s=90)


@pytest.mark.timeout(600)
def test_an_outage_of_typesense_is_waited_out(
    stack: EmbeddedStack, source: Source, worker: Worker, equal: Equal
) -> None:
    worker.start()
    source.insert_many(listings(100))
    equal()
    with Load(source, seed=41).running() as load:
        load.wait_for_operations(100)
        stack.typesense.stop()
        down_since = time.monotonic()
        wait_for(lambda: worker.health()["status"] == "red", 20.0, "health does not show the outage")
        assert any("Typesense" in problem["text"] for problem in worker.health()["problems"])
        wait_for(lambda: time.monotonic() - down_since > 10.0, 20.0, "")
        load.wait_for_operations(100)
        assert sum(value for name, value in worker.metrics().items() if "backlog_entries" in name) > 100
        stack.typesense.start()
        load.wait_for_operations(100)
    equal(timeout_s=90)
    metrics = worker.metrics()
    assert not any(name.startswith("tsync_dead_letters_total") for name in metrics)
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: f"still red: {worker.health()}")


def test_a_frozen_typesense_is_waited_out_and_its_doubtful_writes_are_checked_again(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    worker.environment |= {"TYPESENSE_CONNECTION_TIMEOUT": "1s", "LEASE_TTL": "3s"}
    keys = source.insert_many(listings(50)).inserted_ids
    worker.start()
    equal()
    worker.wait_until_capturing()
    stack.typesense.freeze()
    source.update_many({"_id": {"$in": keys[:25]}}, {"$set": {"rooms": 100}})
    wait_for(lambda: worker.metrics()["tsync_batches_retried_total"] >= 1, 30.0, "no time-out is seen")
    source.update_many({"_id": {"$in": keys[:25]}}, {"$set": {"rooms": 200}})
    stack.typesense.thaw()
    equal(timeout_s=60)
    rechecks = source.database.client[names.state_database].rechecks
    doubtful = rechecks.count_documents({})
    assert doubtful > 0
    # Each is looked at three times, the last time after eighteen deadlines; the first round is enough to wait for.
    wait_for(lambda: worker.metrics()["tsync_rechecks_synced_total"] >= doubtful, 30.0, "no recheck is done")
    assert rechecks.count_documents({"done": 0}) == 0
    equal()


def test_a_poison_document_becomes_a_dead_letter_and_the_others_arrive(
    names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    worker.start()
    source.insert_many(listings(300))
    equal()
    poison = source.insert_one({"title": "poison", "price": {"not": "a number"}}).inserted_id
    source.insert_many(listings(300, seed=2, first=300))
    equal(ignoring=frozenset({str(poison)}))
    letters = source.database.client[names.state_database].dead_letters
    wait_for(lambda: letters.count_documents({"status": "open"}) == 1, 10.0, "no dead letter")
    letter = letters.find_one({"status": "open"})
    assert letter is not None
    assert letter["key"] == poison
    assert "Typesense" in letter["reason"]
    source.update_one({"_id": poison}, {"$set": {"price": 12.5}})
    equal()
    wait_for(lambda: letters.count_documents({"status": "open"}) == 0, 10.0, "the dead letter is not closed")


def test_a_second_signal_stops_at_once(stack: EmbeddedStack, source: Source, worker: Worker, equal: Equal) -> None:
    worker.environment |= {"TYPESENSE_CONNECTION_TIMEOUT": "20s", "LEASE_TTL": "60s"}
    source.insert_many(listings(50))
    worker.start()
    equal()
    worker.wait_until_capturing()
    stack.typesense.freeze()
    source.update_many({}, {"$set": {"rooms": 300}})
    wait_for(lambda: worker.metrics()["tsync_changes_captured_total"] >= 50, 20.0, "the changes are not captured")
    worker.signal(signal.SIGTERM)
    wait_for(lambda: "Signal received" in worker.log(), 10.0, "the first signal is not seen")
    worker.signal(signal.SIGTERM)
    assert worker.wait(5.0) == 128 + signal.SIGTERM
    stack.typesense.thaw()
    worker.start()
    equal(timeout_s=60)


def test_orphans_in_typesense_are_removed_only_as_far_as_the_guard_allows(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    worker.start()
    source.insert_many(listings(100))
    equal()
    assert worker.stop() == 0
    forget(names, source)
    source.delete_many({"number": {"$lt": 10}})
    worker.start()
    equal()
    assert worker.stop() == 0
    forget(names, source)
    source.delete_many({"number": {"$lt": 60}})
    worker.start()
    wait_for(lambda: "reconcile" in str(worker.health()["problems"]), 20.0, "the guard does not hold")
    assert "--allow-mass-delete" in str(worker.health()["problems"])
    answer = worker.run_command("reconcile", "--allow-mass-delete")
    assert answer.returncode == 0, answer.stderr
    equal()


def test_a_question_whether_to_delete_outlives_a_restart_and_a_larger_collection(
    names: Names, source: Source, worker: Worker, equal: Equal
) -> None:
    worker.start()
    source.insert_many(listings(100))
    equal()
    assert worker.stop() == 0
    gone = list(source.find({"number": {"$lt": 60}}))
    source.delete_many({"number": {"$lt": 60}})
    forget(names, source)

    def asks() -> bool:
        return "--allow-mass-delete" in str(worker.health()["problems"])

    worker.start()
    wait_for(asks, 20.0, "the guard does not hold")
    source.insert_many(listings(900, seed=3, first=100))  # 60 of 1,000 would be few
    written = "tsync_documents_written_total"
    wait_for(lambda: worker.metrics()[written] >= 900, 30.0, "the new ones do not arrive")
    assert worker.stop() == 0
    worker.start()
    wait_for(asks, 20.0, lambda: f"it asks no more: {worker.log()[-1500:]}")
    assert "100 when this was first asked" in str(worker.health()["problems"])
    assert worker.metrics()["tsync_documents_deleted_total"] == 0
    # The source has most of them again: nobody need answer.
    source.insert_many(gone[:50])
    assert worker.stop() == 0
    worker.start()
    equal()
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: str(worker.health()))
    assert "the question whether to delete is void" in worker.log()


def wait_for_acks(worker: Worker, count: int) -> None:
    """Wait until this process has synced and acked so many entries."""
    wait_for(lambda: worker.metrics()["tsync_entries_acked_total"] >= count, 30.0, "nothing is synced")


def forget(names: Names, source: Source) -> None:
    """Lose all state, so that the next start is a first one."""
    source.database.client.drop_database(names.state_database)
