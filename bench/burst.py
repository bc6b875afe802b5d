"""A burst of inserts until Typesense is equal, and the time from one write to its being visible.

    python -m bench.burst [DOCUMENTS]

Real servers (the embedded stack) and the real worker with its default settings, all on this machine. It prints
documents a second, CPU time a document of every process, the median and the tail of the latency, and ends with the
full comparison.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.comparison import wait_for, wait_until_equal
from tests.support.stack import Names, mongo_client, typesense_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

_INSERT_BATCH = 1_000
_LATENCY_WRITES = 150
_LATENCY_PAUSE_S = 0.02  # about 50 writes a second, less the time that each takes
_BOUND_S = 300.0
_CITIES = ("Lisbon", "Graz", "Tartu", "Ghent", "Turin", "Bergen")


def documents(count: int) -> Iterator[list[dict[str, Any]]]:
    """Listings of 1 KB, some at a time."""
    for first in range(0, count, _INSERT_BATCH):
        yield [
            {
                "title": f"listing {number}",
                "description": "x" * 880,
                "price": number * 1.5,
                "rooms": number % 7,
                "city": _CITIES[number % len(_CITIES)],
            }
            for number in range(first, min(first + _INSERT_BATCH, count))
        ]


def cpu_s(stack: EmbeddedStack, worker: Worker) -> dict[str, float]:
    """CPU seconds of every process so far."""
    pids = {name: server.pid for name, server in stack.servers.items()} | {"worker": worker.pid}
    times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items() if pid is not None}
    return {name: used.user + used.system for name, used in times.items()}


def burst(stack: EmbeddedStack, names: Names, worker: Worker, source: Any, count: int) -> None:
    """Insert as fast as MongoDB takes it, and wait until as many documents are in Typesense."""
    before, started = cpu_s(stack, worker), time.monotonic()
    for batch in documents(count):
        source.insert_many(batch)
    inserted_s = time.monotonic() - started
    path = f"/collections/{names.typesense_collection}"
    with typesense_client(stack) as client:
        wait_for(lambda: client.get(path).json()["num_documents"] >= count, _BOUND_S, "the burst does not arrive")
    all_s = time.monotonic() - started
    used = {name: round((total - before[name]) / count * 1e6) for name, total in cpu_s(stack, worker).items()}
    print(f"inserted in {inserted_s:.1f} s, in Typesense after {all_s:.1f} s: {count / all_s:.0f} documents/s")
    print(f"CPU time a document, in µs: {used}")
    print(f"resident memory of the worker: {psutil.Process(worker.pid).memory_info().rss >> 20} MB")


def latency(stack: EmbeddedStack, names: Names, source: Any) -> None:
    """From before a write to the first read that finds it, one write at a time."""
    taken_ms = []
    with typesense_client(stack) as client:
        for number in range(_LATENCY_WRITES):
            started = time.perf_counter()
            source.insert_one({"_id": f"latency-{number}", "title": "seen"})
            path = f"/collections/{names.typesense_collection}/documents/latency-{number}"
            while client.get(path).status_code != httpx.codes.OK:
                time.sleep(0.0005)
            taken_ms.append((time.perf_counter() - started) * 1000)
            time.sleep(random.uniform(0.5, 1.5) * _LATENCY_PAUSE_S)
    cuts = statistics.quantiles(taken_ms, n=100)
    print(f"write to visible: median {cuts[49]:.1f} ms, 90% within {cuts[89]:.1f} ms, 99% within {cuts[98]:.1f} ms")


def main() -> None:
    """Run both on fresh servers."""
    parser = argparse.ArgumentParser(description="A burst of inserts, and the latency of single writes.")
    parser.add_argument("documents", type=int, nargs="?", default=50_000)
    count = parser.parse_args().documents
    names = Names.new()
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedStack(Path(directory) / "stack") as stack,
        mongo_client(stack) as client,
        Worker(stack, names, Path(directory)) as worker,
    ):
        source = client[names.database].create_collection(names.collection)
        worker.wait_until_capturing()
        burst(stack, names, worker, source, count)
        wait_until_equal(stack, names, timeout_s=_BOUND_S)
        print("equal: every document of MongoDB is in Typesense, with its whole content, and nothing else")
        latency(stack, names, source)
        wait_until_equal(stack, names, timeout_s=_BOUND_S)


if __name__ == "__main__":
    main()
