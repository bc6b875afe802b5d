"""Latency from write to visible: the documents that were sent are polled by id until Typesense has them.

Invariant: a document is polled again after a millisecond, or after a twentieth of its age if that is longer. So quick
ones are timed exactly, and slow ones do not keep Typesense busy.
"""

import heapq
import http.client
import os
import select
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

from tests.support.stack import Names
from tsync_stream.embedded import TypesenseServer

_LOOPBACK = "127.0.0.1"
_SHORTEST_PAUSE_S = 0.001
_PAUSE_SHARE_OF_AGE = 0.05
_LONGEST_WAIT_S = 0.5
_CHUNK = 1 << 16
_ASK_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """One document, and when it was sent and seen, on the monotonic clock."""

    document_id: str
    sent_s: float
    seen_s: float

    @property
    def latency_ms(self) -> float:
        """Milliseconds from sent to seen."""
        return (self.seen_s - self.sent_s) * 1_000


@dataclass(frozen=True, slots=True)
class Written:
    """What the writing process reports at its end."""

    documents: int
    seconds: float


class Eye:
    """Polls Typesense for one document over a connection that stays open; a heavier client would add latency."""

    def __init__(self, typesense: TypesenseServer, names: Names) -> None:
        self._connection = http.client.HTTPConnection(_LOOPBACK, typesense.port, timeout=_ASK_TIMEOUT_S)
        self._path = f"/collections/{names.typesense_collection}/documents/"
        self._headers = {"X-TYPESENSE-API-KEY": typesense.api_key}

    def sees(self, document_id: str) -> bool:
        """Whether it is there; False too if there is no answer."""
        try:
            self._connection.request("GET", self._path + document_id, headers=self._headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next poll opens it again
            return False
        return answer.status == http.client.OK

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Watch:
    """Reads what the writing process (`bench.pacing`) reports, and polls for what it sent."""

    def __init__(self, output: IO[bytes], sees: Callable[[str], bool]) -> None:
        self._output = output.fileno()
        self._sees = sees
        self._unfinished_line = b""
        self._written: Written | None = None
        # When to poll next, when it was sent, and its id.
        self._sent: list[tuple[float, float, str]] = []
        self.sightings: list[Sighting] = []

    def until_written(self, timeout_s: float) -> Written:
        """Watch until the process has written everything. Raises TimeoutError."""
        ends_s = time.monotonic() + timeout_s
        while self._written is None:
            if time.monotonic() > ends_s:
                raise TimeoutError(f"the writing process is not done within {timeout_s:.0f} s")
            self._step()
        return self._written

    def until_seen(self, timeout_s: float) -> int:
        """Watch until everything is seen; returns how many documents were not seen in time."""
        ends_s = time.monotonic() + timeout_s
        while self._sent and time.monotonic() < ends_s:
            self._step()
        return len(self._sent)

    def _step(self) -> None:
        due_s = self._sent[0][0] if self._sent else time.monotonic() + _LONGEST_WAIT_S
        self._listen(max(0.0, due_s - time.monotonic()))
        now_s = time.monotonic()
        while self._sent and self._sent[0][0] <= now_s:
            _, sent_s, document_id = heapq.heappop(self._sent)
            if self._sees(document_id):
                self.sightings.append(Sighting(document_id, sent_s, time.monotonic()))
            else:
                now_s = time.monotonic()
                pause_s = max(_SHORTEST_PAUSE_S, _PAUSE_SHARE_OF_AGE * (now_s - sent_s))
                heapq.heappush(self._sent, (now_s + pause_s, sent_s, document_id))

    def _listen(self, timeout_s: float) -> None:
        if self._written is not None:
            time.sleep(timeout_s)
            return
        readable, _, _ = select.select([self._output], [], [], timeout_s)
        if not readable:
            return
        data = os.read(self._output, _CHUNK)
        if not data:
            raise EOFError("the writing process has ended before it was done")
        *lines, self._unfinished_line = (self._unfinished_line + data).split(b"\n")
        for line in lines:
            word, first, second = line.decode().split()
            if word == "sent":
                heapq.heappush(self._sent, (float(second) + _SHORTEST_PAUSE_S, float(second), first))
            else:
                self._written = Written(int(first), float(second))


def percentiles_ms(sightings: Sequence[Sighting]) -> dict[str, float]:
    """The median, the 90th and the 99th percentile; empty for fewer than two samples."""
    if len(sightings) < 2:
        return {}
    cuts = statistics.quantiles((each.latency_ms for each in sightings), n=100, method="inclusive")
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98]}
