"""The load: about 500 operations a second on a skewed choice of keys, determined by one seed.

Invariants:

- Every write has a unique version from one counter, also after its key was deleted and reinserted. So a version lower
  than one already seen for its key is a step back.
- It never bursts: lost time (MongoDB down, a busy machine) is not made up for.
- A write whose outcome is unknown cannot reverse the history of the source: it only replaces lower versions.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError

from tests.support.listings import listing
from tests.support.waiting import wait_for
from tsync_stream.core.keys import typesense_id

RATE = 500.0
DELETE_SHARE = 0.08
TRANSACTION_SHARE = 0.01
REPLACE_SHARE = 0.1
# Waiting for a journal commit is made up for; more would be a burst.
_CATCH_UP_S = 0.1
_TIMEOUT_MS = 5_000
_PAUSE_AFTER_FAILURE_S = 0.1


class History:
    """The versions at which each Typesense id may have been deleted."""

    def __init__(self) -> None:
        self._deletes: dict[str, list[int]] = {}
        self._ends: list[int] = []
        self._is_going = False

    @contextmanager
    def everything_goes(self, next_version: Callable[[], int]) -> Iterator[None]:
        """In the block the collection is dropped or replaced, at an unknown moment."""
        self._is_going = True
        try:
            yield
        finally:
            self._ends.append(next_version())
            self._is_going = False

    def may_delete(self, document_id: str, version: int) -> None:
        """Called before a delete is sent, since Typesense may show it before the reply arrives."""
        self._deletes.setdefault(document_id, []).append(version)

    def did_not_delete(self, document_id: str, version: int) -> None:
        """The delete found nothing."""
        self._deletes[document_id].remove(version)

    def first_delete_after(self, document_id: str, version: int) -> int | None:
        """The version of the first delete that may follow `version`; `version` itself while everything goes."""
        if self._is_going:
            return version
        deletes = [*self._deletes.get(document_id, ()), *self._ends]
        return min((delete for delete in deletes if delete > version), default=None)


def make_key(number: int) -> Any:
    """A key of one of three types; no two keys share a Typesense id."""
    return (number, f"s{number}", ObjectId(f"{number:024x}"))[number % 3]


class Load:
    """Writes from its own thread between `start` and `stop`; may be paused at any time."""

    def __init__(
        self, uri: str, database: str, collection: str, seed: int, *, rate: float = RATE, keys: int = 1_500
    ) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            uri,
            serverSelectionTimeoutMS=_TIMEOUT_MS,
            socketTimeoutMS=_TIMEOUT_MS,
            connectTimeoutMS=_TIMEOUT_MS,
            w=1,  # waiting for the journal takes longer than our interval, and a lost write does no harm
        )
        self._source: Collection[dict[str, Any]] = self._client[database][collection]
        self._generator = random.Random(seed)
        self._interval_s = 1 / rate
        self._keys = [make_key(number) for number in range(keys)]
        self._alive: set[int] = set()
        self._versions = itertools.count(1)
        self._stopping = threading.Event()
        self._going = threading.Event()
        self._resting = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._error: BaseException | None = None
        self.history = History()
        self.operations = 0
        self.unknown = 0

    def start(self) -> None:
        """Start; returns after the first operation."""
        self._going.set()
        self._thread.start()
        self.wait_for_operations(1)

    def stop(self) -> None:
        """Stop; raises the error that ended the thread, if any."""
        self._stopping.set()
        self._going.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.close()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close the connections, also of a load that never ran."""
        self._client.close()

    def pause(self) -> None:
        """Stop writing; returns when nothing is in flight."""
        self._resting.clear()
        self._going.clear()
        wait_for(lambda: self._resting.is_set() or not self._thread.is_alive(), 30.0, "the load does not pause")

    def go_on(self) -> None:
        """Resume writing."""
        self._going.set()

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Runs as long as the block."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def wait_for_operations(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until `count` more operations were done."""
        goal = self.operations + count

        def done() -> bool:
            return self.operations >= goal or not self._thread.is_alive()

        wait_for(done, timeout_s, lambda: f"the load is stuck at {self.operations} operations")

    def hot_keys(self, count: int) -> list[Any]:
        """The keys that change most."""
        return self._keys[:count]

    def fill(self) -> None:
        """Insert all missing keys at once; not while the load runs."""
        numbers = [number for number in range(len(self._keys)) if number not in self._alive]
        self._source.insert_many([self._document(number) for number in numbers])
        self._alive.update(numbers)

    def next_version(self) -> int:
        """An unused version; may be called from any thread."""
        return next(self._versions)

    def _run(self) -> None:
        due_s = time.monotonic()
        try:
            while not self._stopping.is_set():
                if not self._going.is_set():
                    self._resting.set()
                    self._going.wait()
                due_s = max(due_s + self._interval_s, time.monotonic() - _CATCH_UP_S)
                time.sleep(max(0.0, due_s - time.monotonic()))
                try:
                    self._operate()
                except PyMongoError:
                    self.unknown += 1
                    self._stopping.wait(_PAUSE_AFTER_FAILURE_S)
                self.operations += 1
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`
            self._error = error

    def _operate(self) -> None:
        generator = self._generator
        dice = generator.random()
        number = self._choose()
        if dice < DELETE_SHARE and self._alive:
            self._delete(generator.choice(sorted(self._alive)) if number not in self._alive else number)
        elif dice < DELETE_SHARE + TRANSACTION_SHARE:
            self._transaction()
        elif number not in self._alive:
            self._insert(number)
        elif dice < DELETE_SHARE + TRANSACTION_SHARE + REPLACE_SHARE:
            document = self._document(number)
            self._source.replace_one(self._older(number, document["version"]), document)
        else:
            self._update(number)

    def _choose(self) -> int:
        """A skewed choice: a few keys are hot."""
        return int(len(self._keys) * self._generator.random() ** 3)

    def _document(self, number: int) -> dict[str, Any]:
        document = listing(number, self._generator)
        return {"_id": self._keys[number], "version": self.next_version(), **document}

    def _older(self, number: int, version: int) -> Mapping[str, Any]:
        return {"_id": self._keys[number], "version": {"$lt": version}}

    def _insert(self, number: int) -> None:
        # Alive from now on, whatever the outcome: later writes either find it or do nothing.
        document = self._document(number)
        self._alive.add(number)
        with suppress(DuplicateKeyError):  # it exists, because the outcome of an earlier insert or delete was unknown
            self._source.insert_one(document)

    def _update(self, number: int, session: Any = None) -> None:
        version = self.next_version()
        changes = {"version": version, "price": round(self._generator.uniform(300, 3000), 2) + 0.001}
        update = {"$set": {**changes, "address.city": f"c{version % 97}"}, "$inc": {"number": 1}}
        result = self._source.update_one(self._older(number, version), update, session=session)
        if session is None and not result.matched_count:
            self._alive.discard(number)  # its insert, whose outcome was unknown, failed

    def _delete(self, number: int) -> None:
        version = self.next_version()
        document_id = typesense_id(self._keys[number])
        self.history.may_delete(document_id, version)
        self._alive.discard(number)
        result = self._source.delete_one(self._older(number, version))
        if not result.deleted_count:
            self.history.did_not_delete(document_id, version)

    def _transaction(self) -> None:
        numbers = self._generator.sample(sorted(self._alive), min(len(self._alive), self._generator.randint(2, 8)))
        with self._client.start_session() as session, session.start_transaction():
            for number in numbers:
                self._update(number, session)
