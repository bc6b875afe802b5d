"""How long MongoDB's oplog will still hold what is not synced: a change stream cannot be resumed from before it.

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
    """Its first and its last entry, and how many bytes it holds and may hold."""

    oldest: Timestamp
    newest: Timestamp
    size_bytes: int
    max_bytes: int

    @property
    def capacity_s(self) -> float:
        """For how long it holds a change, if the rate of changes stays what it was."""
        fill = min(1.0, self.size_bytes / self.max_bytes)
        return float((self.newest.time - self.oldest.time) / max(fill, 1e-9))

    def left_s(self, synced: Timestamp) -> float:
        """How long from now until changes after `synced` fall out of it, at that rate. Below 0: some have."""
        if synced < self.oldest:
            return -1.0
        return self.capacity_s - (self.newest.time - synced.time)


async def read_oplog(client: MongoClient) -> Oplog | None:
    """The oplog now; None where we may not look (no right to read `local`), or where there is none (mongos).

    Raises the errors of `errors.from_mongo`.
    """
    local = client["local"]
    try:
        # A capped collection is stored in the order of its time: each of the two reads one entry.
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
    """What the replies say (pure); None where they do not: what cannot be measured is absent."""
    try:
        found = Oplog(oldest["ts"], newest["ts"], int(size["size"]), int(size["maxSize"]))
    except (LookupError, TypeError, ValueError, OverflowError):
        return None
    right = isinstance(found.oldest, Timestamp) and isinstance(found.newest, Timestamp) and found.max_bytes > 0
    return found if right else None
