"""A shop's catalogue: listings with sellers, categories and reviews, and pages; the load that writes all of them.

Every write has a version from one counter. A write whose outcome is unknown cannot reverse history: it only replaces
lower versions. `routes_file` declares three routes of different shapes over it, and `expected` says what each should
show, computed from MongoDB's own answers and the documented mapping, without the product's projector.
"""

import itertools
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from tests.support.stack import Names
from tests.support.waiting import wait_for

RATE = 300.0
SELLERS, CATEGORIES, WIDE = 60, 12, "wide"
CHEAP = 1000.0
_TIMEOUT_MS = 5_000
_CATCH_UP_S = 0.1
_PAUSE_AFTER_FAILURE_S = 0.1
# The route of pages shows the text without its tags.
TRANSFORM = "tests.support.catalogue:plain_page"


def plain_page(document: dict[str, Any]) -> dict[str, Any] | None:
    """The transform of the route of pages: hidden pages are not shown."""
    if document.get("hidden"):
        return None
    return {**document, "words": len(document["html"].split()), "html": document["html"].replace("<b>", "")}


def targets(names: Names) -> dict[str, str]:
    """The Typesense collection of each route."""
    return {route: f"{names.token}_{route}" for route in ("listings", "cheap", "pages")}


def routes_file(names: Names, directory: Path) -> Path:
    """Write the file that declares the three routes."""
    target, database = targets(names), names.database
    path = directory / "tsync.yaml"
    path.write_text(
        f"""
routes:
  listings:
    source: {database}.listings
    target: {target["listings"]}
    lookups:
      - {{from: sellers, local: seller_id, as: seller, fields: [name, version]}}
      - {{from: categories, local: category_ids, as: categories, fields: [name, version], many: true}}
      - {{children: reviews, foreign: listing_id, as: reviews, fields: [stars],
          summary: {{count: review_count, avg: {{stars: rating}}}}}}
    fields: [title, price, version, seller_id, seller, categories, review_count, rating]
  cheap:
    source: {database}.listings
    target: {target["cheap"]}
    filter: {{price: {{$lt: {CHEAP}}}}}
    fields: [title, price, version]
    rename: {{title: headline}}
  pages:
    source: {database}.pages
    target: {target["pages"]}
    transform: {TRANSFORM}
""",
        encoding="utf-8",
    )
    return path


def prepare(database: Database[dict[str, Any]]) -> None:
    """Create the collections, with the indexes and pre-images that lookups need."""
    for name in ("listings", "sellers", "categories", "pages"):
        database.create_collection(name)
    database.create_collection("reviews", changeStreamPreAndPostImages={"enabled": True})
    database.listings.create_index("seller_id")
    database.listings.create_index("category_ids")
    database.reviews.create_index("listing_id")


def expected(database: Database[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each route should show, by Typesense id."""
    return {
        "listings": {str(found["_id"]): _joined(found) for found in database.listings.aggregate(_LOOKUPS)},
        "cheap": {
            str(found["_id"]): {"id": str(found["_id"]), "headline": found["title"], **_of(found, "price", "version")}
            for found in database.listings.aggregate([{"$match": {"price": {"$lt": CHEAP}}}])
        },
        "pages": {
            str(found["_id"]): {
                "id": str(found["_id"]),
                **_of(found, "hidden", "version"),
                "html": found["html"].replace("<b>", ""),
                "words": len(found["html"].split()),
            }
            for found in database.pages.find({"hidden": {"$ne": True}})
        },
    }


_LOOKUPS: list[Mapping[str, Any]] = [
    {"$lookup": {"from": "sellers", "localField": "seller_id", "foreignField": "_id", "as": "sellers"}},
    {"$lookup": {"from": "categories", "localField": "category_ids", "foreignField": "_id", "as": "found"}},
    {"$lookup": {"from": "reviews", "localField": "_id", "foreignField": "listing_id", "as": "reviews"}},
    {"$set": {"rating": {"$avg": "$reviews.stars"}}},
]


def _joined(found: Mapping[str, Any]) -> dict[str, Any]:
    categories = {each["_id"]: _of(each, "name", "version") for each in found["found"]}
    shown = {
        "id": str(found["_id"]),
        **_of(found, "title", "price", "version", "seller_id"),
        "categories": [categories[key] for key in found["category_ids"] if key in categories],
        "review_count": len(found["reviews"]),
    }
    if found["sellers"]:
        shown["seller"] = _of(found["sellers"][0], "name", "version")
    if found["rating"] is not None:
        shown["rating"] = found["rating"]
    return shown


def _of(found: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found}


class Catalogue:
    """Writes to all five collections from its own thread between `start` and `stop`."""

    def __init__(self, uri: str, database: str, seed: int, *, listings: int, rate: float = RATE) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            uri,
            serverSelectionTimeoutMS=_TIMEOUT_MS,
            socketTimeoutMS=_TIMEOUT_MS,
            connectTimeoutMS=_TIMEOUT_MS,
            w=1,
        )
        self._database = self._client[database]
        self._generator = random.Random(seed)
        self._interval_s = 1 / rate
        self._listings = listings
        self._versions = itertools.count(1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catalogue", daemon=True)
        self._error: BaseException | None = None
        self.operations = 0
        self.unknown = 0

    def fill(self) -> None:
        """Insert everything at once; not while the load runs. Every listing has the wide category."""
        database = self._database
        database.sellers.insert_many([self._parent(f"s{number}") for number in range(SELLERS)])
        categories = [WIDE, *(f"c{number}" for number in range(CATEGORIES))]
        database.categories.insert_many([self._parent(key) for key in categories])
        database.listings.insert_many([self._listing(number) for number in range(self._listings)])
        database.reviews.insert_many([self._review(number) for number in range(self._listings)])
        database.pages.insert_many([self._page(number) for number in range(200)])

    def start(self) -> None:
        """Start; returns after the first operation."""
        self._thread.start()
        self.wait_for_operations(1)

    def stop(self) -> None:
        """Stop; raises the error that ended the thread, if any."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.close()
        if self._error is not None:
            raise self._error

    @contextmanager
    def running(self) -> Iterator["Catalogue"]:
        """Runs as long as the block."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def wait_for_operations(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until `count` more operations were done."""
        goal = self.operations + count
        wait_for(
            lambda: self.operations >= goal or not self._thread.is_alive(),
            timeout_s,
            lambda: f"the load is stuck at {self.operations} operations",
        )

    def rename_category(self, key: str) -> int:
        """Rename a category from any thread; returns its new version."""
        version = next(self._versions)
        self._database.categories.update_one(
            {"_id": key}, {"$set": {"name": f"{key} as of {version}", "version": version}}, upsert=True
        )
        return version

    def _run(self) -> None:
        due_s = time.monotonic()
        try:
            while not self._stopping.is_set():
                due_s = max(due_s + self._interval_s, time.monotonic() - _CATCH_UP_S)
                time.sleep(max(0.0, due_s - time.monotonic()))
                try:
                    self._operate()
                except DuplicateKeyError:
                    pass  # it exists, because the outcome of an earlier write was unknown
                except PyMongoError:
                    self.unknown += 1
                    self._stopping.wait(_PAUSE_AFTER_FAILURE_S)
                self.operations += 1
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`
            self._error = error

    def _operate(self) -> None:
        operations = [
            *(self._change_listing, self._move_listing, self._change_parent, self._drop_parent),
            *(self._change_review, self._replace_listing, self._change_page),
        ]
        (operation,) = self._generator.choices(operations, weights=(40, 8, 12, 2, 22, 8, 8))
        operation()

    def _number(self) -> int:
        """A skewed choice: a few listings are hot."""
        return int(self._listings * self._generator.random() ** 3)

    def _parent(self, key: str) -> dict[str, Any]:
        version = next(self._versions)
        return {"_id": key, "name": f"{key} as of {version}", "version": version, "secret": "not shown"}

    def _listing(self, number: int) -> dict[str, Any]:
        generator, version = self._generator, next(self._versions)
        some = generator.sample(range(CATEGORIES), generator.randint(0, 3))
        return {
            "_id": number,
            "title": f"listing {number} as of {version}",
            "price": generator.randint(1, 4_000) + 0.5,
            "version": version,
            "views": 0,
            "seller_id": f"s{generator.randrange(SELLERS)}",
            "category_ids": [WIDE, *(f"c{category}" for category in some)],
        }

    def _review(self, number: int) -> dict[str, Any]:
        version = next(self._versions)
        return {"_id": number, "listing_id": self._number(), "stars": self._generator.randint(1, 5), "version": version}

    def _page(self, number: int) -> dict[str, Any]:
        version, hidden = next(self._versions), self._generator.random() < 0.2
        return {"_id": f"p{number}", "html": f"<b>page {number} of {version}", "hidden": hidden, "version": version}

    def _set(self, collection: str, key: Any, **values: Any) -> None:
        version = next(self._versions)
        older = {"_id": key, "version": {"$lt": version}}
        self._database[collection].update_one(older, {"$set": {**values, "version": version}})

    def _change_listing(self) -> None:
        if self._generator.random() < 0.3:  # of no route's business
            self._database.listings.update_one({"_id": self._number()}, {"$inc": {"views": 1}})
        else:
            self._set("listings", self._number(), price=self._generator.randint(1, 4_000) + 0.5)

    def _move_listing(self) -> None:
        self._set("listings", self._number(), seller_id=f"s{self._generator.randrange(SELLERS)}")

    def _replace_listing(self) -> None:
        number = self._number()
        if self._generator.random() < 0.5:
            self._database.listings.delete_one({"_id": number, "version": {"$lt": next(self._versions)}})
        else:
            self._replace("listings", self._listing(number))

    def _change_parent(self) -> None:
        generator = self._generator
        if generator.random() < 0.8:
            self._replace("sellers", self._parent(f"s{generator.randrange(SELLERS)}"))
        else:
            self._set("sellers", f"s{generator.randrange(SELLERS)}", secret=f"{generator.random()}")

    def _drop_parent(self) -> None:
        older = {"_id": f"s{self._generator.randrange(SELLERS)}", "version": {"$lt": next(self._versions)}}
        self._database.sellers.delete_one(older)

    def _change_review(self) -> None:
        number, dice = self._number(), self._generator.random()
        if dice < 0.4:
            self._replace("reviews", self._review(number))  # most move to another listing
        elif dice < 0.7:
            self._set("reviews", number, stars=self._generator.randint(1, 5))
        else:
            self._database.reviews.delete_one({"_id": number, "version": {"$lt": next(self._versions)}})

    def _change_page(self) -> None:
        self._replace("pages", self._page(self._generator.randrange(200)))

    def _replace(self, collection: str, document: Mapping[str, Any]) -> None:
        older = {"_id": document["_id"], "version": {"$lt": document["version"]}}
        with suppress(DuplicateKeyError):
            self._database[collection].replace_one(older, document, upsert=True)
