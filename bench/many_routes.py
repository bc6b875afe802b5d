"""Whether several routes are faster than one: the same documents, in one collection or divided among several.

    python -m bench.many_routes [--documents 200000] [--routes 1 4] [--rounds 3]

Each route copies plain documents of a kilobyte into a Typesense collection of its own. The rate is that of a first load
between a tenth and nine tenths of all documents: starting takes the longer the more routes there are. Beside it stands
how busy each process was: where the processors are busy already, more routes cannot be faster.
"""

import argparse
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass

import httpx

from bench.documents import KILOBYTE, batches
from bench.measuring import CpuMeter, wait_until
from bench.surroundings import Surroundings, fresh
from tests.support.stack import mongo_client
from tests.support.worker import Worker

_LONGEST_S = 1_800.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """Documents a second, and the percent of a processor that each process used."""

    per_s: float
    shares_percent: dict[str, float]


def measure(documents: int, routes: int) -> Run:
    """One first load of all documents through this many routes, on fresh servers."""
    with fresh() as surroundings, ExitStack() as resources:
        client = resources.enter_context(mongo_client(surroundings.stack))
        database = client[surroundings.names.database]
        for number in range(routes):
            for batch in batches(documents // routes, KILOBYTE):
                database[f"source{number}"].insert_many(batch)
        path = _write_routes_file(surroundings, routes)
        worker = Worker(surroundings.stack, surroundings.names, surroundings.directory, ROUTES_FILE=path)
        resources.callback(worker.kill)
        worker.start()
        first = _wait_for(surroundings, routes, documents // 10)
        began_s = time.monotonic()
        meter = CpuMeter({**surroundings.pids, "worker": worker.pid})
        last = _wait_for(surroundings, routes, documents // 10 * 9)
        return Run((last - first) / (time.monotonic() - began_s), meter.shares_percent())


def _wait_for(surroundings: Surroundings, routes: int, documents: int) -> int:
    """Wait until at least so many documents are shown; returns how many are."""
    shown = 0

    def enough() -> bool:
        nonlocal shown
        shown = _shown(surroundings, routes)
        return shown >= documents

    wait_until(enough, _LONGEST_S, f"{documents} documents are not loaded", interval_s=_LOOK_S)
    return shown


def _target(surroundings: Surroundings, number: int) -> str:
    return f"{surroundings.names.token}_{number}"


def _write_routes_file(surroundings: Surroundings, routes: int) -> str:
    lines = ["routes:"]
    for number in range(routes):
        lines += [
            f"  route{number}:",
            f"    source: {surroundings.names.database}.source{number}",
            f"    target: {_target(surroundings, number)}",
        ]
    path = surroundings.directory / "tsync.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _shown(surroundings: Surroundings, routes: int) -> int:
    """How many documents all targets have; those that are not there yet have none."""
    try:
        answer = surroundings.typesense.get("/collections", timeout=30.0)
    except httpx.TransportError:
        return 0
    targets = {_target(surroundings, number) for number in range(routes)}
    return sum(each["num_documents"] for each in answer.json() if each["name"] in targets) if answer.is_success else 0


def main() -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m bench.many_routes", description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--routes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[int, list[float]] = {routes: [] for routes in options.routes}
    for _ in range(options.rounds):
        for routes in options.routes:
            run = measure(options.documents, routes)
            rates[routes].append(run.per_s)
            shares = ", ".join(f"{name} {share:.0f}%" for name, share in sorted(run.shares_percent.items()))
            print(
                f"{routes} routes: {run.per_s:,.0f} documents/s; "
                f"{sum(run.shares_percent.values()):.0f}% of a processor in all: {shares}",
                flush=True,
            )
    first = statistics.median(rates[options.routes[0]])
    for routes in options.routes[1:]:
        ratio = statistics.median(rates[routes]) / first
        print(f"{routes} routes reach {ratio:.2f} times the rate of {options.routes[0]}, median of {options.rounds}.")


if __name__ == "__main__":
    main()
