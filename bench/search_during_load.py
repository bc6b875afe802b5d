"""How long searches take while tsync-stream loads a collection for the first time, and without.

    python -m bench.search_during_load [--documents 100000] [--searched 20000] [--per-s 20] [--rates 0 500]

Searches go to a collection of its own in the same Typesense, at a fixed pace whether they are answered or not, and
count from when they were due. They are measured while nothing else runs, during a first load, and again without: where
the two without differ much, the machine had other work, and the run says little. That is repeated for each of the
rates, which are values of TYPESENSE_MAX_RATE, 0 for none. Everything shares this machine's processors. Servers run on
loopback and end with the run.
"""

import argparse
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import orjson

from bench.documents import KILOBYTE, batches
from bench.measuring import wait_until
from bench.surroundings import Surroundings, fresh
from tests.support.stack import typesense_client
from tests.support.worker import Worker

_SEARCHED = "searched"
_LONGEST_S = 3_600.0
_LOOK_S = 0.5
_QUIET_S = 20.0
_AT_ONCE = 16
_QUERIES = ("garden view", "quiet kitchen", "large flat near park", "balcony", "old stone house", "bright attic")


@dataclass(slots=True)
class Searches:
    """How long searches took, from when they were due, in milliseconds, and how many failed."""

    took_ms: list[float] = field(default_factory=list)
    failed: int = 0

    def line(self) -> str:
        """Median and tails, for people."""
        cuts = statistics.quantiles(self.took_ms, n=100)
        return (
            f"p50 {cuts[49]:,.1f} ms, p90 {cuts[89]:,.1f} ms, p99 {cuts[98]:,.1f} ms, "
            f"longest {max(self.took_ms):,.0f} ms; {len(self.took_ms)} searches, {self.failed} failed"
        )


class Searcher:
    """Searches `per_s` times a second while it runs."""

    def __init__(self, client: httpx.Client, per_s: float) -> None:
        self._client = client
        self._interval_s = 1.0 / per_s
        self._found = Searches()

    @contextmanager
    def running(self) -> Iterator[Searches]:
        """Search until the block ends."""
        found, ended = self._found, threading.Event()
        with ThreadPoolExecutor(_AT_ONCE) as pool:

            def pace() -> None:
                began_s = time.monotonic()
                for number in itertools.count():
                    due_s = began_s + number * self._interval_s
                    if ended.wait(max(0.0, due_s - time.monotonic())):
                        return
                    pool.submit(self._search, number, due_s, found)

            pacing = threading.Thread(target=pace)
            pacing.start()
            try:
                yield found
            finally:
                ended.set()
                pacing.join()

    def _search(self, number: int, due_s: float, found: Searches) -> None:
        query = {"q": _QUERIES[number % len(_QUERIES)], "query_by": "title,description", "sort_by": "price:asc"}
        query["filter_by"] = f"rooms:>{number % 5}"
        try:
            answer = self._client.get(f"/collections/{_SEARCHED}/documents/search", params=query)
            answer.raise_for_status()
        except httpx.HTTPError:
            found.failed += 1
        else:
            found.took_ms.append((time.monotonic() - due_s) * 1000)


def _fill(client: httpx.Client, count: int) -> None:
    fields = [
        {"name": "title", "type": "string"},
        {"name": "description", "type": "string"},
        {"name": "price", "type": "float"},
        {"name": "rooms", "type": "int32"},
        {"name": "city", "type": "string", "facet": True},
    ]
    client.post("/collections", json={"name": _SEARCHED, "fields": fields}).raise_for_status()
    for batch in batches(count, KILOBYTE):
        lines = b"\n".join(orjson.dumps({**each, "_id": None, "id": str(each["_id"])}) for each in batch)
        client.post(f"/collections/{_SEARCHED}/documents/import", content=lines, timeout=120.0).raise_for_status()


def _during(surroundings: Surroundings, per_s: float, wait: Callable[[], None]) -> Searches:
    with typesense_client(surroundings.stack) as client, Searcher(client, per_s).running() as found:
        wait()
    return found


def measure(documents: int, searched: int, per_s: float, rate: int) -> None:
    """One first load on fresh servers; prints what it found."""
    with fresh() as surroundings:
        _fill(surroundings.typesense, searched)
        surroundings.insert(documents, KILOBYTE)
        quiet = _during(surroundings, per_s, lambda: time.sleep(_QUIET_S))
        print(f"no load: {quiet.line()}", flush=True)
        worker = Worker(surroundings.stack, surroundings.names, surroundings.directory, TYPESENSE_MAX_RATE=str(rate))
        worker.start()
        try:
            wait_until(lambda: surroundings.shown() > 0, _LONGEST_S, "nothing is loaded", interval_s=_LOOK_S)
            began_s = time.monotonic()

            def wait() -> None:
                wait_until(
                    lambda: surroundings.shown() >= documents, _LONGEST_S, "not all is loaded", interval_s=_LOOK_S
                )

            loading = _during(surroundings, per_s, wait)
            per_s_loaded = documents / (time.monotonic() - began_s)
        finally:
            worker.kill()
        name = f"TYPESENSE_MAX_RATE={rate}" if rate else "no limit"
        print(f"first load, {name}: {loading.line()}; {per_s_loaded:,.0f} documents/s", flush=True)
        after = _during(surroundings, per_s, lambda: time.sleep(_QUIET_S))
        print(f"no load, afterwards: {after.line()}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m bench.search_during_load", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--searched", type=int, default=20_000)
    parser.add_argument("--per-s", type=float, default=20.0)
    parser.add_argument("--rates", type=int, nargs="+", default=[0, 500])
    options = parser.parse_args(arguments)
    for rate in options.rates:
        measure(options.documents, options.searched, options.per_s, rate)


if __name__ == "__main__":
    main()
