"""The ceiling: JSON lines in memory, imported straight into Typesense, and nothing else.

python -m bench.peers.raw DOCUMENTS SIZE_IN_BYTES
"""

import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from bench.documents import batches
from bench.peers import connection
from tsync_stream.sink.mapping import encode_line, map_document
from tsync_stream.sink.mapping_plan import MappingOptions, Plan

_LINES_PER_REQUEST = 500
_REQUESTS_AT_ONCE = 2


def bodies(count: int, size_bytes: int) -> list[bytes]:
    """The requests' bodies."""
    plan = Plan(MappingOptions())
    lines = [encode_line(map_document(each, plan)) for batch in batches(count, size_bytes) for each in batch]
    return [b"\n".join(lines[first : first + _LINES_PER_REQUEST]) for first in range(0, count, _LINES_PER_REQUEST)]


def import_all(client: httpx.Client, requests: Sequence[bytes]) -> None:
    """Send all requests. Raises if a request or a single line is refused."""

    def send(body: bytes) -> None:
        answer = client.post("/import", params={"action": "upsert"}, content=body).raise_for_status()
        if b'"success":false' in answer.content:
            raise ValueError(f"an import refused a line: {answer.text[:300]}")

    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        for _ in pool.map(send, requests):
            pass


def main() -> None:
    """Prepare, wait for the signal to begin, import."""
    requests = bodies(int(sys.argv[1]), int(sys.argv[2]))
    with connection.typesense() as client:
        connection.wait_for_go()
        connection.end_with_the_benchmark()
        import_all(client, requests)
    signal.pause()  # its memory and CPU time have yet to be read


if __name__ == "__main__":
    main()
