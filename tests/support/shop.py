"""A shop whose listings show their seller, their categories and a summary of their reviews, and what that comes to.

Invariant: what Typesense should show is computed by MongoDB's own aggregation, and by nothing of the product.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from tests.support.stack import Names, typesense_client
from tests.support.waiting import eventually, wait_for
from tsync_stream.embedded import EmbeddedStack

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
        self.reviews = database.create_collection("reviews", changeStreamPreAndPostImages={"enabled": True})

    def expected(self) -> dict[str, Any]:
        """What Typesense should show, by id."""
        stages: Sequence[Mapping[str, Any]] = [
            {"$lookup": {"from": "sellers", "localField": "seller_id", "foreignField": "_id", "as": "sellers"}},
            {"$lookup": {"from": "categories", "localField": "category_ids", "foreignField": "_id", "as": "found"}},
            {"$lookup": {"from": "reviews", "localField": "_id", "foreignField": "listing_id", "as": "reviews"}},
        ]
        documents = {}
        for found in self.listings.aggregate(stages):
            names = {category["_id"]: {"name": category["name"]} for category in found["found"]}
            stars = [review["stars"] for review in found["reviews"]]
            documents[str(found["_id"])] = {
                "id": str(found["_id"]),
                "title": found["title"],
                **({"seller": {"name": found["sellers"][0]["name"]}} if found["sellers"] else {}),
                "categories": [names[key] for key in found["category_ids"] if key in names],
                "review_count": len(stars),
                **({"rating": sum(stars) / len(stars)} if stars else {}),
            }
        return documents

    def shown(self) -> dict[str, Any]:
        """What Typesense shows, by id."""
        with typesense_client(self._stack) as client:
            answer = client.get(f"/collections/{self._names.typesense_collection}/documents/export")
        if answer.status_code != 200:
            return {}
        return {document["id"]: document for document in map(json.loads, answer.text.splitlines())}

    def equal(self) -> bool:
        """Whether both are the same now."""
        return self.shown() == self.expected()

    def wait_until_equal(self, timeout_s: float = 30.0) -> None:
        """Wait until both are the same."""
        wait_for(self.equal, timeout_s, "Typesense does not show what MongoDB has")

    async def until_equal(self, timeout_s: float = 30.0) -> None:
        """The same, inside the event loop."""
        await eventually(lambda: asyncio.to_thread(self.equal), timeout_s, "Typesense does not show what MongoDB has")

    def fill(self) -> None:
        """Twenty listings of four sellers in three categories, with reviews, and the indexes that lookups need."""
        self.sellers.insert_many([{"_id": n, "name": f"seller {n}", "tax": n} for n in range(4)])
        self.categories.insert_many([{"_id": f"c{n}", "name": f"category {n}"} for n in range(3)])
        self.listings.insert_many([listing(n, n % 4, "c2", f"c{n % 2}") for n in range(20)])
        self.reviews.insert_many([{"_id": n, "listing_id": n % 10, "stars": n % 5} for n in range(30)])
        for field in ("seller_id", "category_ids"):
            self.listings.create_index(field)
        self.reviews.create_index("listing_id")

    def routes_file(self) -> str:
        """A routes file with the one route of the shop; JSON is YAML too."""
        route = {
            "source": f"{self._names.database}.{self._names.collection}",
            "target": self._names.typesense_collection,
            "lookups": [SELLER, CATEGORIES, REVIEWS],
            "fields": FIELDS,
            "schema": {
                "fields": [{"name": ".*", "type": "auto"}, {"name": "rating", "type": "float", "optional": True}],
                "enable_nested_fields": True,
            },
        }
        return json.dumps({"routes": {self._names.collection: route}})


def listing(key: int, seller: int, *categories: str) -> dict[str, Any]:
    """A listing of this seller in these categories."""
    return {"_id": key, "title": f"t{key}", "seller_id": seller, "category_ids": list(categories), "views": 0}
