"""A good batching script, as one would write it by hand for this one task.

    python -m bench.peers.batching TOKEN_FILE

It follows the change stream with the documents in it, takes up to 1,000 changes or what comes within a tenth of a
second, merges those of one document, imports and deletes in one request each, and then saves its position in a file.
Without a position it first imports every existing document. It does not retry, recheck what a timeout left in doubt, or
share the work with a second process.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
from bson import json_util
from pymongo.change_stream import ChangeStream
from pymongo.collection import Collection

from bench.peers import connection
from bench.peers.connection import Document

BATCH_SIZE = 1_000
FLUSH_INTERVAL_S = 0.1
# A filter is part of the URL, whose length is limited.
DELETES_PER_REQUEST = 100


class Follower:
    """The whole script: an import of what exists, then batch after batch."""

    def __init__(self, source: Collection[Document], target: httpx.Client, token_path: Path) -> None:
        self._source = source
        self._target = target
        self._token_path = token_path

    def run(self) -> None:
        """Run until killed."""
        token = json_util.loads(self._token_path.read_text()) if self._token_path.exists() else None
        wait_ms = int(FLUSH_INTERVAL_S * 1_000)
        with self._source.watch(
            full_document="updateLookup", resume_after=token, batch_size=BATCH_SIZE, max_await_time_ms=wait_ms
        ) as changes:
            connection.say("ready")
            if token is None:
                for documents in in_batches(self._source.find(batch_size=BATCH_SIZE)):
                    self._import([line(each) for each in documents])
                self._save(changes.resume_token)
            while True:
                batch = next_batch(changes)
                if batch:
                    self._write(batch)
                    self._save(changes.resume_token)

    def _write(self, batch: Iterable[Any]) -> None:
        """The last change of each document counts; None means deleted."""
        newest: dict[str, Document | None] = {}
        for change in batch:
            newest[str(change["documentKey"]["_id"])] = change.get("fullDocument")
        self._import([line(document) for document in newest.values() if document is not None])
        gone = [key for key, document in newest.items() if document is None]
        for first in range(0, len(gone), DELETES_PER_REQUEST):
            filter_by = f"id:[{','.join(gone[first : first + DELETES_PER_REQUEST])}]"
            self._target.delete("", params={"filter_by": filter_by}).raise_for_status()

    def _import(self, lines: list[bytes]) -> None:
        if not lines:
            return
        answer = self._target.post("/import", params={"action": "upsert"}, content=b"\n".join(lines)).raise_for_status()
        for result in answer.content.split(b"\n"):
            if result != b'{"success":true}':
                print(f"refused: {result!r}", file=sys.stderr)

    def _save(self, token: Any) -> None:
        temporary = self._token_path.with_suffix(".new")
        temporary.write_text(json_util.dumps(token))
        temporary.replace(self._token_path)


def next_batch(changes: ChangeStream[Document]) -> list[Any]:
    """Up to BATCH_SIZE changes that arrive within FLUSH_INTERVAL_S of the first one."""
    batch: list[Any] = []
    ends_s = time.monotonic() + FLUSH_INTERVAL_S
    while len(batch) < BATCH_SIZE and time.monotonic() < ends_s:
        change = changes.try_next()
        if change is None:
            break
        if not batch:
            ends_s = time.monotonic() + FLUSH_INTERVAL_S
        batch.append(change)
    return batch


def in_batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The same, BATCH_SIZE at a time."""
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == BATCH_SIZE:
            yield batch
            batch = []
    if batch:
        yield batch


def line(document: Document) -> bytes:
    """A document as one line of an import; its `_id` becomes the `id`, as text."""
    return orjson.dumps({"id": str(document.pop("_id")), **document})


def main() -> None:
    """Run until the benchmark ends it."""
    connection.end_with_the_benchmark()
    with connection.typesense() as target:
        Follower(connection.source(), target, Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
