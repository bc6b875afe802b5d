"""A small shop with three routes and several workers, for the dashboard: its tests, and its screenshots.

Invariant: what happens in it is asked for by name, so that a screenshot can be taken again.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pymongo import MongoClient
from pymongo.database import Database

from tests.support.background import repeated
from tests.support.stack import Names, is_reconciled, mongo_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.state.dead_letters import record_id
from tsync_stream.state.jobs import PARTIAL, VERIFY

TOKEN = "a-token-of-the-tests"
ROUTES = """routes:
  products:
    source: DATABASE.products
    target: TARGET_products
    lookups:
      - {from: brands, local: brand_id, as: brand, fields: [name]}
    schema:
      fields:
        - {name: price, type: int32}
        - {name: ".*", type: auto}
  orders: {source: DATABASE.orders, target: TARGET_orders}
  customers: {source: DATABASE.customers, target: TARGET_customers}
"""
WORDS = ("oak", "linen", "brass", "slate", "wool", "glass", "cedar", "copper", "marble", "cork")
THINGS = ("chair", "lamp", "table", "shelf", "kettle", "mirror", "rug", "vase")


class ShopDeployment:
    """Use it in a `with`: it makes the documents, then starts the workers. `prefix` begins the names of the targets."""

    def __init__(
        self,
        stack: EmbeddedStack,
        names: Names,
        directory: Path,
        *,
        workers: int = 1,
        products: int = 40,
        worker_type: type[Worker] = Worker,
        **settings: str,
    ) -> None:
        self.names = names
        self.random = random.Random(7)
        self._stack = stack
        self._products = products
        self._exit = ExitStack()
        file = directory / "tsync.yaml"
        file.write_text(ROUTES.replace("DATABASE", names.database).replace("TARGET_", f"{names.token}_"))
        given = {"ROUTES_FILE": str(file), "API_TOKEN": TOKEN, **settings}
        self.workers = [worker_type(stack, names, directory, **given) for _ in range(workers)]

    def __enter__(self) -> Self:
        client: MongoClient[dict[str, Any]] = self._exit.enter_context(mongo_client(self._stack))
        self.database: Database[dict[str, Any]] = client[self.names.database]
        self.state: Database[dict[str, Any]] = client[self.names.state_database]
        self.fill()
        for worker in self.workers:
            worker.launch()
            self._exit.callback(_end, worker)
        for worker in self.workers:
            worker.wait_until_started()
        wait_for(self.is_reconciled, 60.0, "the shop is not synced")
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def fill(self) -> None:
        """The first documents."""
        self.database.brands.insert_many({"_id": number, "name": f"Brand {number}"} for number in range(5))
        self.database.products.insert_many(self.product(number) for number in range(self._products))
        self.database.customers.insert_many({"_id": number, "name": f"Customer {number}"} for number in range(50))
        self.database.orders.insert_many(self.order() for _ in range(100))

    def product(self, number: int) -> dict[str, Any]:
        """A product as it may be at any time."""
        chosen = self.random.choice
        return {
            "_id": f"p-{number:05}",
            "title": f"{chosen(WORDS).capitalize()} {chosen(THINGS)}",
            "price": self.random.randrange(5, 900),
            "brand_id": number % 5,
        }

    def order(self) -> dict[str, Any]:
        """A new order."""
        return {"customer": self.random.randrange(50), "total": self.random.randrange(10, 2_000)}

    def is_reconciled(self) -> bool:
        """Whether every route has been synced once."""
        found = self.state.pipeline.find_one({"_id": "pipeline"})
        return is_reconciled(found)

    def refuse(self, *ids: str) -> None:
        """Products whose price their route's schema cannot hold; returns once they are dead letters."""
        self.database.products.insert_many(
            {"_id": each, "title": "a secret title", "price": 10.5, "brand_id": 1} for each in ids
        )
        wait_for(lambda: self.open_letters(*ids) == len(ids), 30.0, "no dead letters")

    def open_letters(self, *ids: str) -> int:
        """How many of these have an open dead letter."""
        return self.state.dead_letters.count_documents({"key": {"$in": list(ids)}, "status": "open"})

    def open_letter(self, product: str) -> None:
        """An open dead letter of a product, as if it had failed before."""
        now = datetime.now(UTC)
        fields = {
            "reason": "view failed",
            "error": "it failed once",
            "attempts": 1,
            "first_seen": now,
            "last_seen": now,
        }
        self.state.dead_letters.insert_one(
            {
                "_id": record_id("products", product),
                "route": "products",
                "key": product,
                "queueable": True,
                "status": "open",
                "resolved_at": None,
                **fields,
            }
        )

    def file_verification(self, route: str) -> str:
        """File a verification, as `tsync verify` does; returns its id."""
        job = f"verify-{route}"
        fields = {"arguments": {"repair": False, "documents": 40}, "status": "open", "progress": {}, "result": None}
        filed = {"kind": VERIFY, "route": route, "filed_at": datetime.now(UTC), "ended_at": None}
        self.state.jobs.insert_one({"_id": job, **filed, **fields})
        return job

    @contextmanager
    def busy(self, per_step: int = 30) -> Iterator[None]:
        """Writes to all three routes while the block runs."""

        def step(_number: int) -> None:
            for _ in range(per_step):
                product = self.product(self.random.randrange(self._products))
                self.database.products.replace_one({"_id": product["_id"]}, product)
            self.database.orders.insert_many(self.order() for _ in range(per_step // 2))
            customer = self.random.randrange(50)
            self.database.customers.update_one({"_id": customer}, {"$inc": {"visits": 1}})

        with repeated(step):
            yield

    def begin_slow_jobs(self) -> None:
        """A reindex, and two partial reconciles of which one is paused, unless they are open: they take minutes."""
        if self._reindexes():
            return
        self._wait_for_refreshes()
        self._command("reindex", "products", "--yes", "--no-follow", "--rate", "50")
        for route, rate in (("orders", "2"), ("customers", "1")):
            self._command("reconcile", route, "--filter", '{"_id": {"$exists": true}}', "--rate", rate)
        begun = {"kind": PARTIAL, "route": "customers", "progress.looked_at": {"$gt": 0}}
        wait_for(lambda: self.state.jobs.count_documents(begun) > 0, 60.0, "it has not begun")
        self._command("reconcile", "customers", "--pause")

    def end_slow_jobs(self) -> None:
        """Cancel them, and wait until nothing of them is left."""
        if not self._reindexes():
            return
        self._command("reindex", "products", "--cancel", "--no-follow")
        for job in self.state.jobs.find({"kind": PARTIAL, "status": "open"}):
            self._command("reconcile", "--cancel", job["_id"])
        wait_for(lambda: not self._reindexes(), 120.0, "the reindex is still open")

    def _wait_for_refreshes(self) -> None:
        wait_for(lambda: self.state.refreshes.count_documents({}) == 0, 120.0, "a refresh is still open")

    def _reindexes(self) -> int:
        return self.state.generations.count_documents({"reindex": {"$ne": None}})

    def _command(self, *arguments: str) -> None:
        """Run a command until it succeeds: a busy machine may be slow to answer it."""
        said = ""

        def succeeds() -> bool:
            nonlocal said
            done = self.workers[0].run_command(*arguments)
            said = done.stdout + done.stderr
            return done.returncode == 0

        wait_for(succeeds, 60.0, lambda: said)

    def rename_brands(self) -> None:
        """A refresh as wide as can be, once none is open: every product shows one of the brands."""
        self._wait_for_refreshes()
        self.database.brands.update_many({}, [{"$set": {"name": {"$concat": ["$name", "!"]}}}])


def _end(worker: Worker) -> None:
    if worker.running:
        worker.kill()
