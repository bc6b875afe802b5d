"""Imitated releases of Typesense: a worker keeps each of them equal to MongoDB.

`make test` runs a short form; `make releases` runs every test with every release.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.acceptance.conftest import Equal, Source
from tests.acceptance.state import State
from tests.support.background import repeated
from tests.support.listings import listings
from tests.support.release_server import ReleaseServer
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

WHOLE = ["0.24", "26.1", "27.1", "28", "29", "30", "cluster of three"]
SHORT = {"test_a_release_is_kept_equal": ["28", "cluster of three"], "test_a_release_is_equal_after_kill_9": ["30"]}
# Ids that some release reads as operators.
ODD_IDS = ["*", "a[b", "x]||id:*||id:[y,", "line\nfeed", "`*`"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All releases with `--all-releases`, otherwise a few."""
    if "release" in metafunc.fixturenames:
        all_of_them = metafunc.config.getoption("--all-releases")
        metafunc.parametrize("release", WHOLE if all_of_them else SHORT[metafunc.function.__name__])


@pytest.fixture
def serving(stack: EmbeddedStack, worker: Worker) -> Iterator[Callable[[str], ReleaseServer]]:
    """Imitate a release and point the worker at it."""
    begun: list[ReleaseServer] = []

    def begin(release: str) -> ReleaseServer:
        server = ReleaseServer(stack.typesense.port, stack.typesense.api_key, release)
        begun.append(server.__enter__())
        worker.environment |= server.environment() | {"MAX_BUFFER_SIZE": "100", "BATCH_SIZE": "50"}
        return server

    yield begin
    worker.kill()
    for server in begun:
        server.__exit__(None, None, None)


def changing(source: Source) -> AbstractContextManager[None]:
    """Insert, change and delete documents as long as the block runs."""

    def step(number: int) -> None:
        key = f"live {number % 31}"
        time.sleep(0.03)  # the pace of the load
        if number % 3 == 0:
            source.delete_one({"_id": key})
        else:
            source.update_one({"_id": key}, {"$set": {"amount": number % 2}}, upsert=True)

    return repeated(step)


def put_foreign(stack: EmbeddedStack, names: Names, count: int) -> list[str]:
    """Put documents into Typesense that MongoDB never had; returns their ids."""
    ids = [f"foreign {number}" for number in range(count)]
    with typesense_client(stack) as client:
        body = b"\n".join(orjson.dumps({"id": document_id}) for document_id in ids)
        path = f"/collections/{names.typesense_collection}/documents/import"
        assert client.post(path, content=body).text.count('"success":true') == count
    return ids


def filled(source: Source, worker: Worker, equal: Equal) -> list[Any]:
    """Let the worker sync some documents; returns their keys."""
    keys: list[Any] = source.insert_many(listings(150)).inserted_ids
    worker.start()
    wait_for(lambda: "reconcile: done" in worker.log(), 60.0, "the first start is not done")
    equal()
    return keys


@pytest.mark.timeout(400)
def test_a_release_is_kept_equal(
    release: str,
    stack: EmbeddedStack,
    names: Names,
    source: Source,
    state: State,
    worker: Worker,
    equal: Equal,
    serving: Callable[[str], ReleaseServer],
) -> None:
    server = serving(release)
    keys = filled(source, worker, equal)
    source.insert_many([{"_id": key, "turn": 1} for key in ODD_IDS])
    source.update_many({"_id": {"$in": keys[:20]}}, {"$set": {"address.city": "Porto"}, "$unset": {"rooms": ""}})
    equal()
    source.delete_many({"_id": {"$in": [*ODD_IDS, *keys[20:40]]}})
    equal()

    foreign = put_foreign(stack, names, 20)  # below the share at which a reconcile asks
    server.slow_exports(0.05)
    with changing(source):
        server.delete_during_next_export(*foreign[:3])
        assert worker.run_command("reconcile", "--wait", timeout_s=60.0).returncode == 0
        server.delete_during_next_export(*put_foreign(stack, names, 3))
        with typesense_client(stack) as client:
            client.delete(f"/collections/{names.typesense_collection}/documents/{keys[50]}").raise_for_status()
        found = worker.run_command("verify", "--repair", "--wait", timeout_s=120.0)
        assert found.returncode == 0, found.stdout + found.stderr
        assert "lacks 1, shows 0 differently, and has 0 that MongoDB does not have" in found.stdout
    equal()
    assert state.epoch() == 1
    assert server.octet_stream_imports == 0
    assert state.open_letters() == []


@pytest.mark.timeout(400)
def test_a_release_is_equal_after_kill_9(
    release: str,
    stack: EmbeddedStack,
    source: Source,
    state: State,
    worker: Worker,
    equal: Equal,
    serving: Callable[[str], ReleaseServer],
) -> None:
    worker.environment |= {"TYPESENSE_CONNECTION_TIMEOUT": "1s", "LEASE_TTL": "3s"}
    serving(release)
    filled(source, worker, equal)
    with changing(source):
        stack.typesense.kill()
        source.insert_many(listings(300, seed=2, first=150))
        worker.kill()
        stack.typesense.start()
        worker.start()
        source.delete_many({"number": {"$gte": 350}})
        worker.kill()
        worker.start()
    equal(timeout_s=90)
    found = worker.run_command("verify", "--wait", timeout_s=120.0)
    assert found.returncode == 0, found.stdout + found.stderr
    assert state.open_letters() == []


def test_a_cluster_whose_nodes_differ_is_not_reconciled_again(
    source: Source, state: State, worker: Worker, equal: Equal, serving: Callable[[str], ReleaseServer]
) -> None:
    server = serving("cluster of three")
    filled(source, worker, equal)

    def looks() -> int:
        return sum(method == "GET" for _, method, _ in server.administrative)

    def wait_for_looks(count: int) -> None:
        wait_for(lambda: looks() >= count, 60.0, "the worker does not look at the collection")

    for node in range(3):
        server.replay(node)
        wait_for_looks(looks() + 4)
    assert state.epoch() == 1
    assert len({node for node, _, _ in server.administrative}) == 1, "requests about collections go to one node"
    source.insert_many(listings(20, seed=3, first=900))
    equal()


def test_a_schema_change_in_progress_is_waited_out(
    source: Source, state: State, names: Names, worker: Worker, equal: Equal, serving: Callable[[str], ReleaseServer]
) -> None:
    worker.environment |= {"TYPESENSE_CONNECTION_TIMEOUT": "1s", "LEASE_TTL": "3s"}
    server = serving("28")
    filled(source, worker, equal)
    server.alter_lasts_s = 4.0
    change = {"fields": [{"name": "added", "type": "string", "optional": True}]}
    url = f"http://127.0.0.1:{server.port}/collections/{names.typesense_collection}"
    headers = {"X-TYPESENSE-API-KEY": worker.environment["TYPESENSE_API_KEY"]}
    with changing(source):
        httpx.patch(url, json=change, headers=headers, timeout=30.0).raise_for_status()
    equal(timeout_s=60)
    assert state.open_letters() == []
    assert state.epoch() == 1


ORDERS_AND_PRODUCTS = """
routes:
  orders:
    source: {database}.orders
    target: {token}_orders
    schema:
      fields:
        - name: product_id
          type: string
          reference: {token}_products.id
          async_reference: true
          cascade_delete: false
  products:
    source: {database}.products
    target: {token}_products
"""


@pytest.mark.reads("one database")
def test_a_collection_is_created_after_those_that_it_refers_to(
    names: Names,
    source: Source,
    state: State,
    worker: Worker,
    tmp_path: Path,
    serving: Callable[[str], ReleaseServer],
) -> None:
    """Otherwise this release would refuse every order, forever. A schema that has to be found makes products late."""
    database = source.database
    database.products.insert_many({"_id": f"p{number}", "title": "a chair"} for number in range(10))
    database.orders.insert_many({"_id": f"o{number}", "product_id": f"p{number}"} for number in range(10))
    file = tmp_path / "tsync.yaml"
    file.write_text(ORDERS_AND_PRODUCTS.format(database=names.database, token=names.token))
    worker.environment["ROUTES_FILE"] = str(file)
    server = serving("30")
    worker.start()
    url = f"http://127.0.0.1:{server.port}/collections/{names.token}_orders"
    headers = {"X-TYPESENSE-API-KEY": worker.environment["TYPESENSE_API_KEY"]}

    def orders() -> int:
        answer = httpx.get(url, headers=headers)
        return int(answer.json()["num_documents"]) if answer.is_success else 0

    wait_for(lambda: orders() + len(state.open_letters()) == 10, 40.0, lambda: f"{orders()} orders are shown")
    assert state.open_letters() == []
    told = worker.run_command("plan", timeout_s=60.0)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "refer to" not in told.stdout, "nothing is about to be reindexed"
    told = worker.run_command("reindex", "products", "--yes", "--no-follow", timeout_s=60.0)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"refer to {names.token}_products: {names.token}_orders_1 (product_id)." in " ".join(told.stderr.split())
