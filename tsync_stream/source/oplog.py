"""How long MongoDB's oplog will hold unsynced changes: a change stream cannot resume from before its first entry.

https://www.mongodb.com/docs/manual/core/replica-set-oplog/
"""

from dataclasses import dataclass
from typing import Any

from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure, PyMongoError

from tsync_stream.source.driver import MongoClient
from tsync_stream.source.errors import from_mongo

_DEADLINE_MS = 2_000


@dataclass(frozen=True, slots=True)
class Oplog:
    """The times of its first and last entries, and how many bytes it holds and may hold."""

    oldest: Timestamp
    newest: Timestamp
    size_bytes: int
    max_bytes: int

    @property
    def capacity_s(self) -> float:
        """For how long it holds a change, if the rate of changes stays the same."""
        fill = min(1.0, self.size_bytes / self.max_bytes)
        return float((self.newest.time - self.oldest.time) / max(fill, 1e-9))

    def left_s(self, synced: Timestamp) -> float:
        """How long until changes after `synced` fall out of it, at that rate. Below 0: some already have."""
        if synced < self.oldest:
            return -1.0
        return self.capacity_s - (self.newest.time - synced.time)


async def read_oplog(client: MongoClient) -> Oplog | None:
    """The oplog now; None if we may not read `local`, or if there is none (mongos).

    Raises the errors of `errors.from_mongo`.
    """
    local = client["local"]
    try:
        # A capped collection is stored in insertion order, so each of these reads one entry.
        ends = [
            await local["oplog.rs"].find_one({}, {"ts": 1}, sort=[("$natural", way)], max_time_ms=_DEADLINE_MS)
            for way in (1, -1)
        ]
        size = await local.command("collStats", "oplog.rs", maxTimeMS=_DEADLINE_MS)
    except OperationFailure:
        return None
    except PyMongoError as error:
        raise from_mongo(error) from error
    return oplog_of(ends[0], ends[1], size)


def oplog_of(oldest: Any, newest: Any, size: Any) -> Oplog | None:
    """The oplog that the replies describe, or None (pure): what cannot be measured is absent."""
    try:
        found = Oplog(oldest["ts"], newest["ts"], int(size["size"]), int(size["maxSize"]))
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    right = isinstance(found.oldest, Timestamp) and isinstance(found.newest, Timestamp) and found.max_bytes > 0
    return found if right else None
