"""A worker with a routes file, as a user starts it: each route shows what its declaration says, and follows changes."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from pymongo.collection import Collection

from tests.acceptance.conftest import Source
from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

pytestmark = pytest.mark.reads("one database")

Shown = Callable[[str], dict[str, dict[str, Any]]]

FILE = """# yaml-language-server: $schema=docs/tsync.schema.json
routes:
  products:
    source: ${MONGODB_DATABASE}.products
    target: ${TOKEN}_products
    filter: {status: published}
    lookups:
      - {from: sellers, local: seller_id, as: seller, fields: [name]}
    pipeline:
      - {$set: {total: {$multiply: [$price, $amount]}}}
    exclude: [cost, seller_id]
    rename: {label: title}
    transform: shop_transform:product
    schema:
      fields: [{name: title, type: string}, {name: total, type: float}, {name: .*, type: auto}]
  sellers:
    source: ${MONGODB_DATABASE}.sellers
    target: ${TOKEN}_sellers
"""
MODULE = "def product(document):\n    return {**document, 'title': document['title'].strip()}\n"


def product(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "_id": number,
        "label": f"  number {number} ",
        "status": "published",
        "price": 2.5,
        "amount": number,
        "cost": 1,
        "seller_id": "ann",
        **fields,
    }


def shown_product(number: int, seller: str | None = "Ann", **fields: Any) -> dict[str, Any]:
    found = {"id": str(number), "title": f"number {number}", "status": "published", "price": 2.5, "amount": number}
    joined = {} if seller is None else {"seller": {"name": seller}}
    return {**found, "total": 2.5 * number, **joined, **fields}


@pytest.fixture
def worker_type() -> type[Worker]:
    """Started as a user starts it: the working directory is where modules of transforms are found."""
    return Worker


@pytest.fixture
def files(worker: Worker, names: Names) -> None:
    """The routes file and the module of its transform, in the worker's directory."""
    worker.environment["TOKEN"] = names.token
    (worker.directory / "tsync.yaml").write_text(FILE, encoding="utf-8")
    (worker.directory / "shop_transform.py").write_text(MODULE, encoding="utf-8")


@pytest.fixture
def shown(stack: EmbeddedStack, names: Names) -> Iterator[Shown]:
    """All documents of a route's Typesense collection, by id."""
    with typesense_client(stack) as client:

        def documents(route: str) -> dict[str, dict[str, Any]]:
            answer: httpx.Response = client.get(f"/collections/{names.token}_{route}/documents/export")
            found = [orjson.loads(line) for line in answer.text.splitlines()] if answer.is_success else []
            return {document["id"]: document for document in found}

        yield documents


def test_each_route_shows_what_it_declares(source: Source, worker: Worker, files: None, shown: Shown) -> None:
    products: Collection[dict[str, Any]] = source.database.products
    sellers: Collection[dict[str, Any]] = source.database.sellers
    sellers.insert_many([{"_id": "ann", "name": "Ann", "phone": "1"}, {"_id": "bob", "name": "Bob", "phone": "2"}])
    products.insert_many([product(1), product(2, status="draft"), product(3, seller_id="nobody")])
    worker.start()

    def equal(expected: dict[str, dict[str, Any]]) -> None:
        wait_for(lambda: shown("products") == expected, 30.0, lambda: f"{shown('products')} and not {expected}")

    equal({"1": shown_product(1), "3": shown_product(3, seller=None)})
    expected = {"ann": {"id": "ann", "name": "Ann", "phone": "1"}, "bob": {"id": "bob", "name": "Bob", "phone": "2"}}
    wait_for(lambda: shown("sellers") == expected, 30.0, lambda: str(shown("sellers")))

    products.update_one({"_id": 2}, {"$set": {"status": "published", "seller_id": "bob"}})
    products.update_one({"_id": 1}, {"$set": {"status": "sold"}})
    products.insert_one(product(4, colour="red"))
    equal({"2": shown_product(2, "Bob"), "3": shown_product(3, seller=None), "4": shown_product(4, colour="red")})
    products.delete_one({"_id": 3})
    sellers.delete_one({"_id": "bob"})
    sellers.update_one({"_id": "ann"}, {"$set": {"name": "Anna"}})
    wait_for(lambda: set(shown("sellers")) == {"ann"}, 30.0, lambda: str(shown("sellers")))
    equal({"2": shown_product(2, seller=None), "4": shown_product(4, "Anna", colour="red")})


def test_a_file_with_problems_is_refused_before_anything_is_touched(
    source: Source, worker: Worker, files: None, names: Names
) -> None:
    file = worker.directory / "tsync.yaml"
    file.write_text(FILE.replace("rename: {label", "rename: {lable: x, label").replace("filter:", "fliter:"))
    worker.launch()
    assert worker.wait(60.0) == 2
    said = worker.log()
    assert "tsync-stream cannot start: 1 problem\n" in said
    assert "tsync.yaml:6:5, route products: `fliter` is not a key that is known here; did you mean `filter`?" in said
    assert names.token not in said
    assert names.state_database not in source.database.client.list_database_names()
