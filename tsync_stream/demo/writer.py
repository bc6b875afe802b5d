"""Writes to MongoDB as an application would, and measures how soon a search in Typesense shows each change.

Invariants: there is one change at a time, and each is followed until it can be searched; after GIVE_UP_S it is reported
as a problem. `progress`, which other threads read, is replaced as a whole, never modified.
"""

import random
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from tsync_stream.demo.listings import Kind, listing, new_price, next_kind
from tsync_stream.demo.search import Typesense

FIRST_LISTINGS = 200
PAUSE_S = 0.25
GIVE_UP_S = 30.0
GIVE_UP_AT_THE_END_S = 3.0
_POLL_S = 0.002
_REMEMBERED = 500


@dataclass(frozen=True)
class Progress:
    """What was written so far. Milliseconds are None until the first change can be searched."""

    counts: dict[Kind, int] = field(default_factory=lambda: {"insert": 0, "update": 0, "delete": 0})
    last: str = ""
    last_ms: float | None = None
    median_ms: float | None = None
    problem: str = ""


def first_listings(source: Collection[dict[str, Any]]) -> None:
    """Fill an empty source, before the worker starts: from these listings it finds the types of all fields."""
    if source.find_one() is None:
        generator = random.Random()  # noqa: S311  # flats, not secrets
        source.insert_many([listing(change, generator) for change in range(1, FIRST_LISTINGS + 1)])


class Writer(threading.Thread):
    """The writing thread. `stop()` ends it after the current change."""

    def __init__(self, source: Collection[dict[str, Any]], typesense: Typesense) -> None:
        super().__init__(name="writer", daemon=True)
        self.progress = Progress()
        self._source = source
        self._typesense = typesense
        self._generator = random.Random()  # noqa: S311  # flats, not secrets
        self._stopping = threading.Event()
        self._took_ms: deque[float] = deque(maxlen=_REMEMBERED)

    def stop(self) -> None:
        """End the thread after the current change."""
        self._stopping.set()
        self.join(2 * GIVE_UP_AT_THE_END_S)

    def run(self) -> None:
        """Write until stopped. While MongoDB fails, show its error and retry."""
        while not self._stopping.is_set():
            try:
                self._change_something()
            except PyMongoError as error:
                self._report(problem=f"MongoDB: {error}")
            self._stopping.wait(PAUSE_S)

    def _change_something(self) -> None:
        keys = self._source.distinct("_id")
        change = 1 + max((found["change"] for found in self._source.find(sort=[("change", -1)], limit=1)), default=0)
        kind = next_kind(len(keys), self._generator)
        key = self._generator.choice(keys) if keys else None
        document_id = str(key)
        begin = time.perf_counter()
        if kind == "insert":
            document = listing(change, self._generator)
            document_id = str(self._source.insert_one(document).inserted_id)
            what = f"inserted “{document['title']}”"
        elif kind == "update":
            changed = new_price(change, self._generator)
            self._source.update_one({"_id": key}, {"$set": changed})
            what = f"set the price of {document_id} to {changed['price']}"
        else:
            self._source.delete_one({"_id": key})
            what = f"deleted {document_id}"
        self._follow(kind, what, begin, lambda: self._arrived(kind, document_id, change))

    def _arrived(self, kind: Kind, document_id: str, change: int) -> bool:
        if kind == "delete":
            return self._typesense.lacks(document_id)
        return self._typesense.shows(document_id, change)

    def _follow(self, kind: Kind, what: str, begin: float, arrived: Callable[[], bool]) -> None:
        counts = {**self.progress.counts, kind: self.progress.counts[kind] + 1}
        while not arrived():
            waited_s = time.perf_counter() - begin
            if waited_s > (GIVE_UP_AT_THE_END_S if self._stopping.is_set() else GIVE_UP_S):
                problem = f"{what}: cannot be searched yet, after {waited_s:.0f} s"
                self._report(counts=counts, last=what, last_ms=None, problem=problem)
                return
            time.sleep(_POLL_S)
        took_ms = (time.perf_counter() - begin) * 1000
        self._took_ms.append(took_ms)
        self._report(counts=counts, last=what, last_ms=took_ms)

    def _report(self, **news: Any) -> None:
        before = self.progress
        merged = {"counts": before.counts, "last": before.last, "last_ms": before.last_ms, **news}
        self.progress = Progress(**merged, median_ms=statistics.median(self._took_ms) if self._took_ms else None)
