"""Generations of a route as a reindex would make them, but step by step, and how long live changes take meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from tests.support.stack import Names, typesense_client
from tests.support.waiting import wait_for
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_to_bson
from tsync_stream.routes.generations import generation_name
from tsync_stream.state.generation_store import from_bson, to_bson
from tsync_stream.state.generations import Generations, Reindex


class ByHand:
    """The generations of one route, whose target a worker has created as an alias of TARGET_1."""

    def __init__(self, stack: EmbeddedStack, state: Database[dict[str, Any]], route: str, target: str) -> None:
        self._stack = stack
        self._state = state.with_options(codec_options=BSON_OPTIONS)
        self.route = route
        self.target = target

    def collection(self, number: int) -> str:
        """The collection of a generation."""
        return f"{self.target}_{number}"

    def name(self, number: int) -> str:
        """The route of a generation."""
        return generation_name(self.route, number)

    def now(self) -> Generations:
        """As stored."""
        document = self._state.generations.find_one({"_id": self.route})
        first = Generations.first(self.route, self.target, self.collection(1))
        return first if document is None else from_bson(document)

    def file(self, declaration: Declaration) -> int:
        """Add a generation that is written by `declaration`; returns its number."""
        before, at = self.now(), datetime.now(UTC).replace(microsecond=0)
        number = before.next_number
        reindex = Reindex("by hand", number, before.live, "building", at, at)
        filed = before.filed(reindex, declaration_to_bson(declaration), before.shown.collection)
        self._store(replace(filed, reindex=None))  # or the worker takes it from here
        return number

    def show(self, number: int) -> None:
        """Let the alias show another generation."""
        self._show(self.collection(number))
        self._store(self.now().showing(number))

    def remove(self, number: int) -> None:
        """Take a generation out of the list. Its collection stays."""
        self._store(replace(self.now().without(number), removing=()))

    def wait_until_filled(self, number: int, timeout_s: float = 60.0) -> None:
        """Wait until a generation is a route of the pipeline that needs no reconcile."""
        wait_for(lambda: self._filled(number), timeout_s, lambda: f"not filled: {self._routes()}")

    def wait_until_gone(self, number: int, timeout_s: float = 30.0) -> None:
        """Wait until a generation is no route of the pipeline any more."""
        wait_for(lambda: self.name(number) not in self._routes(), timeout_s, lambda: f"still there: {self._routes()}")

    def _filled(self, number: int) -> bool:
        found = self._routes().get(self.name(number))
        return found is not None and found["reconcile"] is None

    def _routes(self) -> dict[str, Any]:
        pipeline = self._state.pipeline.find_one({"_id": "pipeline"}) or {"routes": []}
        return {route["name"]: route for route in pipeline["routes"]}

    def _store(self, generations: Generations) -> None:
        document = to_bson(generations) | {"revision": generations.revision + 1}
        self._state.generations.replace_one({"_id": self.route}, document, upsert=True)

    def _show(self, collection: str) -> None:
        with typesense_client(self._stack) as typesense:
            typesense.put(f"/aliases/{self.target}", json={"collection_name": collection}).raise_for_status()


class Ages:
    """How old what searches see is: one document is written all the time, and looked at all the time.

    `samples` holds pairs of a moment and of the age that was seen then, in seconds.
    """

    KEY = "the age of what is shown"
    _INTERVAL_S = 0.02

    def __init__(self, stack: EmbeddedStack, names: Names) -> None:
        self._stack = stack
        self._names = names
        self._stopping = threading.Event()
        self.samples: list[tuple[float, float]] = []

    @contextmanager
    def measured(self) -> Iterator["Ages"]:
        """Measures as long as the block."""
        threads = [threading.Thread(target=work, daemon=True) for work in (self._write, self._look)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: len(self.samples) > 0, 20.0, "the document is not shown")
            yield self
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def worst_between(self, begin: float, end: float) -> float:
        """The greatest age that was seen between two moments of the monotonic clock."""
        return max((age for at, age in self.samples if begin <= at <= end), default=0.0)

    def share_over(self, limit_s: float) -> float:
        """In which share of the time what was seen was older than that."""
        return sum(age > limit_s for _, age in self.samples) / len(self.samples)

    def _write(self) -> None:
        client: MongoClient[dict[str, Any]] = MongoClient(self._stack.mongo.uri, w=1)
        with client:
            source = client[self._names.database][self._names.collection]
            while not self._stopping.wait(self._INTERVAL_S):
                source.update_one({"_id": self.KEY}, {"$set": {"written": time.monotonic()}}, upsert=True)

    def _look(self) -> None:
        path = f"/collections/{self._names.typesense_collection}/documents/{self.KEY}"
        with typesense_client(self._stack) as typesense:
            while not self._stopping.wait(self._INTERVAL_S):
                answer = typesense.get(path)
                if answer.is_success:
                    at = time.monotonic()
                    self.samples.append((at, at - answer.json()["written"]))
