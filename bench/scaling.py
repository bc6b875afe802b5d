"""How tsync-stream scales with replicas, where the target is not the limit, and with the number of documents.

`python -m bench.scaling` prints two tables in Markdown. Typesense is replaced by one that keeps nothing
(`bench.null_typesense`), so there is no comparison at the end; `make bench` and the fault suite do that.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx

from bench.documents import KILOBYTE
from bench.measuring import CpuMeter, wait_until
from bench.process import Process
from bench.surroundings import Surroundings, fresh
from tests.support.memory import PeakMemory
from tests.support.stack import mongo_client, redis_client
from tests.support.worker import Worker, free_port

SMALL_BYTES = 200
PARTITIONS = 8  # the default
_LONGEST_S = 3_600.0
_LOOK_S = 0.25
_MEGABYTE = 1 << 20
# The first and the last tenth are left out, because replicas do not start and finish at the same moment.
_FROM, _TO = 0.1, 0.9
_FEWEST_IMPORTS = 3
_APPENDED = "tsync_entries_appended_total"


@dataclass(frozen=True, slots=True)
class Row:
    """One run: CPU time in microseconds per change and commands per thousand changes, over all replicas."""

    label: str
    changes_per_s: float
    workers_us: float
    mongod_us: float
    redis_us: float
    mongod_commands: float
    redis_commands: float
    redis_bytes: float | None  # per queued entry, where many are queued
    peak_mb: float


class Arena:
    """Real MongoDB and Redis, a target that keeps nothing, and any number of replicas."""

    def __init__(self, surroundings: Surroundings, resources: ExitStack) -> None:
        self.surroundings = surroundings
        self._resources = resources
        port = free_port()
        null = Process("bench.null_typesense", [str(port)], {}, surroundings.directory)
        resources.callback(null.end)
        null.launch()
        null.wait_until_ready()
        self.target = resources.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}"))
        self._target_port = port
        self.workers: list[Worker] = []

    def start(self, replicas: int) -> None:
        """Start replicas, and wait until the partitions are assigned evenly."""
        stack, names = self.surroundings.stack, self.surroundings.names
        for _ in range(replicas):
            worker = Worker(stack, names, self.surroundings.directory, TYPESENSE_PORT=str(self._target_port))
            self._resources.callback(_end, worker)
            worker.launch()
            self.workers.append(worker)
        for worker in self.workers:
            worker.wait_until_started()
        fair = PARTITIONS // replicas
        wait_until(
            lambda: all(worker.metrics().get("tsync_partitions_owned", 0) >= fair for worker in self.workers),
            _LONGEST_S,
            "the partitions are not shared out",
            interval_s=_LOOK_S,
        )

    def total(self, metric: str) -> float:
        """A metric, summed over replicas and labels."""
        every = (worker.metrics() for worker in self.workers)
        return sum(value for one in every for name, value in one.items() if name.partition("{")[0] == metric)

    def imported(self) -> list[tuple[float, int]]:
        """When imports ended, and how many documents had arrived by then."""
        return [(at_s, count) for at_s, count in self.target.get("/imported").json()]

    def commands(self) -> tuple[int, int]:
        """How many commands mongod and Redis have carried out so far."""
        with mongo_client(self.surroundings.stack) as client:
            told = client.admin.command("serverStatus")["metrics"]["commands"]
        mongod = sum(each["total"] for each in told.values() if isinstance(each, dict) and "total" in each)
        with redis_client(self.surroundings.stack.primary_redis) as redis:
            return mongod, sum(each["calls"] for each in redis.info("commandstats").values())


def _end(worker: Worker) -> None:
    if worker.running:
        worker.kill()


@contextmanager
def arena() -> Iterator[Arena]:
    """Fresh servers that are removed afterwards."""
    with fresh() as surroundings, ExitStack() as resources:
        surroundings.stack.typesense.stop()
        yield Arena(surroundings, resources)


def with_replicas(replicas: int, count: int) -> Row:
    """A backlog waits in the queue, then the target opens and the replicas share the work."""
    with arena() as here:
        here.start(replicas)
        here.target.post("/closed")
        before_bytes, appended = here.surroundings.redis_data_bytes(), here.total(_APPENDED)
        here.surroundings.insert(count, KILOBYTE)
        wait_until(
            lambda: here.total(_APPENDED) >= appended + count, _LONGEST_S, "not all is queued", interval_s=_LOOK_S
        )
        queued_bytes = here.surroundings.redis_data_bytes() - before_bytes
        return _measured(here, f"{replicas}", count, queued_bytes, opens=True)


def with_documents(count: int) -> Row:
    """This many documents exist at the first start: a complete first load."""
    with arena() as here:
        here.surroundings.insert(count, SMALL_BYTES)
        here.start(1)
        return _measured(here, f"{count:,}", count, None, opens=False)


def _measured(here: Arena, label: str, count: int, queued_bytes: int | None, *, opens: bool) -> Row:
    pids = {f"worker {number}": worker.pid for number, worker in enumerate(here.workers)}
    began = here.imported()[-1][1]
    with PeakMemory(lambda: [worker.pid for worker in here.workers]).watched() as memory:
        meter, commands = CpuMeter({**here.surroundings.pids, **pids}), here.commands()
        if opens:
            here.target.post("/open")
        wait_until(lambda: here.imported()[-1][1] >= count, _LONGEST_S, "not all is imported", interval_s=_LOOK_S)
        done = max(1, here.imported()[-1][1] - began)
        used_us = meter.per_change_us(done)
        mongod, redis = (after - before for after, before in zip(here.commands(), commands, strict=True))
    return Row(
        label=label,
        changes_per_s=_middle_rate(here.imported(), began, count),
        workers_us=sum(used for name, used in used_us.items() if name.startswith("worker")),
        mongod_us=used_us["mongod"],
        redis_us=used_us["redis"],
        mongod_commands=mongod / done * 1_000,
        redis_commands=redis / done * 1_000,
        redis_bytes=None if queued_bytes is None else queued_bytes / count,
        peak_mb=memory.peak_bytes / _MEGABYTE,
    )


def _middle_rate(imported: Sequence[tuple[float, int]], began: int, count: int) -> float:
    """Documents a second between the first and the last tenth. Raises `ValueError` if there were too few imports."""
    middle = [(at_s, done) for at_s, done in imported if _FROM * count <= done - began <= _TO * count]
    if len(middle) < _FEWEST_IMPORTS:
        raise ValueError("too few changes to measure a rate")
    (first_s, first), (last_s, last) = middle[0], middle[-1]
    return (last - first) / (last_s - first_s)


def _table(title: str, rows: Sequence[Row]) -> str:
    head = (
        title,
        "changes/s",
        "workers µs",
        "mongod µs",
        "Redis µs",
        "mongod commands per 1,000",
        "Redis commands per 1,000",
        "Redis bytes an entry",
        "peak MB of a worker",
    )
    lines = [
        (
            row.label,
            f"{row.changes_per_s:,.0f}",
            *(f"{used:.1f}" for used in (row.workers_us, row.mongod_us, row.redis_us)),
            *(f"{count:.0f}" for count in (row.mongod_commands, row.redis_commands)),
            "" if row.redis_bytes is None else f"{row.redis_bytes:.0f}",
            f"{row.peak_mb:.0f}",
        )
        for row in rows
    ]
    ruler = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *lines))


def main() -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="*", default=[1, 2, 3, 4])
    parser.add_argument("--changes", type=int, default=100_000, help="waiting for the replicas, 1 KB each")
    parser.add_argument("--documents", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    if options.replicas:
        print(_table("replicas", [with_replicas(each, options.changes) for each in options.replicas]), flush=True)
    if options.documents:
        print(_table("documents", [with_documents(each) for each in options.documents]), flush=True)


if __name__ == "__main__":
    main()
