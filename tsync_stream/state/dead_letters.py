"""Dead letters: one open record per key that could not be synced, with the reason.

Invariants: a record is majority-written before its entry is acked. Only a later success of the same key closes it, or a
person who discards it (`dead_letter_search.py`). It holds the key and the server's words, never the document, and every
key can be stored. Its `_id` is the hash of route and key, and its times are MongoDB's, so a selection by age involves a
single clock.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

import bson
from bson.binary import Binary
from bson.errors import BSONError
from pymongo import UpdateOne

from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import BSON_OPTIONS, canonical_key, typesense_id
from tsync_stream.core.model import SHOWS_ANOTHER, SHOWS_NOTHING, DeadLetter, Key, UnreadableKey
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import DEAD_LETTERS

MAX_ERROR_CHARACTERS = 500
# MongoDB limits an `_id` only by the document's size. Of a longer one the record holds the hash, so lists stay small.
MAX_KEY_BYTES = 16_384
KEPT_RESOLVED = timedelta(days=30)
OPEN_CHECK_INTERVAL_S = 1.0

# The reason of a document whose id another document owns.
ID_COLLISION = "id collision"


class DeadLetters:
    """The `dead_letters` collection. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase, count: Callable[[Iterable[DeadLetter]], None] = lambda _: None) -> None:
        """`count` is called with all letters that are written."""
        self._collection = database[DEAD_LETTERS]
        self._count = count
        self._some_open = True
        self._checked_s = float("-inf")
        self._news = 0  # counts events that an answer about open records, asked for earlier, does not include

    async def start(self) -> None:
        """Create the indexes that lists, counts and replays use; records resolved long ago expire."""
        async with translated():
            await self._collection.create_index([("status", 1), ("route", 1), ("reason", 1)])
            await self._collection.create_index([("status", 1), ("last_seen", -1)])
            await self._collection.create_index([("status", 1), ("queueable", 1), ("_id", 1)])
            await self._collection.create_index([("replayed_by", 1)], sparse=True)
            # An open record has no such time, so it stays.
            await self._collection.create_index(
                [("resolved_at", 1)], expireAfterSeconds=int(KEPT_RESOLVED.total_seconds())
            )

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """Open a record for each key, or count another attempt on the open one."""
        updates = [
            UpdateOne(
                {"_id": record_id(letter.route, letter.key)},
                [
                    {
                        "$set": {
                            "route": {"$literal": letter.route},
                            "key": {"$literal": _storable(letter.key)},
                            "queueable": can_be_queued(letter.key),
                            "shown": letter.shown,
                            "reason": {"$literal": letter.reason},
                            "error": {"$literal": _valid_text(letter.error)[:MAX_ERROR_CHARACTERS]},
                            "attempts": {"$cond": [_IS_OPEN, {"$add": ["$attempts", 1]}, 1]},
                            "first_seen": {"$cond": [_IS_OPEN, "$first_seen", "$$NOW"]},
                            "last_seen": "$$NOW",
                            "resolved_at": None,
                            "status": "open",
                        }
                    },
                    {"$unset": ["unseen_by", "discarded"]},
                ],
                upsert=True,
            )
            for letter in letters
        ]
        try:
            async with translated():
                await self._collection.bulk_write(updates, ordered=False)
        finally:
            # Also after an error: the records may have been written.
            self._news += 1
            self._some_open = True
        self._checked_s = time.monotonic()
        self._count(letters)

    def look_again(self) -> None:
        """A partition's new owner calls this: its last owner may have written records that we do not know."""
        self._news += 1
        self._some_open = True
        self._checked_s = float("-inf")

    async def resolve(self, route: str, keys: Iterable[Key]) -> int:
        """Close the open records of keys that were just synced; returns how many there were.

        Costs nothing while no record is open, which is looked up once a second. That is safe because only the owner of
        a key's partition writes its records: it knows its own, and a new owner calls `look_again`.
        """
        return await self.close(route, keys) if await self._any_open() else 0

    async def close(self, route: str, keys: Iterable[Key]) -> int:
        """Like `resolve`, but always looks: for keys whose records another replica may have written."""
        ids = [record_id(route, key) for key in keys]
        async with translated():
            result = await self._collection.update_many({"_id": {"$in": ids}, "status": "open"}, _CLOSE)
        return result.modified_count

    async def mark_unqueueable(self, route: str, job: str) -> None:
        """Mark the open records of keys that can never be queued, because `job` begins to scan every document.

        A record whose key fails again loses its mark, in whichever replica that happens.
        """
        unusable = {"status": "open", "queueable": False, "route": route, "unseen_by": {"$ne": job}}
        async with translated():
            await self._collection.update_many(unusable, {"$set": {"unseen_by": job}})

    async def close_marked(self, route: str, job: str) -> None:
        """Close what `mark_unqueueable` marked and still is: `job` has scanned every document, so these have none."""
        marked = {"status": "open", "queueable": False, "route": route, "unseen_by": job}
        async with translated():
            await self._collection.update_many(marked, _CLOSE)

    async def open_among(self, route: str, keys: Iterable[Key], *, unseen: bool = False) -> set[str]:
        """The `record_id`s of those keys that have an open record.

        `unseen`: only those of which Typesense shows no version, not even an older one.
        """
        condition: dict[str, Any] = {"_id": {"$in": [record_id(route, key) for key in keys]}, "status": "open"}
        if unseen:
            condition["$or"] = [{"shown": {"$in": [SHOWS_NOTHING, SHOWS_ANOTHER]}}, {"reason": ID_COLLISION}]
        async with translated():
            found = self._collection.find(condition, {"_id": 1})
            return {document["_id"] async for document in found}

    async def _any_open(self) -> bool:
        if time.monotonic() - self._checked_s > OPEN_CHECK_INTERVAL_S:
            news = self._news
            async with translated():
                some_open = await self._collection.find_one({"status": "open"}, {"_id": 1}) is not None
            # This answer may not include what was added, or became ours, meanwhile.
            self._some_open = some_open or self._news != news
            self._checked_s = time.monotonic()
        return self._some_open


_IS_OPEN = {"$eq": ["$status", "open"]}
_CLOSE = [{"$set": {"status": "resolved", "resolved_at": "$$NOW"}}]


def record_id(route: str, key: Key) -> str:
    """The `_id` of a key's record: 64 hexadecimal digits, of which people may use any unique prefix."""
    # Of the canonical bytes, because 12 and 12.0 are one key for MongoDB. The BSON string marks where the route ends.
    return sha256(bson.encode({"": _valid_text(route)}) + _key_bytes(key)).hexdigest()


def can_be_queued(key: Key) -> bool:
    """Whether a replay can help: the key has a Typesense id, so it is short and valid enough to be stored whole."""
    try:
        typesense_id(key)
    except (DocumentRejected, RecursionError):
        return False
    return True


def _key_bytes(key: Key) -> bytes:
    """The canonical bytes of a key; if it has none, the bytes that best distinguish it. Never raises."""
    if isinstance(key, UnreadableKey):
        return key.raw if len(key.raw) <= MAX_KEY_BYTES else sha256(key.raw).digest()
    try:
        found = canonical_key(key)
    except (DocumentRejected, RecursionError):
        found = b"\x02" + _original_bytes(key) if isinstance(key, str) else _encoded(key)
    return found if len(found) <= MAX_KEY_BYTES else sha256(found).digest()


def _storable(key: Key) -> Any:
    """The key as a record stores it: itself if BSON can hold it, its bytes otherwise. Never raises."""
    try:
        size = len(bson.encode({"": key}, codec_options=BSON_OPTIONS))
    except (BSONError, ValueError, OverflowError, RecursionError):
        return Binary(_key_bytes(key))
    return key if size <= MAX_KEY_BYTES else Binary(_key_bytes(key))


def _encoded(key: Key) -> bytes:
    try:
        return bson.encode({"": _with_valid_text(key)}, codec_options=BSON_OPTIONS)
    except (BSONError, ValueError, OverflowError, RecursionError) as error:
        # No source has such a key. All keys of its type share one record, which is better than none.
        return f"{type(key).__name__} ({type(error).__name__})".encode()


def _with_valid_text(value: Any) -> Any:
    """The value with all text made valid for BSON; what was invalid stays distinguishable."""
    if type(value) is str:
        return _valid_text(value)
    if isinstance(value, Mapping):
        return {_valid_text(str(name)): _with_valid_text(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_valid_text(item) for item in value]
    return value


def _valid_text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _original_bytes(text: str) -> bytes:
    """The bytes MongoDB sent: BSON_OPTIONS decode invalid UTF-8 to lone surrogates (surrogateescape)."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # surrogates that do not stand for a byte
        return text.encode(errors="surrogatepass")
