"""A large backlog: Typesense is stopped, so many documents are inserted, and then it is started again.

    python -m bench.backlog [DOCUMENTS]

Real servers (the embedded stack) and the real worker with its default settings, all on this machine. It prints what an
entry takes in Redis, the most memory that the worker took, how fast the backlog was worked off, and ends with the full
comparison.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.burst import documents
from tests.support.comparison import difference, wait_for
from tests.support.stack import Names, mongo_client, redis_client, typesense_client
from tests.support.worker import Worker
from tsync_stream.embedded import EmbeddedStack

_BOUND_S = 1800.0
_SAMPLE_INTERVAL_S = 0.5


class PeakMemory:
    """The most resident memory of a process, looked at twice a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stopping = threading.Event()
        self.peak_bytes = 0

    @contextmanager
    def watched(self) -> Iterator["PeakMemory"]:
        """Look as long as the block runs."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_SAMPLE_INTERVAL_S):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)


def redis_bytes(stack: EmbeddedStack) -> int:
    """What the primary Redis holds in memory for its data."""
    with redis_client(stack.primary_redis) as client:
        return int(client.info("memory")["used_memory_dataset"])


def waiting(worker: Worker) -> int:
    """Unacked entries, barriers counted, as the worker last measured them."""
    return int(sum(value for name, value in worker.metrics().items() if name.startswith("tsync_backlog_entries")))


def run(stack: EmbeddedStack, names: Names, worker: Worker, count: int) -> None:
    """Build the backlog, work it off, compare."""
    before_bytes = redis_bytes(stack)
    stack.typesense.kill()
    with mongo_client(stack) as client:
        source = client[names.database][names.collection]
        started_s = time.monotonic()
        for batch in documents(count):
            source.insert_many(batch)
    wait_for(lambda: waiting(worker) >= count, _BOUND_S, lambda: f"only {waiting(worker)} entries wait")
    entries = waiting(worker)
    print(f"{entries} entries wait after {time.monotonic() - started_s:.0f} s")
    print(f"bytes of Redis memory an entry: {(redis_bytes(stack) - before_bytes) / entries:.0f}")
    started_s = time.monotonic()
    stack.typesense.start()
    path = f"/collections/{names.typesense_collection}"
    with typesense_client(stack) as typesense:
        wait_for(lambda: typesense.get(path).status_code == 200, _BOUND_S, "Typesense does not come back")
        wait_for(
            lambda: typesense.get(path).json()["num_documents"] >= count, _BOUND_S, "the backlog is not worked off"
        )
    took_s = time.monotonic() - started_s
    print(f"worked off {took_s:.0f} s after Typesense was started: {count / took_s:.0f} documents/s")


def main() -> None:
    """Run it on fresh servers."""
    parser = argparse.ArgumentParser(description="A large backlog, and what it takes.")
    parser.add_argument("documents", type=int, nargs="?", default=1_000_000)
    count = parser.parse_args().documents
    names = Names.new()
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedStack(Path(directory) / "stack") as stack,
        mongo_client(stack) as client,
    ):
        client[names.database].create_collection(names.collection)
        with Worker(stack, names, Path(directory)) as worker:
            worker.wait_until_capturing()
            with PeakMemory(worker.pid).watched() as memory:
                run(stack, names, worker, count)
                found = difference(stack, names)
            print(f"most resident memory of the worker: {memory.peak_bytes >> 20} MB")
            print(f"comparison of all of Typesense with all of MongoDB: {found or 'equal'}")


if __name__ == "__main__":
    main()
