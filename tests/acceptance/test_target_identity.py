"""Typesense is not what it was: made anew, switched by an alias, restored from an older state; or only restarted."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Source
from tests.support.comparison import actual_documents, wait_for
from tests.support.listings import listings
from tests.support.stack import Names, is_reconciled, typesense_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.sink.markers import MARKERS
from tsync_stream.sink.schema import default_schema

Equal = Callable[..., None]


@pytest.fixture
def typesense(stack: EmbeddedStack) -> Iterator[httpx.Client]:
    with typesense_client(stack) as client:
        yield client


def pipeline(names: Names, source: Source) -> dict[str, Any]:
    """The epoch document."""
    return dict(source.database.client[names.state_database].pipeline.find_one({"_id": "pipeline"}) or {})


def wait_for_reconcile(names: Names, source: Source, worker: Worker, epoch: int = 1) -> None:
    """Wait until an epoch is reached, and no reconcile is open in it."""

    def done() -> bool:
        stored = pipeline(names, source)
        return is_reconciled(stored) and bool(stored["epoch"] >= epoch)

    wait_for(done, 40.0, lambda: f"epoch {epoch} is not reconciled: {worker.health()}\n{worker.log()[-3000:]}")


def wait_until_marked(names: Names, source: Source) -> None:
    """Wait until Typesense was told that all is synced up to now."""
    now = source.database.client.admin.command("ping")["$clusterTime"]["clusterTime"]
    wait_for(lambda: pipeline(names, source)["marked"] >= now, 40.0, "nothing is marked")


def test_a_restart_of_typesense_is_no_reason_for_a_reconcile(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal, typesense: httpx.Client
) -> None:
    source.insert_many(listings(50))
    worker.start()
    wait_for_reconcile(names, source, worker)
    before = typesense.get(f"/collections/{names.typesense_collection}").json()["created_at"]
    stack.typesense.kill()
    source.update_many({}, {"$inc": {"rooms": 1}})
    stack.typesense.start()
    equal(timeout_s=60)
    after = typesense.get(f"/collections/{names.typesense_collection}").json()["created_at"]
    assert after > before, "it is stamped anew when the log is replayed"
    looked_s = time.monotonic()
    wait_for(lambda: time.monotonic() - looked_s > 12, 30.0, "")  # two looks at the fingerprint
    assert pipeline(names, source)["epoch"] == 1
    assert worker.health()["status"] == "green"


def test_a_collection_made_anew_is_filled_again(
    names: Names, source: Source, worker: Worker, equal: Equal, typesense: httpx.Client
) -> None:
    name = names.typesense_collection
    source.insert_many(listings(50))
    worker.start()
    wait_for_reconcile(names, source, worker)
    equal()
    typesense.delete(f"/collections/{name}").raise_for_status()
    typesense.post("/collections", json=default_schema(name)).raise_for_status()
    wait_for_reconcile(names, source, worker, epoch=2)
    equal()
    assert "the Typesense collection is not the one we filled" in worker.log()


def test_an_alias_is_switched_between_two_collections_of_the_same_second(
    stack: EmbeddedStack, names: Names, source: Source, worker: Worker, equal: Equal, typesense: httpx.Client
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
    wait_for_reconcile(names, source, worker)
    equal()
    typesense.put(alias, json={"collection_name": other}).raise_for_status()
    wait_for_reconcile(names, source, worker, epoch=2)
    equal()
    # And back, to one that was filled once and missed what came since.
    source.delete_many({"number": {"$lt": 10}})
    source.update_many({}, {"$inc": {"rooms": 1}})
    equal()
    typesense.put(alias, json={"collection_name": one}).raise_for_status()
    wait_for_reconcile(names, source, worker, epoch=3)
    equal()


@pytest.mark.parametrize("running", [True, False], ids=["the worker runs", "the worker was stopped"])
def test_typesense_is_restored_from_an_older_state_of_its_own(
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    worker: Worker,
    equal: Equal,
    typesense: httpx.Client,
    tmp_path: Path,
    running: bool,
) -> None:
    source.insert_many(listings(400))
    worker.start()
    wait_for_reconcile(names, source, worker)
    equal()
    stack.typesense.stop()
    shutil.copytree(stack.typesense.directory, tmp_path / "older")
    stack.typesense.start()
    source.insert_many(listings(100, seed=2, first=400))
    source.delete_many({"number": {"$lt": 50}})
    source.update_many({"number": {"$gte": 150}}, {"$inc": {"rooms": 100}})
    equal(timeout_s=60)
    wait_until_marked(names, source)
    if not running:
        assert worker.stop() == 0
    stack.typesense.kill()
    shutil.rmtree(stack.typesense.directory)
    shutil.copytree(tmp_path / "older", stack.typesense.directory)
    stack.typesense.start()
    if not running:
        older = "it is not the older state, or the log is not replayed yet"
        wait_for(lambda: len(actual_documents(stack, names)) == 400, 30.0, older)
        worker.start()
    wait_for_reconcile(names, source, worker, epoch=2)
    equal(timeout_s=60)
    assert "Typesense shows an older state than it did" in worker.log()
    wait_for(lambda: worker.health()["status"] == "green", 20.0, lambda: str(worker.health()))
    assert typesense.get(f"/collections/{MARKERS}").status_code == 200
