"""Documents that show others are refreshed when those change: real servers, compared with MongoDB's own aggregation."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.database import Database

from tests.support.replica import running_replica
from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.waiting import eventually
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import load_settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Typesense client's own deprecated parts

SELLER = {"from": "sellers", "local": "seller_id", "as": "seller", "fields": ["name"]}
CATEGORIES = {"from": "categories", "local": "category_ids", "as": "categories", "fields": ["name"], "many": True}
REVIEWS = {
    "children": "reviews",
    "foreign": "listing_id",
    "as": "reviews",
    "summary": {"count": "review_count", "avg": {"stars": "rating"}},
}
FIELDS = ["title", "seller", "categories", "review_count", "rating"]


class Shop:
    """The collections of one test, and what Typesense should show of them, as MongoDB's own aggregation says."""

    def __init__(self, stack: EmbeddedStack, names: Names, database: Database[dict[str, Any]]) -> None:
        self._stack = stack
        self._names = names
        self.listings: Collection[dict[str, Any]] = database[names.collection]
        self.sellers = database["sellers"]
        self.categories = database["categories"]
        self.reviews = database["reviews"]

    def expected(self) -> dict[str, Any]:
        stages: Sequence[Mapping[str, Any]] = [
            {"$lookup": {"from": "sellers", "localField": "seller_id", "foreignField": "_id", "as": "sellers"}},
            {"$lookup": {"from": "categories", "localField": "category_ids", "foreignField": "_id", "as": "found"}},
            {"$lookup": {"from": "reviews", "localField": "_id", "foreignField": "listing_id", "as": "reviews"}},
        ]
        documents = {}
        for listing in self.listings.aggregate(stages):
            names = {category["_id"]: {"name": category["name"]} for category in listing["found"]}
            stars = [review["stars"] for review in listing["reviews"]]
            documents[str(listing["_id"])] = {
                "id": str(listing["_id"]),
                "title": listing["title"],
                **({"seller": {"name": listing["sellers"][0]["name"]}} if listing["sellers"] else {}),
                "categories": [names[key] for key in listing["category_ids"] if key in names],
                "review_count": len(stars),
                **({"rating": sum(stars) / len(stars)} if stars else {}),
            }
        return documents

    def shown(self) -> dict[str, Any]:
        with typesense_client(self._stack) as client:
            answer = client.get(f"/collections/{self._names.typesense_collection}/documents/export")
        if answer.status_code != 200:
            return {}
        return {document["id"]: document for document in map(json.loads, answer.text.splitlines())}

    async def until_equal(self, timeout_s: float = 30.0) -> None:
        async def equal() -> bool:
            return await asyncio.to_thread(self.shown) == await asyncio.to_thread(self.expected)

        await eventually(equal, timeout_s, "Typesense does not show what MongoDB has")


Start = Callable[..., Any]


@pytest.fixture
async def shop(stack: EmbeddedStack, names: Names) -> AsyncIterator[Shop]:
    """Twenty listings of four sellers in three categories, with reviews."""
    with mongo_client(stack) as client:
        database = client[names.database]
        database.create_collection("reviews", changeStreamPreAndPostImages={"enabled": True})
        found = Shop(stack, names, database)
        found.sellers.insert_many([{"_id": n, "name": f"seller {n}", "tax": n} for n in range(4)])
        found.categories.insert_many([{"_id": f"c{n}", "name": f"category {n}"} for n in range(3)])
        found.listings.insert_many(
            [
                {"_id": n, "title": f"t{n}", "seller_id": n % 4, "category_ids": ["c2", f"c{n % 2}"], "views": 0}
                for n in range(20)
            ]
        )
        found.reviews.insert_many([{"_id": n, "listing_id": n % 10, "stars": n % 5} for n in range(30)])
        for field in ("seller_id", "category_ids"):
            found.listings.create_index(field)
        found.reviews.create_index("listing_id")
        yield found


@pytest.fixture
def start(stack: EmbeddedStack, names: Names, tmp_path: Path) -> Start:
    """Starts a replica whose one route shows a listing with its seller, categories and reviews."""

    @asynccontextmanager
    async def started(**environment: str) -> AsyncIterator[Metrics]:
        route = {
            "source": f"{names.database}.{names.collection}",
            "target": names.typesense_collection,
            "lookups": [SELLER, CATEGORIES, REVIEWS],
            "fields": FIELDS,
            "schema": {
                "fields": [{"name": ".*", "type": "auto"}, {"name": "rating", "type": "float", "optional": True}],
                "enable_nested_fields": True,
            },
        }
        (tmp_path / "tsync.yaml").write_text(json.dumps({"routes": {names.collection: route}}))
        merged = {**stack.environment(), **names.environment(), "LEASE_TTL": "15s", **environment}
        async with running_replica(load_settings(tmp_path, merged)) as metrics:
            await eventually(lambda: metrics.registry.get_sample_value("tsync_capturing") == 1, 30.0)
            yield metrics

    return started


async def test_changes_of_parents_reach_every_document_that_shows_them(start: Start, shop: Shop) -> None:
    async with start():
        await shop.until_equal()
        await asyncio.to_thread(shop.sellers.update_one, {"_id": 1}, {"$set": {"name": "renamed"}})
        await shop.until_equal()
        await asyncio.to_thread(shop.sellers.delete_one, {"_id": 2})
        await shop.until_equal()
        await asyncio.to_thread(shop.sellers.insert_one, {"_id": 2, "name": "back again"})
        await asyncio.to_thread(shop.categories.replace_one, {"_id": "c2"}, {"name": "replaced"})
        await shop.until_equal()


async def test_a_listing_that_moves_while_its_sellers_change_ends_equal(start: Start, shop: Shop) -> None:
    async with start():
        await shop.until_equal()
        for number in range(100):
            await asyncio.to_thread(
                shop.listings.update_one, {"_id": number % 5}, {"$set": {"seller_id": (number + 1) % 4}}
            )
            await asyncio.to_thread(shop.sellers.update_one, {"_id": number % 4}, {"$set": {"name": f"n{number}"}})
        await shop.until_equal()


async def test_children_that_are_added_moved_and_deleted_change_what_their_owners_show(
    start: Start, shop: Shop
) -> None:
    async with start():
        await shop.until_equal()
        await asyncio.to_thread(shop.reviews.insert_one, {"_id": 100, "listing_id": 15, "stars": 5})
        await shop.until_equal()
        await asyncio.to_thread(shop.reviews.update_one, {"_id": 100}, {"$set": {"listing_id": 16}})
        await shop.until_equal()
        await asyncio.to_thread(shop.reviews.replace_one, {"_id": 100}, {"listing_id": 17, "stars": 1})
        await asyncio.to_thread(shop.reviews.update_one, {"_id": 3}, {"$inc": {"stars": 1}})
        await shop.until_equal()
        await asyncio.to_thread(shop.reviews.delete_many, {"_id": {"$in": [100, 1, 2]}})
        await shop.until_equal()


async def test_a_wide_change_is_a_refresh_and_ends_equal(start: Start, shop: Shop) -> None:
    more = [{"_id": n, "title": "x", "seller_id": 0, "category_ids": ["c0", "c1"]} for n in range(100, 3_000)]
    await asyncio.to_thread(shop.listings.insert_many, more)
    async with start(FAN_OUT_INLINE="50") as metrics:
        await shop.until_equal(60.0)
        await asyncio.to_thread(shop.categories.update_one, {"_id": "c0"}, {"$set": {"name": "wide"}})
        await shop.until_equal(60.0)
        name = "tsync_entries_appended_total"
        labels = {"route": shop.listings.name, "reason": "refresh"}
        assert metrics.registry.get_sample_value(name, labels) == 2_910


async def test_an_update_of_fields_that_nothing_shows_has_no_entry(start: Start, shop: Shop) -> None:
    async with start() as metrics:
        await shop.until_equal()
        before = metrics.total("entries_appended"), metrics.total("documents_written")
        await asyncio.to_thread(shop.listings.update_many, {}, {"$inc": {"views": 1}})
        await asyncio.to_thread(shop.sellers.update_many, {}, {"$inc": {"tax": 1}})
        await eventually(lambda: metrics.total("changes_irrelevant") == 20)
        await asyncio.to_thread(shop.listings.update_one, {"_id": 1}, {"$set": {"title": "seen"}})
        await shop.until_equal()
        after = metrics.total("entries_appended"), metrics.total("documents_written")
        assert after == (before[0] + 1, before[1] + 1)
