"""Finds the documents that refer to others, for changes of what a route looks up.

Invariants: majority reads from the primary, never older than the requested cluster time. A look while capture waits is
bounded: in the number of keys, and in time on the server.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from bson.errors import BSONError
from bson.timestamp import Timestamp
from pymongo import ReadPreference
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import Key
from tsync_stream.source.causal_session import CausalSession
from tsync_stream.source.decoding import decoded
from tsync_stream.source.documents import REPLY_DEADLINE_S, query_chunks
from tsync_stream.source.driver import MongoClient, MongoCollection
from tsync_stream.source.errors import code_of, from_mongo
from tsync_stream.source.undecodable import NOT_DECODED

# With an index, this takes milliseconds. Without one, capture would wait for it with every change.
LOOK_TIME_MS = 500
_TIME_OVER = 50  # MaxTimeMSExpired


class References:
    """Reads keys in one causally consistent session. Not for use by two tasks at once."""

    def __init__(self, client: MongoClient) -> None:
        self._client = client
        self._session = CausalSession(client)

    @property
    def operation_time(self) -> Timestamp:
        """MongoDB's time at the newest read: nothing newer was read."""
        return self._session.operation_time

    async def referring(
        self, place: tuple[str, str], path: str, references: Sequence[Key], not_before: Timestamp, most: int
    ) -> list[Key] | None:
        """The keys of a collection's documents whose field at `path` is, or holds, one of the references.

        None if there are more than `most`, or if MongoDB does not find them soon. Raises the errors of `from_mongo`.
        """
        found: list[Key] = []
        session = await self._session.after(not_before)
        for some in query_chunks([reference] for reference in references):
            left = most - len(found)
            cursor = self._collection(place).find_raw_batches(
                {path: {"$in": some}},
                {"_id": 1},
                session=session,
                limit=left + 1,
                batch_size=left + 2,
                max_time_ms=LOOK_TIME_MS,
            )
            try:
                async for raw in cursor:
                    found += [document["_id"] for document in decoded(raw)]
            except (PyMongoError, *NOT_DECODED) as error:
                if code_of(error) == _TIME_OVER:
                    return None
                raise from_mongo(error) from error
            if len(found) > most:
                return None
        return found

    async def pages(
        self, place: tuple[str, str], path: str, references: Sequence[Key], not_before: Timestamp, size: int
    ) -> AsyncGenerator[list[Key], None]:
        """The same keys, all of them, in pages of at most `size`. Raises the errors of `from_mongo`."""
        session = await self._session.after(not_before)
        for some in query_chunks([reference] for reference in references):
            cursor = self._collection(place).find_raw_batches(
                {path: {"$in": some}}, {"_id": 1}, session=session, batch_size=size
            )
            try:
                async for raw in cursor:
                    yield [document["_id"] for document in decoded(raw)]
            except (PyMongoError, *NOT_DECODED) as error:
                raise from_mongo(error) from error

    async def values(self, place: tuple[str, str], keys: Sequence[Key], path: str, not_before: Timestamp) -> list[Any]:
        """The value at `path` of each of these documents that exists and has one. Raises the errors of `from_mongo`."""
        found: list[Any] = []
        session = await self._session.after(not_before)
        try:
            for some in query_chunks([key] for key in keys):
                cursor = self._collection(place).find_raw_batches(
                    {"_id": {"$in": some}},
                    {"_id": 0, path: 1},
                    session=session,
                    batch_size=len(some) + 1,
                    max_time_ms=int(REPLY_DEADLINE_S * 1000),
                )
                async for raw in cursor:
                    found += [value for document in decoded(raw) for value in value_at(document, path)]
        except (PyMongoError, *NOT_DECODED, BSONError) as error:
            raise from_mongo(error) from error
        return found

    async def close(self) -> None:
        """End the session."""
        await self._session.close()

    def _collection(self, place: tuple[str, str]) -> MongoCollection:
        database, collection = place
        return self._client[database].get_collection(
            collection,
            codec_options=BSON_OPTIONS,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )


def value_at(document: Mapping[str, Any], path: str) -> list[Any]:
    """The value at a path through objects, as `$eq` in an aggregation sees it; none if there is none (pure)."""
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return []
        value = value[name]
    return [value]
