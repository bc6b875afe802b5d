"""Sorts entries of a route into partitions, for whatever produces them: capture and the jobs.

Invariants: a document that changed several times in one batch has one entry, because sync reads what it is now. If a
document of its id was deleted in between, the entry says so, because what Typesense shows is then not a version of the
new one. Of a key that can never be an entry the last event decides: its document exists and becomes a dead letter, or
it is gone and nothing is left to sync.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from bson.timestamp import Timestamp

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, DeadLetter, Entry, Key, Operation, Route, partitioner
from tsync_stream.state.dead_letters import record_id


class Entries:
    """One route's entries of a batch, by partition; keys that cannot be a Typesense id go to `rejected` or `gone`.

    All have one reason, and sync reads their documents as they are at `cluster_time` or later.
    """

    def __init__(self, route: Route, partitions: int, reason: str, cluster_time: Timestamp = BEGINNING_OF_TIME) -> None:
        self.route = route
        self.reason = reason
        self._cluster_time = cluster_time
        self._partition_of = partitioner(route.name, partitions)
        self._by_partition: dict[int, dict[str, Entry]] = defaultdict(dict)
        self._rejected: dict[str, DeadLetter] = {}
        self._gone: dict[str, Key] = {}

    @property
    def by_partition(self) -> dict[int, list[Entry]]:
        """One entry for each Typesense document: a delete if one was added, otherwise the last operation."""
        return {partition: list(entries.values()) for partition, entries in self._by_partition.items()}

    @property
    def count(self) -> int:
        """The number of entries in all partitions."""
        return sum(map(len, self._by_partition.values()))

    @property
    def ids(self) -> list[str]:
        """The Typesense ids of all entries."""
        return [document_id for entries in self._by_partition.values() for document_id in entries]

    @property
    def counts(self) -> dict[str, int]:
        """The number of entries, by the route's name."""
        return {self.route.name: self.count}

    @property
    def rejected(self) -> list[DeadLetter]:
        """A dead letter for each key whose document exists and that can never be a Typesense id."""
        return list(self._rejected.values())

    @property
    def gone(self) -> list[Key]:
        """Keys that can never be a Typesense id, and whose documents were deleted."""
        return list(self._gone.values())

    def add(self, keys: Collection[Key], operations: Sequence[str]) -> list[str | None]:
        """Add keys, each with its operation; returns their Typesense ids, None for a key that has none."""
        ids: list[str | None] = []
        for entry in Entry.many(self.route.name, keys, operations, self._cluster_time):
            try:
                document_id = typesense_id(entry.key)
            except DocumentRejected as error:
                self._reject(entry, error)
                ids.append(None)
                continue
            # Sync looks up all keys that share the id, whichever of them is queued.
            self._by_partition[self._partition_of(document_id)][document_id] = entry
            ids.append(document_id)
        if Operation.DELETE in operations:
            self._keep_deletes(ids, operations)
        return ids

    def _keep_deletes(self, ids: Sequence[str | None], operations: Sequence[str]) -> None:
        for document_id, operation in zip(ids, operations, strict=True):
            if operation == Operation.DELETE and document_id is not None:
                entries = self._by_partition[self._partition_of(document_id)]
                entries[document_id] = entries[document_id]._replace(operation=Operation.DELETE)

    def add_keys(self, keys: Collection[Key]) -> None:
        """Add keys whose documents need not have changed themselves."""
        self.add(keys, Operation.CHECK * len(keys))

    def _reject(self, entry: Entry, error: DocumentRejected) -> None:
        record = record_id(self.route.name, entry.key)
        if entry.operation == Operation.DELETE:
            self._rejected.pop(record, None)
            self._gone[record] = entry.key
        else:
            self._gone.pop(record, None)
            self._rejected[record] = DeadLetter(self.route.name, entry.key, error.reason, error.detail)


def joined(entries: Sequence[Entries]) -> dict[int, list[Entry]]:
    """The entries of several routes by partition, those of a route together: runs of a route are written as one."""
    if len(entries) == 1:
        return entries[0].by_partition
    result: dict[int, list[Entry]] = defaultdict(list)
    for of_route in entries:
        for partition, found in of_route.by_partition.items():
            result[partition] += found
    return result
