"""Dead letters: one open record per key that could not be synced, with the reason.

Invariants: a record is majority-written before its entry is acked; it is closed only by a later success of the
same key; it holds the key and the server's words, never the document.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson.binary import Binary
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import UpdateOne

from tsync_stream.model import Key
from tsync_stream.source.keys import canonical_key
from tsync_stream.state import DEAD_LETTERS, translated

MAX_ERROR_CHARACTERS = 500
OPEN_CHECK_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A key that failed, why (a short class of reasons), and the words of whoever refused it."""

    route: str
    key: Key
    reason: str
    error: str


class DeadLetters:
    """The `dead_letters` collection. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: AsyncIOMotorDatabase[Any]) -> None:
        self._collection = database[DEAD_LETTERS]
        self._some_open = True
        self._checked_s = float("-inf")

    async def start(self) -> None:
        """Make the indexes that lists and counts use."""
        async with translated():
            await self._collection.create_index([("status", 1), ("route", 1), ("reason", 1)])

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """Open a record for each key, or count another attempt on the open one."""
        now = datetime.now(UTC)
        updates = [
            UpdateOne(
                {"_id": _record_id(letter.route, letter.key)},
                [
                    {
                        "$set": {
                            "route": {"$literal": letter.route},
                            "key": {"$literal": letter.key},
                            "reason": {"$literal": letter.reason},
                            "error": {"$literal": letter.error[:MAX_ERROR_CHARACTERS]},
                            "attempts": {"$cond": [_IS_OPEN, {"$add": ["$attempts", 1]}, 1]},
                            "first_seen": {"$cond": [_IS_OPEN, "$first_seen", now]},
                            "last_seen": now,
                            "resolved_at": None,
                            "status": "open",
                        }
                    }
                ],
                upsert=True,
            )
            for letter in letters
        ]
        async with translated():
            await self._collection.bulk_write(updates, ordered=False)
        self._some_open = True
        self._checked_s = time.monotonic()

    async def resolve(self, route: str, keys: Iterable[Key]) -> int:
        """Close the open records of keys that were just synced; returns how many there were.

        Costs nothing while none is open: that is looked up once a second, and whoever owns a key's partition
        writes its records, so that a fresh record of ours is always seen.
        """
        if not await self._any_open():
            return 0
        ids = [_record_id(route, key) for key in keys]
        change = {"$set": {"status": "resolved", "resolved_at": datetime.now(UTC)}}
        async with translated():
            result = await self._collection.update_many({"_id": {"$in": ids}, "status": "open"}, change)
        return result.modified_count

    async def count_open(self) -> int:
        """How many records are open."""
        async with translated():
            return await self._collection.count_documents({"status": "open"})

    async def _any_open(self) -> bool:
        if time.monotonic() - self._checked_s > OPEN_CHECK_INTERVAL_S:
            async with translated():
                self._some_open = await self._collection.find_one({"status": "open"}, {"_id": 1}) is not None
            self._checked_s = time.monotonic()
        return self._some_open


_IS_OPEN = {"$eq": ["$status", "open"]}


def _record_id(route: str, key: Key) -> dict[str, Any]:
    # The canonical bytes: 12 and 12.0 are one key for MongoDB, but not as a value inside a document.
    return {"route": route, "key": Binary(canonical_key(key))}
