"""Sorting entries into partitions, for everything that produces them: capture and the jobs.

Invariant: of a key that can never be an entry, the last event decides: its document is there, which is a dead letter,
or it is gone, and then nothing is left to be synced.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable

from bson.timestamp import Timestamp

from tsync_stream.dead_letters import DeadLetter, record_id
from tsync_stream.errors import DocumentRejected
from tsync_stream.model import BEGINNING_OF_TIME, Entry, Key, Operation, Route, partitioner
from tsync_stream.source.keys import typesense_id


class Entries:
    """Collects entries by partition; keys that cannot be a Typesense id go to `rejected`, or to `gone`."""

    def __init__(self, route: Route, partitions: int) -> None:
        self._route = route
        self._partition_of = partitioner(route.target, partitions)
        self.by_partition: dict[int, list[Entry]] = defaultdict(list)
        self.count = 0
        self._rejected: dict[str, DeadLetter] = {}
        self._gone: dict[str, Key] = {}

    @property
    def rejected(self) -> list[DeadLetter]:
        """A dead letter for each key that has a document and can never have a Typesense id."""
        return list(self._rejected.values())

    @property
    def gone(self) -> list[Key]:
        """Keys that could never have a Typesense id, and whose documents were deleted."""
        return list(self._gone.values())

    def add(self, entries: Iterable[Entry]) -> list[str | None]:
        """Add each behind the others of its partition; returns their Typesense ids, None for one that has none."""
        ids: list[str | None] = []
        for entry in entries:
            try:
                document_id = typesense_id(entry.key)
            except DocumentRejected as error:
                self._reject(entry, error)
                ids.append(None)
                continue
            self.by_partition[self._partition_of(document_id)].append(entry)
            ids.append(document_id)
        self.count += len(ids) - ids.count(None)
        return ids

    def add_keys(self, keys: Collection[Key], reason: str, cluster_time: Timestamp = BEGINNING_OF_TIME) -> None:
        """Add keys that a job wants looked at, as they were at `cluster_time` or later."""
        self.add(Entry.many(self._route.name, keys, Operation.CHECK * len(keys), cluster_time, reason))

    def _reject(self, entry: Entry, error: DocumentRejected) -> None:
        record = record_id(self._route.name, entry.key)
        if entry.operation == Operation.DELETE:
            self._rejected.pop(record, None)
            self._gone[record] = entry.key
        else:
            self._gone.pop(record, None)
            self._rejected[record] = DeadLetter(self._route.name, entry.key, error.reason, error.detail)
