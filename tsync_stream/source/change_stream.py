"""The change stream of our collections, read in whole `getMore` batches and reduced to keys by the server.

Invariants: a batch's token covers exactly the changes up to its end; an idle stream still yields its new
token (the post-batch resume token), so that a quiet collection's position does not age out of the oplog.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import ReadPreference
from pymongo.errors import OperationFailure, PyMongoError

from tsync_stream.core.errors import ConfigurationError, PositionLost, TsyncError
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import Token
from tsync_stream.source.driver import MongoClient, MongoDatabase, MongoSession
from tsync_stream.source.errors import from_mongo
from tsync_stream.source.stream_scope import StreamScope
from tsync_stream.source.undecodable import NOT_DECODED, decoded_by_field, elements, field_of

# Replies are read as bytes: one key that cannot be decoded must not cost the whole reply.
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

# The server ends the stream of a collection after these; later changes (of the renamed collection, say) send no events.
# Streams of a database or cluster go on, unless `invalidate` says otherwise: it follows a database's dropDatabase.
ENDING_OPERATIONS = frozenset({"drop", "rename", "dropDatabase", "invalidate"})

# How MongoDB 4.4 to 8 answer a token that was truncated, or made by another product (resume_token.cpp,
# key_string.cpp): FailedToParse, Overflow, a `_data` that is missing, empty or wrong, codes of the reader for what is
# missing in it, and those for tokens of the second version.
_TOKEN_CODES = frozenset(
    {9, 15, *range(40646, 40650), *range(50790, 50880), *range(51055, 51058), *range(6189500, 6189505), 7182501}
)
_MAX_TIME_EXPIRED = 50
_UNKNOWN_OPTION = 40415
# BSONObjectTooLarge. An event holds the key a second time, in its resume token, in hexadecimal.
_TOO_LARGE = 10334

_NOT_MONGODB = "MONGODB_URI: this server is not supported, MongoDB 4.4 or newer is needed: its change stream has no "
# How long opening may take if no long scan is expected, and how long closing may take.
OPENING_S = 30.0
_CLOSING_S = 1.0


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Change events, in order, and the token at which they end.

    An event has `operation` (the server's `operationType`), `time` (its `clusterTime`), `key` (the document's `_id`, if
    it is about a document), and its own token as `_id`. If they were asked for, an update has the paths that it changed
    as `changed`, unless they are too many, and an event of a collection that keeps pre-images has the fields that were
    asked for as `before`. In a stream of several collections an event also has `namespace`:
    `database.collection`, with nothing behind the dot if it is about a database. There a rename has the new name as
    `to`, with `db` and `coll`.

    `cluster_time` is that of the last change or, if there is none, the server's operation time.
    """

    changes: Sequence[Mapping[str, Any]]
    token: Token
    cluster_time: Timestamp


class ChangeStream:
    """One open server-side cursor. Create it with `open`, use it in one task, `close` it."""

    def __init__(self, database: MongoDatabase, scope: StreamScope, session: MongoSession) -> None:
        self._database = database
        self._scope = scope
        self._session = session
        self._cursor_id = 0
        self._first_batch: ChangeBatch | None = None

    @classmethod
    async def open(
        cls,
        client: MongoClient,
        scope: StreamScope,
        start: Token | Timestamp | None,
        batch_size: int,
        longest_opening_s: float = OPENING_S,
    ) -> "ChangeStream":
        """Open the stream after a token, from a moment on, or from now on. Raises the errors of `errors.from_mongo`.

        The server scans the oplog from the token on, which may take long. Raises `PositionLost` if it takes longer than
        `longest_opening_s`, since the next attempt would not be faster.
        """
        try:
            # A getMore command must run in the session of its aggregate, or the server refuses it.
            session = await client.start_session(causal_consistency=False)
        except PyMongoError as error:
            raise from_mongo(error) from error
        stream = cls(client[scope.database], scope, session)
        try:
            await stream._open(start, batch_size, longest_opening_s)
        except (PyMongoError, BSONError, TsyncError) as error:
            await stream.close()
            code = error.code if start is not None and isinstance(error, OperationFailure) else None
            # Only the token differs between commands: if the server cannot parse one, it is because of the token.
            if code in _TOKEN_CODES:
                raise PositionLost(f"MongoDB code {code}: it cannot read the resume token") from error
            if code == _MAX_TIME_EXPIRED:
                raise PositionLost(f"MongoDB did not reach the position within {longest_opening_s:g} s") from error
            raise _translated(error) from error
        return stream

    async def _open(self, start: Token | Timestamp | None, batch_size: int, longest_s: float) -> None:
        try:
            await self._aggregate(start, batch_size, longest_s)
        except OperationFailure as error:
            if error.code != _UNKNOWN_OPTION or not self._scope.before:
                raise
            # Before MongoDB 6.0. Routes that need pre-images cannot be used there, and others can.
            self._scope = replace(self._scope, before=())
            await self._aggregate(start, batch_size, longest_s)

    async def _aggregate(self, start: Token | Timestamp | None, batch_size: int, longest_s: float) -> None:
        command = {
            "aggregate": self._scope.aggregate,
            "pipeline": self._scope.stages(start),
            "cursor": {"batchSize": batch_size},
            "readConcern": {"level": "majority"},
            # For this command alone. Without it, a limit configured on the server would end the scan.
            "maxTimeMS": int(longest_s * 1000),
        }
        self._cursor_id, self._first_batch = read_reply(await self._run(command), "firstBatch")

    async def next_batch(self, batch_size: int, wait_s: float) -> ChangeBatch:
        """The next changes, at most `batch_size`; after `wait_s` without changes, only the newest token.

        Raises `PositionLost` if the stream ends (drop, rename, invalidate) or cannot continue, and the other errors of
        `errors.from_mongo`. After an error the stream cannot be used any more.
        """
        if self._first_batch is not None:
            batch, self._first_batch = self._first_batch, None
            return batch
        if not self._cursor_id:
            raise PositionLost("the change stream has ended")
        command = {
            "getMore": Int64(self._cursor_id),
            "collection": self._scope.cursor_collection,
            "batchSize": batch_size,
            "maxTimeMS": max(1, int(wait_s * 1000)),
        }
        try:
            self._cursor_id, batch = read_reply(await self._run(command), "nextBatch")
        except (PyMongoError, BSONError) as error:
            raise _translated(error) from error
        return batch

    async def close(self) -> None:
        """Close the cursor on the server, if it answers soon."""
        if self._cursor_id:
            with suppress(PyMongoError, TimeoutError):
                async with asyncio.timeout(_CLOSING_S):
                    await self._run({"killCursors": self._scope.cursor_collection, "cursors": [Int64(self._cursor_id)]})
        await self._session.end_session()

    async def _run(self, command: dict[str, Any]) -> dict[str, Any]:
        reply: RawBSONDocument = await self._database.command(
            command, session=self._session, read_preference=ReadPreference.PRIMARY, codec_options=_RAW
        )
        raw = bytes(reply.raw)
        try:
            return bson.decode(raw, BSON_OPTIONS)
        except NOT_DECODED:
            return _decoded_by_event(raw)


def read_reply(reply: Mapping[str, Any], name: str) -> tuple[int, ChangeBatch]:
    """The cursor's id, 0 at its end, and the batch with this name (pure).

    Raises `ConfigurationError` for a reply that lacks what a change stream needs: other products send such replies.
    """
    try:
        cursor = reply["cursor"]
        token, changes = cursor["postBatchResumeToken"], cursor[name]
        # The operation time may be ahead of the batch, whose token is that of its last change.
        time = changes[-1]["time"] if changes else reply["operationTime"]
        cursor_id = int(cursor["id"])
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{_NOT_MONGODB}{error}") from error
    if not (isinstance(token, Mapping) and isinstance(changes, list) and isinstance(time, Timestamp)):
        raise ConfigurationError(f"{_NOT_MONGODB}reply of the usual form")
    return cursor_id, ChangeBatch(changes, token, time)


def _translated(error: Exception) -> TsyncError:
    if isinstance(error, OperationFailure) and error.code == _TOO_LARGE:
        return PositionLost(
            f"MongoDB code {error.code}: a change is too large to be sent, since its document's `_id` has megabytes"
        )
    return from_mongo(error)


def _decoded_by_event(reply: bytes) -> dict[str, Any]:
    """A reply with a key that the driver cannot decode: every event, and every field in it, is decoded by itself."""
    result = decoded_by_field(reply)
    cursor = field_of(reply, b"cursor") or b""
    result["cursor"] = decoded_by_field(cursor)
    for name in ("firstBatch", "nextBatch"):
        events = field_of(cursor, name.encode())
        if events is not None:
            found = (events[item.value : item.end] for item in elements(events))
            result["cursor"][name] = [decoded_by_field(event) for event in found]
    return result
