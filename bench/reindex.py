"""How long a reindex takes beside the first load of the same documents, and what changes and searches notice of it.

    python -m bench.reindex [--documents 200000] [--writes-per-s 500] [--searches-per-s 100]

The first load runs alone; documents are written and searched for during the reindex. Only inserts are written, so every
search must find at least as many documents as there were before. The exit code is 1 if one failed or found fewer.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.documents import KILOBYTE
from bench.latency import Sighting, Watch, percentiles_ms
from bench.measuring import wait_until
from bench.scenarios.steady import paced, sampled
from bench.surroundings import Surroundings, fresh
from tests.support.stack import is_reconciled, typesense_client
from tests.support.waiting import wait_for
from tests.support.worker import Worker

AT_ONCE = ("--yes", "--no-follow", "--watch", "0s", "--keep", "0s")
_LONGEST_S = 3_600.0
_LOOK_S = 0.2
# Writes go on for so much longer than a first load takes.
_TIMES_AS_LONG, _AND_S = 3.0, 30.0


@dataclass(slots=True)
class Searches:
    """What searches through the alias met: how long they took, and what was wrong."""

    took_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def _searching(surroundings: Surroundings, per_s: float, least: int) -> Iterator[Searches]:
    """Search `per_s` times a second as long as the block runs; each must find `least` documents."""
    found, ended = Searches(), threading.Event()
    path = f"/collections/{surroundings.names.typesense_collection}/documents/search"

    def search(client: httpx.Client) -> None:
        began_s = time.monotonic()
        answer = client.get(path, params={"q": "*", "per_page": "3"})
        shown = int(answer.json()["found"]) if answer.is_success else 0
        found.took_ms.append((time.monotonic() - began_s) * 1_000)
        if shown < least:
            found.wrong.append(f"{answer.status_code}: {shown:,} documents")

    def run() -> None:
        with typesense_client(surroundings.stack) as client:
            due_s = time.monotonic()
            while not ended.wait(max(0.0, due_s - time.monotonic())):
                search(client)
                due_s = max(due_s + 1 / per_s, time.monotonic() - 1)

    threads = [threading.Thread(target=run)] if per_s else []
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@contextmanager
def _writing(surroundings: Surroundings, per_s: float, seconds: float) -> Iterator[list[Sighting]]:
    """Insert documents at this rate, and note when some of them are shown."""
    if not per_s:
        yield []
        return
    with paced(surroundings, per_s, seconds, sampled(per_s)) as (process, watch):
        process.go()
        thread = threading.Thread(target=_watch, args=(watch, seconds))
        thread.start()
        try:
            yield watch.sightings
        finally:
            process.end()
            thread.join()


def _watch(watch: Watch, seconds: float) -> None:
    with suppress(EOFError, OSError, ValueError):  # the reindex was done before all was written
        watch.until_written(seconds + _LONGEST_S)


def _reindexed(worker: Worker, state: Any) -> tuple[float, float]:
    """Reindex; returns when that was asked for, and when it was done."""
    began_s = time.monotonic()
    done = worker.run_command("reindex", *AT_ONCE)
    assert done.returncode == 0, done.stdout + done.stderr
    phases: dict[str, float] = {}

    def ended() -> bool:
        reindex = state.generations.find_one()["reindex"]
        phases.setdefault(reindex["phase"] if reindex else "done", time.monotonic() - began_s)
        assert not reindex or reindex["phase"] != "failed", reindex["error"]
        return reindex is None

    wait_for(ended, _LONGEST_S, "the reindex does not end")
    print("Phases began after: " + ", ".join(f"{name} {at_s:.1f} s" for name, at_s in phases.items()))
    return began_s, began_s + phases["done"]


def measure(documents: int, writes_per_s: float, searches_per_s: float) -> bool:
    """One run; prints what it found, and returns whether no search noticed."""
    with fresh() as surroundings, ExitStack() as resources:
        surroundings.insert(documents, KILOBYTE)
        state = surroundings.source.database.client[surroundings.names.state_database]
        worker = Worker(surroundings.stack, surroundings.names, surroundings.directory)
        resources.callback(worker.kill)
        began_s = time.monotonic()
        worker.start()
        wait_until(
            lambda: is_reconciled(state.pipeline.find_one({"_id": "pipeline"})),
            _LONGEST_S,
            "the first load does not end",
            interval_s=_LOOK_S,
        )
        first_s = time.monotonic() - began_s
        with (
            _searching(surroundings, searches_per_s, documents) as searches,
            _writing(surroundings, writes_per_s, _TIMES_AS_LONG * first_s + _AND_S) as sightings,
        ):
            asked_s, ended_s = _reindexed(worker, state)
        meanwhile, took_s = [each for each in sightings if asked_s <= each.sent_s <= ended_s], ended_s - asked_s
        print(
            f"First load of {documents:,} documents: {first_s:.1f} s. Reindex, with {writes_per_s:g} writes and "
            f"{searches_per_s:g} searches a second: {took_s:.1f} s, {took_s / first_s:.2f} times as long."
        )
        if meanwhile:
            cuts = ", ".join(f"{name} {ms:,.0f} ms" for name, ms in percentiles_ms(meanwhile).items())
            longest_ms = max(each.latency_ms for each in meanwhile)
            print(f"From write to visible meanwhile: {cuts}; longest {longest_ms:,.0f} ms.")
        if searches.took_ms:
            p99_ms = statistics.quantiles(searches.took_ms, n=100)[98]
            print(f"{len(searches.took_ms):,} searches, p99 {p99_ms:.0f} ms; wrong: {searches.wrong[:3] or 'none'}")
        return not searches.wrong


def main() -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m bench.reindex", description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--writes-per-s", type=float, default=500)
    parser.add_argument("--searches-per-s", type=float, default=100)
    options = parser.parse_args()
    sys.exit(not measure(options.documents, options.writes_per_s, options.searches_per_s))


if __name__ == "__main__":
    main()
