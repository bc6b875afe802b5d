"""Replicas of one state database must agree on their settings: one that differs does no work until all have changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.comparison import actual_documents, wait_until_equal
from tests.support.forked import ForkedWorker
from tests.support.listings import listings
from tests.support.stack import Names, is_reconciled
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

# A change of settings waits for one LEASE_TTL.
TIMES = {"LEASE_TTL": "3s", "TYPESENSE_CONNECTION_TIMEOUT": "1s"}


@pytest.fixture
def worker(stack: EmbeddedStack, names: Names, source: Source, tmp_path: Path, worker: Worker) -> Worker:
    worker.environment |= TIMES
    return worker


def ends_with_2(other: Worker) -> str:
    """Start a worker that must exit with 2; returns what it printed last."""
    other.launch()
    assert other.wait(60.0) == 2, other.log()[-3000:]
    said = other.log()[other.log().rindex("cannot start") :]
    assert "Traceback" not in said
    return said


def test_a_second_deployment_with_the_same_state_database_does_nothing(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal, tmp_path: Path
) -> None:
    theirs = replace(names, collection=f"{names.token}_orders", typesense_collection=f"{names.token}_orders")
    source.database[theirs.collection].insert_many({"_id": f"order {number}"} for number in range(50))
    source.insert_many(listings(100))
    worker.start()
    equal()
    said = ends_with_2(ForkedWorker(stack, theirs, tmp_path, **TIMES))
    assert f"MONGODB_COLLECTION is {theirs.collection} here, and {names.collection} there" in said
    assert "STATE_DATABASE" in said
    source.update_many({}, {"$inc": {"rooms": 1}})
    equal()
    assert actual_documents(stack, theirs) == {}
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: str(worker.health()["problems"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATE_UNIT", "ms"),
        ("PARTITIONS", "4"),
        ("LEASE_TTL", "4s"),
        ("PRIMARY_REDIS_QUEUE_KEY", "t0_elsewhere"),
        ("TYPESENSE_HOST", "localhost"),
    ],
)
def test_a_canary_with_another_setting_takes_no_work(
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    worker: Worker,
    equal: Equal,
    tmp_path: Path,
    name: str,
    value: str,
) -> None:
    source.insert_many(listings(20))
    worker.start()
    equal()
    said = ends_with_2(ForkedWorker(stack, names, tmp_path, **{**TIMES, name: value}))
    assert (
        f"{name} is {value} here, and {worker.environment.get(name, '8' if name == 'PARTITIONS' else 's')} there"
        in said
    )
    source.update_many({}, {"$inc": {"rooms": 1}})
    equal()


def test_settings_of_a_single_process_may_differ(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal, tmp_path: Path
) -> None:
    source.insert_many(listings(20))
    worker.start()
    equal()
    with ForkedWorker(stack, names, tmp_path, **TIMES, BATCH_SIZE="7", SYNC_LANES="4", LOG_LEVEL="WARNING") as other:
        wait_for(lambda: other.metrics()["tsync_partitions_owned"] == 4, 20.0, "it gets no partitions")
        wait_for(lambda: other.health()["status"] == "green", 20.0, lambda: str(other.health()["problems"]))


@pytest.mark.parametrize(
    ("changed", "reconciled"),
    [({"DATE_UNIT": "ms"}, True), ({"PARTITIONS": "4"}, False), ({"PARTITIONS": "13"}, False)],
)
def test_a_deliberate_change_of_settings_takes_effect(
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    state: State,
    worker: Worker,
    tmp_path: Path,
    changed: dict[str, str],
    reconciled: bool,
) -> None:
    source.insert_many(listings(200))
    worker.start()
    wait_until_equal(stack, names)
    state.wait_until_reconciled()
    before = actual_documents(stack, names)
    assert worker.stop() == 0
    source.delete_many({"number": {"$lt": 10}})
    source.update_many({"number": {"$lt": 100}}, {"$inc": {"rooms": 100}})
    with ForkedWorker(stack, names, tmp_path, **TIMES, **changed) as changed_worker:
        # Until then it says what it waits for, and does nothing.
        wait_for(lambda: state.pipeline()["epoch"] == 2, 30.0, lambda: changed_worker.log()[-2000:])
        assert "the pipeline continues with other settings than before" in changed_worker.log()
        needs_one = not is_reconciled(state.pipeline()) or "reconcile: began" in changed_worker.log()
        assert needs_one == reconciled

        def right() -> bool:
            shown = actual_documents(stack, names)
            rooms = sum(document["rooms"] > 100 for document in shown.values())
            unit = all(
                document["listed"] == before[name]["listed"] * (1000 if "DATE_UNIT" in changed else 1)
                for name, document in shown.items()
            )
            return len(shown) == 190 and rooms == 90 and unit

        wait_for(right, 30.0, lambda: changed_worker.log()[-2000:])
        source.update_many({}, {"$set": {"rooms": 3}})
        wait_for(
            lambda: {it["rooms"] for it in actual_documents(stack, names).values()} == {3},
            30.0,
            "later changes are lost",
        )
        wait_for(lambda: changed_worker.health()["status"] == "green", 20.0, lambda: str(changed_worker.health()))
        owned = int(changed.get("PARTITIONS", "8"))
        assert changed_worker.metrics()["tsync_partitions_owned"] == owned
        assert changed_worker.stop() == 0


def test_a_new_route_is_filled_and_the_old_collection_is_left_alone(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, tmp_path: Path
) -> None:
    theirs = replace(names, collection=f"{names.token}_orders", typesense_collection=f"{names.token}_orders")
    source.insert_many(listings(50))
    worker.start()
    wait_until_equal(stack, names)
    # Leave a backlog of the old route in the queue.
    stack.typesense.freeze()
    source.update_many({}, {"$inc": {"rooms": 1}})
    wait_for(lambda: worker.total("tsync_changes_captured_total") >= 50, 20.0, "the changes are not captured")
    worker.kill()
    stack.typesense.thaw()
    shown = actual_documents(stack, names)
    source.database[theirs.collection].insert_many(listings(30, seed=5))
    with ForkedWorker(stack, theirs, tmp_path, **TIMES) as other:
        wait_until_equal(stack, theirs, timeout_s=40)
        wait_for(lambda: other.health()["status"] == "green", 30.0, lambda: str(other.health()))
    after = actual_documents(stack, names)
    assert after.keys() == shown.keys()
