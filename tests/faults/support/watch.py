"""M: nothing goes backwards. Polls Typesense all the time and notes every document that steps back.

The load gives every write a version. These are steps back:

- a version lower than one already seen for its id,
- a document that returns after it was seen deleted, with a version from before that delete,
- a document that vanishes although nothing deleted it in MongoDB.

All documents are exported about once a second, and the hottest are searched many times a second. Each of the two has
its own memory, since Typesense answers them from different indexes.

Typesense's own log replay is excused: a test that kills Typesense says so with `excused`.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import httpx
import orjson

from tests.support.load import History
from tests.support.waiting import wait_for

_PAUSE_S = 0.05
_EXPORT_INTERVAL_S = 1.0
_TIMEOUT_S = 3.0
# At most this share of the time is spent on looking, which takes processor time from the replicas.
_SHARE = 0.3
# A search for more ids would exceed what Typesense accepts as URL parameters.
HOT_IDS = 100


class StepBack(NamedTuple):
    """A document that stepped back, and how."""

    document_id: str
    how: str

    def __str__(self) -> str:
        return f"{self.document_id} {self.how}"


class _View:
    """What one kind of query has shown for each id: its newest version, and what it showed last (None: nothing)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._newest: dict[str, int] = {}
        self._last: dict[str, int | None] = {}

    def compare(self, found: dict[str, int], history: History) -> list[StepBack]:
        """The steps back since the last look; a step that lasts counts once."""
        steps = []
        for document_id, version in found.items():
            newest, last = self._newest.get(document_id, 0), self._last.get(document_id, version)
            if version < newest and version != last:
                what = "came back" if last is None else "steps back"
                steps.append(self._step(document_id, f"{what} as {version} after {newest}"))
            self._newest[document_id] = max(version, newest)
            self._last[document_id] = version
        for document_id in self._last.keys() - found.keys():
            if self._last[document_id] is not None:
                newest = self._newest[document_id]
                deleted = history.first_delete_after(document_id, newest)
                if deleted is None:
                    steps.append(self._step(document_id, f"vanished after {newest}"))
                self._newest[document_id] = newest if deleted is None else deleted
                self._last[document_id] = None
        return steps

    def _step(self, document_id: str, how: str) -> StepBack:
        # The same time format as in the replicas' logs, for reading them side by side.
        now = datetime.now().astimezone().time().isoformat("milliseconds")
        return StepBack(document_id, f"{how} (seen by {self._name} at {now})")


class Watcher:
    """Looks from its own thread between `start` and `stop`; `steps_back` says what it saw."""

    def __init__(self, client: httpx.Client, collection: str, history: History, hot_ids: Sequence[str]) -> None:
        self._client = client
        self._documents = f"/collections/{collection}/documents"
        self._history = history
        self._hot_ids = hot_ids[:HOT_IDS]
        self._all = _View("export")
        self._hot = _View("search")
        self._exported_s = float("-inf")
        self._lock = threading.Lock()
        self._excused = 0
        self._memory = 0  # incremented whenever everything seen so far is forgotten
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._error: BaseException | None = None
        self.looks = 0
        self.steps_back: list[StepBack] = []

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after one last look; raises the error that ended the thread, if any."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._error is not None:
            raise self._error

    @contextmanager
    def excused(self) -> Iterator[None]:
        """In the block Typesense is killed; at its end it is ready again. What was seen before still counts."""
        with self._lock:
            self._excused += 1
        try:
            yield
        finally:
            with self._lock:
                self._excused -= 1
                self._memory += 1  # an answer in transit may have been given during the log replay

    def forget(self) -> None:
        """Start over: Typesense or MongoDB was changed by somebody other than the load."""
        with self._lock:
            self._memory += 1
            self._all, self._hot = _View("export"), _View("search")

    def wait_for_looks(self, count: int) -> None:
        """Wait until it has looked `count` more times."""
        goal = self.looks + count
        wait_for(lambda: self.looks >= goal or not self._thread.is_alive(), 60.0, "the watcher sees nothing")

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                began_s = time.monotonic()
                self._look()
                self._stopping.wait(max(_PAUSE_S, (time.monotonic() - began_s) * (1 - _SHARE) / _SHARE))
            self._exported_s = float("-inf")
            self._look()
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`
            self._error = error

    def _look(self) -> None:
        with self._lock:
            if self._excused:
                return
            memory = self._memory
        try:
            hot, everything = self._search(), self._export()
        except (httpx.HTTPError, orjson.JSONDecodeError):
            return  # down, frozen, starting, or without the collection: nothing was seen
        with self._lock:
            if self._excused or memory != self._memory:
                return
            if hot is not None:
                self.steps_back += self._hot.compare(hot, self._history)
            if everything is not None:
                self.steps_back += self._all.compare(everything, self._history)
            self.looks += 1

    def _search(self) -> dict[str, int] | None:
        """The versions of the hot documents; None if the server does not return all that it found.

        Typesense 0.24.1 sometimes omits a hit that it counts, even of a document that is only updated, while others are
        inserted and deleted (it still answers 200; github.com/typesense/typesense/issues/3028 is similar).
        """
        parameters: dict[str, str | int] = {
            "q": "*",
            "filter_by": f"id:[{','.join(self._hot_ids)}]",
            "include_fields": "id,version",
            "per_page": 250,
        }
        answer = self._client.get(f"{self._documents}/search", params=parameters, timeout=_TIMEOUT_S)
        result = orjson.loads(answer.raise_for_status().content)
        if result["found"] != len(result["hits"]):
            return None
        return _versions(hit["document"] for hit in result["hits"])

    def _export(self) -> dict[str, int] | None:
        """The versions of all documents; None if it is not time yet."""
        now_s = time.monotonic()
        if now_s - self._exported_s < _EXPORT_INTERVAL_S:
            return None
        self._exported_s = now_s
        # Documents that are not the load's have no version, and may be large.
        parameters = {"include_fields": "id,version", "filter_by": "version:>0"}
        answer = self._client.get(f"{self._documents}/export", params=parameters, timeout=_TIMEOUT_S)
        return _versions(orjson.loads(line) for line in answer.raise_for_status().content.splitlines() if line)


def _versions(documents: Iterable[dict[str, Any]]) -> dict[str, int]:
    return {document["id"]: document["version"] for document in documents if "version" in document}
