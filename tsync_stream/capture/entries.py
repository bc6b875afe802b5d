"""Sorting entries into partitions, for everything that produces them: capture and the jobs.

Invariants: of a document that changed several times in one batch there is one entry, since sync looks at what it is
now, whatever happened before; if a document of its id was deleted meanwhile, the entry says so, since what Typesense
shows is then none of the new one's; of a key that can never be an entry, the last event decides: its document is there,
which is a dead letter, or it is gone, and then nothing is left to be synced.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from bson.timestamp import Timestamp

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, DeadLetter, Entry, Key, Operation, Route, partitioner
from tsync_stream.state.dead_letters import record_id


class Entries:
    """The entries of one batch by partition; keys that cannot be a Typesense id go to `rejected`, or to `gone`.

    All are to be looked at for one reason, and as they are at one `cluster_time` or later.
    """

    def __init__(self, route: Route, partitions: int, reason: str, cluster_time: Timestamp = BEGINNING_OF_TIME) -> None:
        self._route = route
        self._reason = reason
        self._cluster_time = cluster_time
        self._partition_of = partitioner(route.name, partitions)
        self._by_partition: dict[int, dict[str, Entry]] = defaultdict(dict)
        self._rejected: dict[str, DeadLetter] = {}
        self._gone: dict[str, Key] = {}

    @property
    def by_partition(self) -> dict[int, list[Entry]]:
        """Of each Typesense document one entry: a delete, if one was added, or else the operation that came last."""
        return {partition: list(entries.values()) for partition, entries in self._by_partition.items()}

    @property
    def count(self) -> int:
        """How many there are, over all partitions."""
        return sum(map(len, self._by_partition.values()))

    @property
    def rejected(self) -> list[DeadLetter]:
        """A dead letter for each key that has a document and can never have a Typesense id."""
        return list(self._rejected.values())

    @property
    def gone(self) -> list[Key]:
        """Keys that could never have a Typesense id, and whose documents were deleted."""
        return list(self._gone.values())

    def add(self, keys: Collection[Key], operations: Sequence[str]) -> list[str | None]:
        """Add keys, each with what happened to it; returns their Typesense ids, None for one that has none."""
        ids: list[str | None] = []
        for entry in Entry.many(self._route.name, keys, operations, self._cluster_time, self._reason):
            try:
                document_id = typesense_id(entry.key)
            except DocumentRejected as error:
                self._reject(entry, error)
                ids.append(None)
                continue
            # Keys that share the id are looked up together, whichever of them is queued.
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
        """Add keys that a job wants looked at."""
        self.add(keys, Operation.CHECK * len(keys))

    def _reject(self, entry: Entry, error: DocumentRejected) -> None:
        record = record_id(self._route.name, entry.key)
        if entry.operation == Operation.DELETE:
            self._rejected.pop(record, None)
            self._gone[record] = entry.key
        else:
            self._gone.pop(record, None)
            self._rejected[record] = DeadLetter(self._route.name, entry.key, error.reason, error.detail)
