"""Reads of the truth: the current documents of a batch's keys, and scans of every key.

Invariants: reads are majority reads from the primary, whatever the URI says, and never older than the requested cluster
time (`afterClusterTime`, by a causally consistent session). A read is streamed: at most one server reply (16 MB) is in
memory at a time, and once documents are known to be large, only a few MB. No query exceeds the size of a command,
however long the keys are. To a route, a document that its filter does not match does not exist.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from bson.errors import BSONError
from bson.timestamp import Timestamp
from pymongo import ReadPreference
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from tsync_stream.core.errors import DependencyUnavailable, TsyncError
from tsync_stream.core.keys import BSON_OPTIONS, can_be_stored, canonical_key, typesense_id
from tsync_stream.core.model import Key, Route
from tsync_stream.source.causal_session import CausalSessions
from tsync_stream.source.decoding import decode, decoded, portions, turn_for
from tsync_stream.source.driver import TIMEOUT_MS, MongoClient, MongoCollection, MongoHealth, MongoSession
from tsync_stream.source.errors import from_mongo, translated
from tsync_stream.source.undecodable import NOT_DECODED
from tsync_stream.source.view import MAX_VIEW_KEYS, SourceView
from tsync_stream.source.viewed import Documents, Viewed

# The keys of one `$in`. A command may have 16 MB, and a key about a kilobyte at most (MAX_KEY_BYTES): a quarter of the
# maximum keeps the server's own copies small, too.
MAX_QUERY_KEYS = 4_000
# About this much is requested at once, judging by the size of the documents that were read last.
READ_BYTES = 4_000_000
# The longest wait for one reply of a query: one socket time-out of the driver (10 s), and time to ask once more.
REPLY_DEADLINE_S = 15.0


class DocumentReader:
    """Reads one client's collections, causally consistent: what was read once is not read older. Reads may overlap.

    `views` has those of routes that do not show documents as they are. `dense_turn` is that of all readers of the
    process (`source/decoding.py`).
    """

    def __init__(
        self,
        client: MongoClient,
        deadline_s: float,
        views: Mapping[str, SourceView] = MappingProxyType({}),
        dense_turn: asyncio.Lock | None = None,
    ) -> None:
        self._client = client
        self._views = views
        self._dense_turn = dense_turn or asyncio.Lock()
        self._deadline_s = deadline_s
        # The limit of a query on the server. Without it, a limit configured on the server would end ours.
        self._max_time_ms = max(1, int(deadline_s * 1000))
        self._sessions = CausalSessions(client)
        self._sources: dict[Route, MongoCollection] = {}
        self._document_bytes = 1  # on average, in the last reply

    @property
    def operation_time(self) -> Timestamp:
        """MongoDB's time at the newest read, or `BEGINNING_OF_TIME` before the first: nothing newer was read.

        A read with this time as `not_before` returns nothing older than earlier reads.
        """
        return self._sessions.operation_time

    async def read(self, route: Route, key_groups: Sequence[Sequence[Key]], not_before: Timestamp) -> Documents:
        """The documents that exist, as the route's view shows them, in portions; they may be `Unreadable`.

        Raises `RouteUnusable` and the errors of `errors.from_mongo`. The documents of one group of keys (all that share
        a Typesense id) come in BSON order; groups in none.
        """
        view = self._views.get(route.name)
        most_keys = MAX_QUERY_KEYS if view is None or not view.stages else MAX_VIEW_KEYS
        done = 0
        async with self._sessions.after(not_before) as session:
            while done < len(key_groups):
                some = key_groups[done : done + max(1, READ_BYTES // self._document_bytes)]
                done += len(some)
                for keys in query_chunks(some, most_keys):
                    nothing = True
                    async with aclosing(self._found(route, keys, session)) as found:
                        async for documents in found:
                            nothing = False
                            yield documents
                            del documents  # not one reply in memory while the next one comes
                    if nothing:
                        # After large documents that were deleted since: otherwise all others would be read one by one.
                        self._document_bytes = max(1, self._document_bytes // 2)

    def _found(self, route: Route, keys: Sequence[Key], session: MongoSession) -> Documents:
        """What one query for these keys finds."""
        collection = self._source(route)
        view = self._views.get(route.name)
        if view is not None:
            return Viewed(route.name, view, collection, session, self._documents_of).read(keys)
        # The `_id` index has this order, so nothing is sorted. A reply with exactly `batch_size` documents would leave
        # the cursor open, and take another request to learn that there are no more.
        cursor = collection.find_raw_batches(
            {"_id": {"$in": keys}},
            sort=[("_id", 1)],
            session=session,
            batch_size=len(keys) + 1,
            max_time_ms=self._max_time_ms,
        )
        return self._documents_of(cursor)

    async def _documents_of(self, cursor: AsyncIterator[bytes]) -> Documents:
        """The documents of every reply, in portions; a dense one holds the process's turn until it is gone."""
        while (raw := await self._next_reply(cursor)) is not None:
            count = 0
            try:
                for portion in portions(raw):
                    async with turn_for(portion, self._dense_turn):
                        documents = await decode(portion)
                        count += len(documents)
                        if documents:
                            yield documents
                        del documents
            except NOT_DECODED as error:  # not even its lengths are right
                raise from_mongo(error) from error
            if count:
                self._document_bytes = max(1, len(raw) // count)

    async def _next_reply(self, cursor: AsyncIterator[bytes]) -> bytes | None:
        try:
            # Around each reply, never around a yield: our caller's time does not count.
            async with asyncio.timeout(self._deadline_s):
                return await anext(cursor, None)
        except TimeoutError as error:
            raise DependencyUnavailable(f"MongoDB: no documents within {self._deadline_s:g} s") from error
        except (PyMongoError, BSONError) as error:
            raise from_mongo(error) from error

    async def existing_ids(self, route: Route, keys: Sequence[Key], not_before: Timestamp) -> set[str]:
        """The Typesense ids of the keys that exist; without a filter, only the `_id` index is read."""
        return {typesense_id(key) for key in await self.existing_keys(route, keys, not_before)}

    async def existing_keys(self, route: Route, keys: Sequence[Key], not_before: Timestamp) -> list[Key]:
        """The keys of documents that exist, as stored; with a collation, possibly others too.

        A document exists if the route's filter matches it, or fails for it: what is shown of it, sync finds out.
        """
        if self.filters(route):
            return await self.matching_keys(route, self._views[route.name].filter, keys, not_before)
        collection = self._source(route)
        found: list[Key] = []
        async with self._sessions.after(not_before) as session, translated():
            for chunk in query_chunks([key] for key in keys):
                cursor = collection.find(
                    {"_id": {"$in": chunk}}, {"_id": 1}, session=session, max_time_ms=self._max_time_ms
                )
                found += [document["_id"] async for document in cursor]
        return found

    async def matching_keys(
        self, route: Route, query: Mapping[str, Any], keys: Sequence[Key], not_before: Timestamp
    ) -> list[Key]:
        """Those of the keys whose documents a query matches, as stored and in index order.

        A document for which the query fails is among them. Raises `RouteUnusable` if MongoDB refuses the query itself.
        """
        found: list[Key] = []
        async with self._sessions.after(not_before) as session:
            viewed = Viewed(route.name, SourceView(filter=query), self._source(route), session, self._documents_of)
            for chunk in query_chunks([key] for key in keys):
                found += await viewed.existing(chunk)
        return found

    async def scan_keys(
        self, route: Route, after: Mapping[str, Any] | None, not_before: Timestamp, count: int
    ) -> list[Key]:
        """The next `count` keys in `_id` index order after `after["_id"]` (or from the beginning).

        `min` with a hint crosses BSON types, where `$gt` would stop silently at the end of one.
        """
        collection = self._source(route)
        limit = count + (after is not None)
        bound = {} if after is None else {"min": {"_id": after["_id"]}}
        async with self._sessions.after(not_before) as session:
            cursor = collection.find_raw_batches(
                {},
                {"_id": 1},
                hint=[("_id", 1)],
                limit=limit,
                batch_size=limit,
                session=session,
                max_time_ms=self._max_time_ms,
                **bound,
            )
            try:
                keys = [document["_id"] async for raw in cursor for document in decoded(raw)]
            except (PyMongoError, *NOT_DECODED) as error:
                raise from_mongo(error) from error
        # `min` includes its bound, which may have been deleted since.
        first = canonical_key(keys[0]) if keys and can_be_stored(keys[0]) else None
        found_bound = after is not None and first == canonical_key(after["_id"])
        return keys[1:] if found_bound else keys[:count]

    def filters(self, route: Route) -> bool:
        """Whether some documents of the source may not exist to this route."""
        view = self._views.get(route.name)
        return view is not None and bool(view.filter)

    async def close(self) -> None:
        """End the sessions."""
        await self._sessions.close()

    def _source(self, route: Route) -> MongoCollection:
        if route not in self._sources:  # creating one takes as long as encoding a small query
            self._sources[route] = source_collection(self._client, route)
        return self._sources[route]


def source_collection(client: MongoClient, route: Route) -> MongoCollection:
    """The route's source, with the read concern and preference that our promises need."""
    return client[route.database].get_collection(
        route.collection,
        codec_options=BSON_OPTIONS,
        read_concern=ReadConcern("majority"),
        read_preference=ReadPreference.PRIMARY,
    )


async def look_at_source(client: MongoClient, health: MongoHealth, route: Route) -> None:
    """Read a source, as sync does. The leases and the epoch watch notice if our own state is out of reach."""
    source = source_collection(client, route)
    try:
        async with translated():
            await source.find_one({}, {"_id": 1}, max_time_ms=TIMEOUT_MS)
    except TsyncError as error:
        health.note(error)
        raise


async def count_documents(client: MongoClient, database: str, collection: str) -> int:
    """About how many documents the source has. It comes from metadata: free, but possibly off after a crash."""
    try:
        count: int = await client[database][collection].estimated_document_count()
    except (PyMongoError, BSONError) as error:
        raise from_mongo(error) from error
    return count


def query_chunks(key_groups: Iterable[Sequence[Key]], most_keys: int = MAX_QUERY_KEYS) -> Iterator[list[Key]]:
    """The keys in lists for one `$in` each, in the given order; no group is split (pure)."""
    chunk: list[Key] = []
    for group in key_groups:
        if chunk and len(chunk) + len(group) > most_keys:
            yield chunk
            chunk = []
        chunk += group
    if chunk:
        yield chunk
