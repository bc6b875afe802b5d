"""What lookups cost: a catalogue of products with sellers, categories and reviews, kept equal by one joined route.

    python -m bench.catalogue [--products 200000] [--replicas 1]

The first load, renames of a seller (20 products each), a backlog of changed products, the rename of a category (a
quarter of all products) while single products change, and a burst of reviews. After each, all of Typesense is compared
with what MongoDB's own aggregation says. The exit code is 1 if something differs.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from pymongo.database import Database

from bench.measuring import wait_until
from bench.surroundings import Surroundings, fresh
from tests.support.memory import PeakMemory
from tests.support.stack import mongo_client, typesense_client
from tests.support.worker import Worker

OF_ONE_SELLER = 20
CATEGORIES = 4
SELLER_RENAMES = 40
OTHER_CHANGES_PER_S = 20.0
_LONGEST_S = 1_800.0
_LOOK_S = 0.05
# Looks at single changes cost processor time that what is measured needs too: no finer than it takes to judge them.
_LOOK_AT_OTHERS_S = 0.01
_PAGE = 5_000
_MEGABYTE = 1 << 20


@dataclass(slots=True)
class Figures:
    """What was measured: lines for people, and whether every comparison found both sides equal."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    equal: bool = True

    def add(self, what: str, figure: str) -> None:
        """Note and print a figure."""
        self.lines.append((what, figure))
        print(f"{what}: {figure}", flush=True)


class Shop:
    """The catalogue on fresh servers, and the route that shows it."""

    def __init__(self, surroundings: Surroundings, database: Database[dict[str, Any]], typesense: httpx.Client) -> None:
        self.surroundings = surroundings
        self.database = database
        self.target = f"{surroundings.names.token}_products"
        self._documents = f"/collections/{self.target}/documents"
        self._typesense = typesense

    def fill(self, products: int) -> None:
        """Insert everything: sellers of 20 products each, four categories, and a review of every other product."""
        database = self.database
        database.create_collection("reviews", changeStreamPreAndPostImages={"enabled": True})
        database.products.create_index("seller_id")
        database.products.create_index("category_ids")
        database.reviews.create_index("product_id")
        database.sellers.insert_many([{"_id": number, "name": "first"} for number in range(products // OF_ONE_SELLER)])
        database.categories.insert_many([{"_id": number, "name": "first"} for number in range(CATEGORIES)])
        for first in range(0, products, _PAGE):
            some = range(first, min(first + _PAGE, products))
            database.products.insert_many([_product(number) for number in some])
            database.reviews.insert_many([_review(number) for number in some if number % 2])

    def write_routes_file(self) -> str:
        """The file with the joined route; returns its path."""
        path = self.surroundings.directory / "tsync.yaml"
        path.write_text(
            f"""
routes:
  products:
    source: {self.database.name}.products
    target: {self.target}
    lookups:
      - {{from: sellers, local: seller_id, as: seller, fields: [name]}}
      - {{from: categories, local: category_ids, as: categories, fields: [name], many: true}}
      - {{children: reviews, foreign: product_id, as: reviews, fields: [stars],
          summary: {{count: review_count, avg: {{stars: rating}}}}}}
    exclude: [internal]
""",
            encoding="utf-8",
        )
        return str(path)

    def found(self, filter_by: str) -> int:
        """How many products a search finds; 0 while the collection is missing."""
        try:
            answer = self._typesense.get(
                f"{self._documents}/search", params={"q": "*", "filter_by": filter_by, "per_page": 0}, timeout=30.0
            )
        except httpx.TransportError:
            return 0
        return int(answer.json().get("found", 0)) if answer.is_success else 0

    def wait_until_found(self, filter_by: str, count: int, interval_s: float = _LOOK_S) -> None:
        """Wait until a search finds this many."""
        wait_until(
            lambda: self.found(filter_by) == count, _LONGEST_S, f"{count} with {filter_by}", interval_s=interval_s
        )

    def price_of(self, number: int) -> float | None:
        """The price that Typesense shows for a product."""
        answer = self._typesense.get(f"{self._documents}/{number}", params={"include_fields": "price"}, timeout=30.0)
        return float(answer.json()["price"]) if answer.is_success else None

    def differing(self) -> int:
        """How many products differ between both sides; `expected` is MongoDB's own aggregation."""
        answer = self._typesense.get(f"{self._documents}/export", timeout=600.0).raise_for_status()
        shown = {each["id"]: each for each in map(orjson.loads, filter(None, answer.content.splitlines()))}
        wrong = 0
        for expected in self.database.products.aggregate(_JOINED, allowDiskUse=True):
            wrong += shown.pop(str(expected["_id"]), None) != _shown(expected)
        return wrong + len(shown)


_JOINED: Sequence[dict[str, Any]] = [
    {"$lookup": {"from": "sellers", "localField": "seller_id", "foreignField": "_id", "as": "sellers"}},
    {"$lookup": {"from": "categories", "localField": "category_ids", "foreignField": "_id", "as": "found"}},
    {"$lookup": {"from": "reviews", "localField": "_id", "foreignField": "product_id", "as": "reviews"}},
]


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    stars = [review["stars"] for review in found["reviews"]]
    shown = {name: found[name] for name in ("title", "price", "seller_id", "category_ids")}
    shown |= {"id": str(found["_id"]), "seller": {"name": found["sellers"][0]["name"]}, "review_count": len(stars)}
    shown["categories"] = [{"name": each["name"]} for each in found["found"]]
    return shown | ({"rating": statistics.fmean(stars)} if stars else {})


def _product(number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "title": f"product {number}",
        "price": number % 1_000 + 0.5,
        "seller_id": number // OF_ONE_SELLER,
        "category_ids": [number % CATEGORIES],
        "internal": 0,
    }


def _review(number: int) -> dict[str, Any]:
    return {"_id": number, "product_id": number, "stars": number % 5 + 1}


class OtherChanges:
    """Changes prices one by one while something else goes on, and times how long each takes until it is visible."""

    def __init__(self, shop: Shop, numbers: Sequence[int]) -> None:
        self._shop = shop
        self._numbers = numbers
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self.latencies_s: list[float] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """As long as the block. Raises at its end what went wrong."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for turn, number in enumerate(self._numbers):
                if self._stopping.wait(1 / OTHER_CHANGES_PER_S):
                    return
                price = 2_000.5 + turn
                self._shop.database.products.update_one({"_id": number}, {"$set": {"price": price}})
                began_s = time.monotonic()
                _wait(lambda number=number, price=price: self._shop.price_of(number) == price)  # type: ignore[misc]
                self.latencies_s.append(time.monotonic() - began_s)
        except BaseException as error:  # noqa: BLE001 - raised again by `going_on`
            self._error = error


def _wait(condition: Callable[[], bool]) -> None:
    wait_until(condition, _LONGEST_S, "a change is not visible", interval_s=_LOOK_AT_OTHERS_S)


def measure(products: int, replicas: int) -> Figures:
    """All of it, on fresh servers."""
    figures = Figures()
    with ExitStack() as resources:
        surroundings = resources.enter_context(fresh())
        client = resources.enter_context(mongo_client(surroundings.stack))
        typesense = resources.enter_context(typesense_client(surroundings.stack))
        shop = Shop(surroundings, client[surroundings.names.database], typesense)
        shop.fill(products)
        settings = {"ROUTES_FILE": shop.write_routes_file()}
        workers = [
            Worker(surroundings.stack, surroundings.names, surroundings.directory, **settings) for _ in range(replicas)
        ]
        for worker in workers:
            resources.callback(_end, worker)
        memory = resources.enter_context(PeakMemory(lambda: [each.pid for each in workers if each.running]).watched())
        _first_load(shop, workers, products, figures)
        _narrow(shop, products, figures)
        backlog_per_s = _backlog(shop, workers, products, figures)
        _wide(shop, products, backlog_per_s, figures)
        _reviews(shop, products, figures)
        figures.add("peak memory of a worker", f"{memory.peak_bytes / replicas / _MEGABYTE:.0f} MB")
    return figures


def _end(worker: Worker) -> None:
    if worker.running:
        worker.kill()


def _compare(shop: Shop, figures: Figures, after: str) -> None:
    wait_s = time.monotonic() + 60
    while (wrong := shop.differing()) and time.monotonic() < wait_s:
        time.sleep(1)
    figures.equal = figures.equal and not wrong
    figures.add(f"compared after {after}", f"{wrong} products differ" if wrong else "all equal")


def _first_load(shop: Shop, workers: Sequence[Worker], products: int, figures: Figures) -> None:
    for worker in workers:
        worker.launch()
    for worker in workers:
        worker.wait_until_started()
    began_s = time.monotonic()
    shop.wait_until_found("price:>0", products, 0.25)
    figures.add("first load", f"{products / (time.monotonic() - began_s):,.0f} products/s")
    _compare(shop, figures, "the first load")


def _narrow(shop: Shop, products: int, figures: Figures) -> None:
    latencies_s = []
    for turn in range(SELLER_RENAMES):
        seller, name = turn * 7 % (products // OF_ONE_SELLER), f"narrow{turn}"
        began_s = time.monotonic()
        shop.database.sellers.update_one({"_id": seller}, {"$set": {"name": name}})
        shop.wait_until_found(f"seller.name:={name}", OF_ONE_SELLER, 0.002)
        latencies_s.append(time.monotonic() - began_s)
    figures.add(
        f"rename of a seller of {OF_ONE_SELLER}, visible everywhere",
        f"{statistics.median(latencies_s) * 1_000:.0f} ms at the median, {max(latencies_s) * 1_000:.0f} ms at most",
    )
    _compare(shop, figures, "the renames of sellers")


def _backlog(shop: Shop, workers: Sequence[Worker], products: int, figures: Figures) -> float:
    """Changes of a quarter of all products wait while Typesense is frozen; returns how many a second are worked off."""
    count = products // CATEGORIES
    shop.surroundings.stack.typesense.freeze()
    shop.database.products.update_many({"_id": {"$lt": count}}, {"$set": {"price": 5_000.5}})
    wait_until(lambda: _backlog_of(workers) >= count, _LONGEST_S, "not all is queued", interval_s=0.5)
    shop.surroundings.stack.typesense.thaw()
    began_s = time.monotonic()
    shop.wait_until_found("price:=5000.5", count, 0.25)
    per_s = count / (time.monotonic() - began_s)
    figures.add(f"backlog of {count:,} products", f"{per_s:,.0f} products/s")
    return per_s


def _backlog_of(workers: Sequence[Worker]) -> float:
    """Unacked entries, as the capturing replica counts them once a second."""
    every = (worker.metrics() for worker in workers)
    return sum(
        value for one in every for name, value in one.items() if name.partition("{")[0] == "tsync_backlog_entries"
    )


def _wide(shop: Shop, products: int, backlog_per_s: float, figures: Figures) -> None:
    count = products // CATEGORIES
    others = OtherChanges(shop, [number for number in range(products) if number % CATEGORIES == 1])
    with others.going_on():
        began_s = time.monotonic()
        shop.database.categories.update_one({"_id": 0}, {"$set": {"name": "wide"}})
        shop.wait_until_found("categories.name:=wide", count, 0.25)
        per_s = count / (time.monotonic() - began_s)
    figures.add(
        f"rename of a category of {count:,}",
        f"{per_s:,.0f} products/s, {per_s / backlog_per_s:.2f} of the rate of a backlog",
    )
    if len(others.latencies_s) > 1:
        p99_s = statistics.quantiles(others.latencies_s, n=100, method="inclusive")[98]
        figures.add(
            f"{len(others.latencies_s)} other changes meanwhile",
            f"{statistics.median(others.latencies_s) * 1_000:.0f} ms at the median, {p99_s * 1_000:.0f} ms at p99",
        )
    _compare(shop, figures, "the rename of a category")


def _reviews(shop: Shop, products: int, figures: Figures) -> None:
    count = products // 10
    before = shop.found("review_count:=2")
    began_s = time.monotonic()
    for first in range(0, count, _PAGE):
        some = range(first, min(first + _PAGE, count))
        reviews = [{"_id": f"burst{number}", "product_id": number * 2 + 1, "stars": 5} for number in some]
        shop.database.reviews.insert_many(reviews)
    shop.wait_until_found("review_count:=2", before + count, 0.25)
    figures.add(f"burst of {count:,} reviews", f"{count / (time.monotonic() - began_s):,.0f} reviews/s")
    _compare(shop, figures, "the burst of reviews")


def main() -> int:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m bench.catalogue", description=__doc__)
    parser.add_argument("--products", type=int, default=200_000)
    parser.add_argument("--replicas", type=int, default=1)
    options = parser.parse_args()
    return 0 if measure(options.products, options.replicas).equal else 1


if __name__ == "__main__":
    sys.exit(main())
