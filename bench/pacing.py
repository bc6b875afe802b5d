"""Writes documents at a fixed rate in its own process, whether they arrive or not (an open loop).

    python -m bench.pacing DOCUMENTS_PER_S SECONDS SAMPLE_EVERY

It prints `sent ID TIME` before it sends a document that is to be watched, and `done DOCUMENTS SECONDS` at the end.
Times are those of the machine's monotonic clock, which all its processes share.

Above a few hundred a second, documents are sent a few at a time: single writes would take most of a small machine,
which the contender needs.
"""

import math
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pymongo.collection import Collection

from bench.documents import Document, document
from bench.peers import connection

MOST_COMMANDS_PER_S = 250
# A write waits for the journal, longer than the interval until the next one is due.
_COMMANDS_AT_ONCE = 4


def commands(rate_per_s: float, seconds: float) -> list[list[Document]]:
    """The documents of each `insert_many`, in groups of equal size."""
    together = math.ceil(rate_per_s / MOST_COMMANDS_PER_S)
    count = max(1, round(rate_per_s * seconds / together))
    return [[document(first * together + number) for number in range(together)] for first in range(count)]


def write_all(
    source: Collection[Document], groups: Sequence[Sequence[Document]], interval_s: float, sample_every: int
) -> float:
    """Write one group every `interval_s` seconds without skipping late ones. Returns how many seconds it took."""

    def write(number: int) -> Any:
        if number % sample_every == 0:
            connection.say("sent", groups[number][0]["_id"], time.monotonic())
        return source.insert_many(groups[number])

    started_s = time.monotonic()
    with ThreadPoolExecutor(_COMMANDS_AT_ONCE) as pool:
        writes = []
        for number in range(len(groups)):
            time.sleep(max(0.0, started_s + number * interval_s - time.monotonic()))
            writes.append(pool.submit(write, number))
        for each in writes:
            each.result()
    return time.monotonic() - started_s


def main() -> None:
    """Prepare, wait for the signal to begin, write."""
    rate_per_s, seconds, sample_every = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    source = connection.source()
    source.estimated_document_count()  # connects
    groups = commands(rate_per_s, seconds)
    connection.wait_for_go()
    connection.end_with_the_benchmark()
    took_s = write_all(source, groups, len(groups[0]) / rate_per_s, sample_every)
    connection.say("done", len(groups) * len(groups[0]), took_s)
    signal.pause()  # its CPU time has yet to be read


if __name__ == "__main__":
    main()
