"""The change stream of one collection, read in whole `getMore` batches and cut down to the keys by the server.

Invariants: a batch's token covers exactly the changes up to its end; an idle stream still yields its new
token (the post-batch resume token), so that a quiet collection's position does not age out of the oplog.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bson.errors import BSONError
from bson.int64 import Int64
from bson.timestamp import Timestamp
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorDatabase
from pymongo import ReadPreference
from pymongo.errors import OperationFailure, PyMongoError

from tsync_stream.errors import ConfigurationError, PositionLost, TsyncError, from_mongo
from tsync_stream.model import Token
from tsync_stream.source.keys import BSON_OPTIONS

# Whatever the document's size, an event is a few hundred bytes: events over 16 MB (code 10334) cannot happen. Flat,
# for every object in an event is one more to be made for each change.
_KEYS_ONLY = {"$project": {"operation": "$operationType", "time": "$clusterTime", "key": "$documentKey._id"}}

# The server ends the stream after these: what follows (a renamed collection's documents, say) sends no events.
ENDING_OPERATIONS = frozenset({"drop", "rename", "dropDatabase", "invalidate"})

# What MongoDB 6.0 answers to a token that was cut, or that another product made (resume_token.cpp, key_string.cpp):
# FailedToParse, Overflow, no `_data`, an empty one, and the reader's own codes for what it misses in it.
_TOKEN_CODES = frozenset({9, 15, 40647, 40649, *range(50790, 50880)})


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Change events, in order, and the token that they end at.

    Of an event there are `operation` (the server's `operationType`), `time` (its `clusterTime`), `key` (the document's
    `_id`, where it is about one), and its own token as `_id`.

    `cluster_time` is the last change's, or, where there is none, the server's operation time.
    """

    changes: Sequence[Mapping[str, Any]]
    token: Token
    cluster_time: Timestamp


class ChangeStream:
    """One open server-side cursor. Make it with `open`, use it in one task, `close` it."""

    def __init__(
        self, database: AsyncIOMotorDatabase[Any], collection: str, session: AsyncIOMotorClientSession
    ) -> None:
        self._database = database
        self._collection = collection
        self._session = session
        self._cursor_id = 0
        self._first_batch: ChangeBatch | None = None

    @classmethod
    async def open(
        cls, database: AsyncIOMotorDatabase[Any], collection: str, after: Token | None, batch_size: int
    ) -> "ChangeStream":
        """Open the stream after a token, or from now. Raises the errors of `errors.from_mongo`."""
        try:
            # A getMore of one's own must run in the session of its aggregate, or the server refuses it.
            session = await database.client.start_session(causal_consistency=False)
        except PyMongoError as error:
            raise from_mongo(error) from error
        stream = cls(database, collection, session)
        try:
            await stream._open(after, batch_size)
        except (PyMongoError, BSONError, TsyncError) as error:
            await stream.close()
            # The command is always the same but for the token: what the server cannot parse in it is the token.
            if after is not None and isinstance(error, OperationFailure) and error.code in _TOKEN_CODES:
                raise PositionLost(f"MongoDB code {error.code}: it cannot read the resume token") from error
            raise from_mongo(error) from error
        return stream

    async def _open(self, after: Token | None, batch_size: int) -> None:
        change_stream: dict[str, Any] = {} if after is None else {"resumeAfter": after}
        command = {
            "aggregate": self._collection,
            "pipeline": [{"$changeStream": change_stream}, _KEYS_ONLY],
            "cursor": {"batchSize": batch_size},
            "readConcern": {"level": "majority"},
        }
        reply = await self._run(command)
        self._cursor_id = reply["cursor"]["id"]
        self._first_batch = self._batch(reply, "firstBatch")

    async def next_batch(self, batch_size: int, wait_s: float) -> ChangeBatch:
        """The next changes, at most `batch_size`; none after `wait_s` without any, but the newest token.

        Raises `PositionLost` where the stream ends (drop, rename, invalidate) or cannot go on, and the other
        errors of `errors.from_mongo`. After an error the stream is of no more use.
        """
        if self._first_batch is not None:
            batch, self._first_batch = self._first_batch, None
            return batch
        if not self._cursor_id:
            raise PositionLost("the change stream has ended")
        command = {
            "getMore": Int64(self._cursor_id),
            "collection": self._collection,
            "batchSize": batch_size,
            "maxTimeMS": max(1, int(wait_s * 1000)),
        }
        try:
            reply = await self._run(command)
        except (PyMongoError, BSONError) as error:
            raise from_mongo(error) from error
        self._cursor_id = reply["cursor"]["id"]
        return self._batch(reply, "nextBatch")

    async def close(self) -> None:
        """Give the cursor back to the server, if it still answers."""
        if self._cursor_id:
            with suppress(PyMongoError):
                await self._run({"killCursors": self._collection, "cursors": [Int64(self._cursor_id)]})
        await self._session.end_session()

    async def _run(self, command: dict[str, Any]) -> dict[str, Any]:
        return await self._database.command(
            command, session=self._session, read_preference=ReadPreference.PRIMARY, codec_options=BSON_OPTIONS
        )

    def _batch(self, reply: Mapping[str, Any], name: str) -> ChangeBatch:
        cursor = reply["cursor"]
        token = cursor.get("postBatchResumeToken")
        if token is None:
            raise ConfigurationError("MONGODB_URI: this server sends no post-batch resume tokens (MongoDB 4.2 does)")
        changes = cursor[name]
        # The operation time may be ahead of what the batch has come to: its token is at its last change.
        return ChangeBatch(changes, token, changes[-1]["time"] if changes else reply["operationTime"])
