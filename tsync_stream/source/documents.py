"""Reads of the truth: the current documents of a batch's keys, and scans of every key.

Invariants: reads are majority reads from the primary, whatever the URI says, and never older than the cluster
time they are asked for (`afterClusterTime`, by a causally consistent session). A read is streamed: at most one
server reply (16 MB) is in memory at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import bson
from bson.timestamp import Timestamp
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import ReadPreference
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from tsync_stream.errors import DependencyUnavailable, from_mongo
from tsync_stream.model import BEGINNING_OF_TIME, Key, Route
from tsync_stream.source.keys import BSON_OPTIONS, canonical_key, typesense_id

# Decoding more than this would hold up the event loop, where the leases live.
DECODE_INLINE_BYTES = 1_000_000


class DocumentReader:
    """Reads one client's collections in one causally consistent session. Not for use by two tasks at once."""

    def __init__(self, client: AsyncIOMotorClient[Any], deadline_s: float) -> None:
        self._client = client
        self._deadline_s = deadline_s
        self._session: AsyncIOMotorClientSession | None = None

    async def read(
        self, route: Route, keys: Sequence[Key], not_before: Timestamp, batch_size: int
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The documents that exist, in no order, some at a time. Raises the errors of `errors.from_mongo`."""
        session = await self._session_after(not_before)
        cursor = source_collection(self._client, route).find_raw_batches(
            {"_id": {"$in": list(keys)}}, session=session, batch_size=batch_size
        )
        while True:
            try:
                # Around each reply, never around a yield: the time our caller takes is not the read's.
                async with asyncio.timeout(self._deadline_s):
                    raw = await anext(cursor, None)
            except TimeoutError as error:
                raise DependencyUnavailable(f"MongoDB: no documents within {self._deadline_s:g} s") from error
            except PyMongoError as error:
                raise from_mongo(error) from error
            if raw is None:
                return
            yield await _decode(raw)

    async def existing_ids(self, route: Route, keys: Sequence[Key]) -> set[str]:
        """The Typesense ids of those of `keys` that are in the source now; the `_id` index answers alone."""
        try:
            cursor = source_collection(self._client, route).find({"_id": {"$in": list(keys)}}, {"_id": 1})
            return {typesense_id(document["_id"]) async for document in cursor}
        except PyMongoError as error:
            raise from_mongo(error) from error

    async def scan_keys(
        self, route: Route, after: Mapping[str, Any] | None, not_before: Timestamp, count: int
    ) -> list[Key]:
        """The next `count` keys in `_id` index order behind `after["_id"]` (or from the beginning).

        `min` with a hint crosses BSON types, where `$gt` would stop silently at the end of one.
        """
        session = await self._session_after(not_before)
        collection = source_collection(self._client, route)
        limit = count + (after is not None)
        cursor = collection.find({}, {"_id": 1}, hint=[("_id", 1)], limit=limit, batch_size=limit, session=session)
        if after is not None:
            cursor = cursor.min([("_id", after["_id"])])
        try:
            keys = [document["_id"] async for document in cursor]
        except PyMongoError as error:
            raise from_mongo(error) from error
        # `min` includes its bound, which may have been deleted since.
        found_bound = after is not None and keys and canonical_key(keys[0]) == canonical_key(after["_id"])
        return keys[1:] if found_bound else keys[:count]

    async def close(self) -> None:
        """End the session."""
        if self._session is not None:
            await self._session.end_session()
            self._session = None

    async def _session_after(self, not_before: Timestamp) -> AsyncIOMotorClientSession:
        if self._session is None:
            self._session = await self._client.start_session(causal_consistency=True)
        if not_before > BEGINNING_OF_TIME:
            self._session.advance_operation_time(not_before)
        return self._session


def source_collection(client: AsyncIOMotorClient[Any], route: Route) -> AsyncIOMotorCollection[Any]:
    """The route's source, with the reads that our promises need."""
    return client[route.database].get_collection(
        route.collection,
        codec_options=BSON_OPTIONS,
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
    )


async def collection_uuid(client: AsyncIOMotorClient[Any], route: Route) -> bytes | None:
    """The source collection's UUID, or None if there is no such collection. A recreated one has another."""
    try:
        cursor = await client[route.database].list_collections(filter={"name": route.collection})
        async for information in cursor:
            return bytes(information["info"]["uuid"])
    except PyMongoError as error:
        raise from_mongo(error) from error
    return None


async def _decode(raw: bytes) -> list[dict[str, Any]]:
    if len(raw) <= DECODE_INLINE_BYTES:
        return bson.decode_all(raw, BSON_OPTIONS)
    return await asyncio.to_thread(bson.decode_all, raw, BSON_OPTIONS)
