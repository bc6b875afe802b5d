"""Sorting entries into partitions, for everything that produces them: capture and the jobs."""

from collections.abc import Iterable

from bson.timestamp import Timestamp

from tsync_stream.dead_letters import DeadLetter
from tsync_stream.errors import DocumentRejected
from tsync_stream.model import BEGINNING_OF_TIME, Entry, Key, Operation, Route, partition_of
from tsync_stream.queue.format import encode_entry
from tsync_stream.source.keys import typesense_id


class Entries:
    """Collects encoded entries by partition; keys that cannot be a Typesense id go to `rejected`."""

    def __init__(self, route: Route, partitions: int) -> None:
        self._route = route
        self._partitions = partitions
        self.payloads: dict[int, list[bytes]] = {}
        self.rejected: list[DeadLetter] = []
        self.count = 0

    def add(self, entry: Entry) -> None:
        """Add one entry behind the others of its partition."""
        try:
            document_id = typesense_id(entry.key)
        except DocumentRejected as error:
            self.rejected.append(DeadLetter(self._route.name, entry.key, error.reason, error.detail))
            return
        partition = partition_of(self._route.target, document_id, self._partitions)
        self.payloads.setdefault(partition, []).append(encode_entry(entry))
        self.count += 1

    def add_keys(self, keys: Iterable[Key], reason: str, cluster_time: Timestamp = BEGINNING_OF_TIME) -> None:
        """Add keys that a job wants looked at, as they were at `cluster_time` or later."""
        for key in keys:
            self.add(Entry(self._route.name, key, Operation.CHECK, cluster_time, reason))
