"""A collection that is recreated, switched by an alias or restored from a backup is noticed and filled again."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.comparison import actual_documents
from tests.support.listings import listings
from tests.support.stack import Names, typesense_client
from tests.support.waiting import holds_for, wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.markers import MARKERS
from tsync_stream.sink.schema import default_schema


@pytest.fixture
def typesense(stack: EmbeddedStack) -> Iterator[httpx.Client]:
    with typesense_client(stack) as client:
        yield client


def wait_until_marked(state: State, source: Source) -> None:
    """Wait until a marker in Typesense says that everything up to now is synced."""
    now = source.database.client.admin.command("ping")["$clusterTime"]["clusterTime"]
    wait_for(lambda: state.marked() >= now, 40.0, "the marker is not updated")


def test_restarting_typesense_does_not_cause_a_reconcile(
    stack: EmbeddedStack,
    names: Names,
    state: State,
    source: Source,
    worker: Worker,
    equal: Equal,
    typesense: httpx.Client,
) -> None:
    source.insert_many(listings(50))
    worker.start()
    state.wait_until_reconciled()
    before = typesense.get(f"/collections/{names.typesense_collection}").json()["created_at"]
    stack.typesense.kill()
    source.update_many({}, {"$inc": {"rooms": 1}})
    wait_for(lambda: time.time() >= before + 1, 5.0, "the clock stands still")  # it counts in seconds
    stack.typesense.start()
    equal(timeout_s=60)
    after = typesense.get(f"/collections/{names.typesense_collection}").json()["created_at"]
    assert after > before, "replaying the log gives the collection a new creation time"
    # The fingerprint is compared every 5 s.
    holds_for(lambda: state.epoch() == 1, 12.0, lambda: f"it is taken for another collection: {worker.log()[-3000:]}")
    assert worker.health()["status"] == "green"


def test_a_recreated_collection_is_filled_again(
    names: Names, state: State, source: Source, worker: Worker, equal: Equal, typesense: httpx.Client
) -> None:
    source.insert_many(listings(50))
    worker.start()
    state.wait_until_reconciled()
    equal()
    collection = typesense.delete(f"/collections/{names.typesense_collection}").raise_for_status().json()["name"]
    typesense.post("/collections", json=default_schema(collection)).raise_for_status()
    state.wait_until_reconciled(epoch=2)
    equal()
    assert "the Typesense collection is not the one we filled" in worker.log()


def test_an_alias_is_switched_between_two_collections_of_the_same_second(
    names: Names, state: State, source: Source, worker: Worker, equal: Equal, typesense: httpx.Client
) -> None:
    one, other = f"{names.typesense_collection}_1", f"{names.typesense_collection}_2"
    while True:
        made = [typesense.post("/collections", json=default_schema(name)).json()["created_at"] for name in (one, other)]
        if made[0] == made[1]:
            break
        for name in (one, other):
            typesense.delete(f"/collections/{name}").raise_for_status()
    alias = f"/aliases/{names.typesense_collection}"
    typesense.put(alias, json={"collection_name": one}).raise_for_status()
    source.insert_many(listings(50))
    worker.start()
    state.wait_until_reconciled()
    equal()
    typesense.put(alias, json={"collection_name": other}).raise_for_status()
    state.wait_until_reconciled(epoch=2)
    equal()
    # And back to the first one, which has missed every change since.
    source.delete_many({"number": {"$lt": 10}})
    source.update_many({}, {"$inc": {"rooms": 1}})
    equal()
    typesense.put(alias, json={"collection_name": one}).raise_for_status()
    state.wait_until_reconciled(epoch=3)
    equal()


@pytest.mark.parametrize("running", [True, False], ids=["the worker runs", "the worker was stopped"])
def test_typesense_is_restored_from_an_older_backup(
    stack: EmbeddedStack,
    names: Names,
    state: State,
    source: Source,
    worker: Worker,
    equal: Equal,
    typesense: httpx.Client,
    tmp_path: Path,
    running: bool,
) -> None:
    source.insert_many(listings(400))
    worker.start()
    state.wait_until_reconciled()
    equal()
    stack.typesense.stop()
    shutil.copytree(stack.typesense.directory, tmp_path / "older")
    stack.typesense.start()
    source.insert_many(listings(100, seed=2, first=400))
    source.delete_many({"number": {"$lt": 50}})
    source.update_many({"number": {"$gte": 150}}, {"$inc": {"rooms": 100}})
    equal(timeout_s=60)
    wait_until_marked(state, source)
    if not running:
        assert worker.stop() == 0
    stack.typesense.kill()
    shutil.rmtree(stack.typesense.directory)
    shutil.copytree(tmp_path / "older", stack.typesense.directory)
    stack.typesense.start()
    if not running:
        older = "Typesense does not show the older state"
        wait_for(lambda: len(actual_documents(stack, names)) == 400, 30.0, older)
        worker.start()
    state.wait_until_reconciled(epoch=2)
    equal(timeout_s=60)
    assert "Typesense shows an older state than it did" in worker.log()
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: str(worker.health()))
    assert typesense.get(f"/collections/{MARKERS}").status_code == 200
