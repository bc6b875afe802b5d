"""Restarts, crashes, outages and bad documents under load. Each test ends with a full comparison."""

import random
import signal
from collections.abc import Callable

import jsonschema  # type: ignore[import-untyped]
import pytest

from tests.acceptance.conftest import Equal, Source, started_by_a_user
from tests.acceptance.state import State
from tests.support.listings import listings
from tests.support.load import Load
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.observe.health_report import json_schema


def test_a_restart_under_load_loses_nothing(
    source: Source, make_load: Callable[[int], Load], worker: Worker, equal: Equal
) -> None:
    worker.start()
    with make_load(11).running() as load:
        load.wait_for_operations(300)
        assert worker.stop() == 0
        load.wait_for_operations(300)
        worker.start()
        load.wait_for_operations(300)
    equal()


@pytest.mark.timeout(600)
@started_by_a_user
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
def test_kill_9_during_the_first_load_loses_nothing(
    source: Source, make_load: Callable[[int], Load], worker: Worker, equal: Equal
) -> None:
    source.insert_many(listings(20_000))
    worker.start()
    with make_load(31).running():
        wait_for_acks(worker, 2000)
        worker.kill()
        worker.start()
        wait_for_acks(worker, 2000)
    equal(timeout_s=90)


def server_states(worker: Worker) -> dict[str, str]:
    """What health says of each server."""
    return {part["name"]: part["state"] for part in worker.health()["servers"]}


@pytest.mark.timeout(600)
def test_an_outage_of_typesense_is_waited_out(
    stack: EmbeddedStack, source: Source, make_load: Callable[[int], Load], worker: Worker, equal: Equal
) -> None:
    worker.start()
    source.insert_many(listings(100))
    equal()
    with make_load(41).running() as load:
        load.wait_for_operations(100)
        stack.typesense.stop()
        wait_for(lambda: worker.health()["status"] == "degraded", 20.0, "health does not show the outage")
        wait_for(lambda: server_states(worker)["typesense"] == "unreachable", 20.0, lambda: str(worker.health()))
        report = worker.health()
        assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(report)) == []
        assert any("Typesense" in problem["text"] for problem in report["problems"])
        assert server_states(worker)["mongodb"] == "reachable"
        assert [worker.answers(page) for page in ("/health/live", "/health/ready")] == [200, 200], "nobody restarts it"
        wait_for(lambda: worker.total("tsync_batches_retried_total") >= 3, 30.0, "nothing is retried")
        wait_for(lambda: backlog(worker) > 100, 20.0, "the queue does not grow")
        stack.typesense.start()
        load.wait_for_operations(100)
    equal(timeout_s=90)
    metrics = worker.metrics()
    assert not any(name.startswith("tsync_dead_letters_total") for name in metrics)
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: f"still red: {worker.health()}")


def test_a_frozen_typesense_is_waited_out_and_in_doubt_writes_are_rechecked(
    stack: EmbeddedStack, source: Source, state: State, worker: Worker, equal: Equal
) -> None:
    worker.environment |= {"TYPESENSE_CONNECTION_TIMEOUT": "1s", "LEASE_TTL": "3s"}
    keys = source.insert_many(listings(50)).inserted_ids
    worker.start()
    equal()
    worker.wait_until_capturing()
    stack.typesense.freeze()
    source.update_many({"_id": {"$in": keys[:25]}}, {"$set": {"rooms": 100}})
    wait_for(lambda: worker.total("tsync_batches_retried_total") >= 1, 30.0, "no request times out")
    source.update_many({"_id": {"$in": keys[:25]}}, {"$set": {"rooms": 200}})
    stack.typesense.thaw()
    equal(timeout_s=60)
    in_doubt = state.rechecks.count_documents({})
    assert in_doubt > 0
    # Each key is rechecked three times, the last time after eighteen deadlines; the first round is enough here.
    wait_for(lambda: worker.total("tsync_rechecks_synced_total") >= in_doubt, 30.0, "no recheck is done")
    assert state.rechecks.count_documents({"done": 0}) == 0
    equal()


def test_a_poison_document_becomes_a_dead_letter_and_the_others_arrive(
    source: Source, state: State, worker: Worker, equal: Equal
) -> None:
    worker.start()
    source.insert_many(listings(300))
    equal()
    poison = source.insert_one({"title": "poison", "price": {"not": "a number"}}).inserted_id
    source.insert_many(listings(300, seed=2, first=300))
    equal(ignoring=frozenset({str(poison)}))
    (letter,) = state.wait_for_letters(1, 10.0)
    assert letter["key"] == poison
    assert "Typesense" in letter["reason"]
    source.update_one({"_id": poison}, {"$set": {"price": 12.5}})
    equal()
    state.wait_for_letters(0, 10.0)


@started_by_a_user
def test_a_second_signal_stops_at_once(stack: EmbeddedStack, source: Source, worker: Worker, equal: Equal) -> None:
    worker.environment |= {"TYPESENSE_CONNECTION_TIMEOUT": "20s", "LEASE_TTL": "60s"}
    source.insert_many(listings(50))
    worker.start()
    equal()
    worker.wait_until_capturing()
    stack.typesense.freeze()
    source.update_many({}, {"$set": {"rooms": 300}})
    wait_for(lambda: worker.total("tsync_changes_captured_total") >= 50, 20.0, "the changes are not captured")
    worker.signal(signal.SIGTERM)
    wait_for(lambda: "Signal received" in worker.log(), 10.0, "the first signal has no effect")
    worker.signal(signal.SIGTERM)
    assert worker.wait(5.0) == 128 + signal.SIGTERM
    stack.typesense.thaw()
    worker.start()
    equal(timeout_s=60)


def test_orphans_in_typesense_are_removed_only_as_far_as_the_guard_allows(
    source: Source, state: State, worker: Worker, equal: Equal
) -> None:
    worker.start()
    source.insert_many(listings(100))
    equal()
    assert worker.stop() == 0
    state.forget()
    source.delete_many({"number": {"$lt": 10}})
    worker.start()
    equal()
    assert worker.stop() == 0
    state.forget()
    source.delete_many({"number": {"$lt": 60}})
    worker.start()
    wait_for(lambda: "--allow-mass-delete" in str(worker.health()["problems"]), 20.0, "the guard does not hold")
    answer = worker.run_command("reconcile", "--allow-mass-delete")
    assert answer.returncode == 0, answer.stderr
    equal()


def test_a_pending_deletion_question_survives_restarts_and_a_growing_collection(
    source: Source, state: State, worker: Worker, equal: Equal
) -> None:
    worker.start()
    source.insert_many(listings(100))
    equal()
    assert worker.stop() == 0
    gone = list(source.find({"number": {"$lt": 60}}))
    source.delete_many({"number": {"$lt": 60}})
    state.forget()

    def asks() -> bool:
        return "--allow-mass-delete" in str(worker.health()["problems"])

    worker.start()
    wait_for(asks, 20.0, "the guard does not hold")
    source.insert_many(listings(900, seed=3, first=100))  # 60 of 1,000 documents would be within the share
    written = "tsync_documents_written_total"
    wait_for(lambda: worker.metrics()[written] >= 900, 30.0, "the new documents do not arrive")
    assert worker.stop() == 0
    worker.start()
    wait_for(asks, 20.0, lambda: f"it no longer asks: {worker.log()[-1500:]}")
    assert "100 when this was first asked" in str(worker.health()["problems"])
    assert worker.metrics()["tsync_documents_deleted_total"] == 0
    # Most of them are back in the source, so the question is void.
    source.insert_many(gone[:50])
    assert worker.stop() == 0
    worker.start()
    equal()
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: str(worker.health()))
    assert "the question whether to delete is void" in worker.log()


def backlog(worker: Worker) -> float:
    """The entries that wait in the queue, as the worker counts them."""
    return sum(value for name, value in worker.metrics().items() if "backlog_entries" in name)


def wait_for_acks(worker: Worker, count: int) -> None:
    """Wait until this process has synced and acked `count` entries."""
    wait_for(lambda: worker.total("tsync_entries_acked_total") >= count, 30.0, "nothing is synced")
