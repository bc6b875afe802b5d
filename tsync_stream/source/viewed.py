"""Reads the documents of some keys as a route's view shows them, although the view of one of them may fail.

An aggregation fails as a whole: for a document of which it would make more than 16 MB, or for a value that one of its
expressions does not accept. Invariants: what fails for one document costs that document alone: its keys are asked for
in halves, down to the one that fails, which is returned as `Unreadable`. What fails without any document is the route's
fault, and raises `RouteUnusable`. No document is returned twice.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

from bson.errors import BSONError
from pymongo.errors import OperationFailure, PyMongoError

from tsync_stream.core.errors import DocumentRejected, RouteUnusable, TsyncError
from tsync_stream.core.keys import canonical_key
from tsync_stream.core.model import Key
from tsync_stream.source.driver import MongoCollection, MongoSession
from tsync_stream.source.errors import from_mongo
from tsync_stream.source.undecodable import Unreadable
from tsync_stream.source.view import SourceView
from tsync_stream.source.view_errors import code_words, may_be_the_view, takes_too_long, why_not_shown

BY_KEY = [("_id", 1)]
# Below the driver's socket time-out (10 s): then the server says that it takes too long, and fewer keys are asked for.
MAX_TIME_MS = 8_000

Documents: TypeAlias = AsyncGenerator[list[dict[str, Any]], None]


class Division:
    """The parts of some keys that are still to be asked for, in order (pure). A part that fails is asked for in halves.

    A single key is asked for twice: what failed may have been the server's state, not the document.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._parts = [keys]
        self._last_chance = False

    def __iter__(self) -> Iterator[Sequence[Key]]:
        while self._parts:
            yield self._parts.pop()

    def ask_again(self, part: Sequence[Key], error: BaseException | None) -> bool:
        """Whether what failed with this error is asked for once more; False: it is the fault of this single document.

        Raises the error if it is no fault of any document.
        """
        if not may_be_the_view(error) and not (takes_too_long(error) and len(part) > 1):
            assert error is not None
            raise error
        half = len(part) // 2
        if half:
            self._parts += [part[half:], part[:half]]
            return True
        self._last_chance = not self._last_chance
        if self._last_chance:
            self._parts.append(part)
        return self._last_chance


class Viewed:
    """One route's documents in one session. `documents_of` decodes a cursor's replies, and raises our errors."""

    def __init__(
        self,
        route: str,
        view: SourceView,
        collection: MongoCollection,
        session: MongoSession,
        documents_of: Callable[[AsyncIterator[bytes]], Documents],
    ) -> None:
        self._route = route
        self._view = view
        self._collection = collection
        self._session = session
        self._documents_of = documents_of

    async def read(self, keys: Sequence[Key]) -> Documents:
        """The documents that the view shows, each list in the order of the index.

        Raises `RouteUnusable` if MongoDB refuses the view itself or its shape cannot be made, and the errors of
        `documents_of`.
        """
        shape = self._view.shape
        async with aclosing(self._found(keys)) as found:
            async for documents in found:
                yield documents if shape is None else await shape(documents)
                del documents  # not one reply in memory while the next one comes

    async def _found(self, keys: Sequence[Key]) -> Documents:
        """What MongoDB returns."""
        shown: set[bytes] = set()
        division = Division(keys)
        for part in division:
            try:
                async with aclosing(self._documents_of(self._cursor(part))) as found:
                    async for documents in found:
                        self._leave_out_those_shown(documents, shown)
                        if documents:
                            yield documents
                        del documents  # not one reply in memory while the next one comes
            except TsyncError as error:
                cause = error.__cause__
                if not isinstance(cause, OperationFailure):
                    raise
                if not await self._ask_again(division, part, cause):
                    yield [Unreadable({"_id": key}, *why_not_shown(cause)) for key in await self._stored(part)]

    async def existing(self, keys: Sequence[Key]) -> list[Key]:
        """Those of the keys that the filter matches, as stored; a document for which it fails counts as existing.

        Raises `RouteUnusable` if MongoDB refuses the filter itself, and the other errors of `from_mongo`.
        """
        found: list[Key] = []
        division = Division(keys)
        for part in division:
            try:
                found += await self._keys(self._view.query(part))
            except OperationFailure as error:
                if not await self._ask_again(division, part, error):
                    found += await self._stored(part)
            except (PyMongoError, BSONError) as error:
                raise from_mongo(error) from error
        return found

    async def _ask_again(self, division: Division, part: Sequence[Key], cause: OperationFailure) -> bool:
        try:
            again = division.ask_again(part, cause)
        except OperationFailure:
            raise from_mongo(cause) from cause
        if not again:
            await self._require_usable()
        return again

    def _cursor(self, keys: Sequence[Key]) -> AsyncIterator[bytes]:
        view, batch_size = self._view, len(keys) + 1
        # The hint: an index on a field of the filter must not replace the one that has the right order.
        cursor: AsyncIterator[bytes]
        if view.stages:
            cursor = self._collection.aggregate_raw_batches(
                view.pipeline(keys),
                session=self._session,
                batchSize=batch_size,
                maxTimeMS=MAX_TIME_MS,
                hint={"_id": 1},
                allowDiskUse=True,
            )
        else:
            cursor = self._collection.find_raw_batches(
                view.query(keys),
                view.projection,
                sort=BY_KEY,
                hint=BY_KEY,
                session=self._session,
                batch_size=batch_size,
                max_time_ms=MAX_TIME_MS,
            )
        return cursor

    async def _require_usable(self) -> None:
        """Ask for the documents of no keys: if that is refused too, no document is at fault."""
        try:
            async for _ in self._cursor([]):
                pass
        except OperationFailure as error:
            if may_be_the_view(error):
                raise self._unusable(
                    f"MongoDB refuses its filter, lookups or pipeline ({code_words(error)})"
                ) from error
            raise from_mongo(error) from error
        except (PyMongoError, BSONError) as error:
            raise from_mongo(error) from error

    def _leave_out_those_shown(self, documents: list[dict[str, Any]], shown: set[bytes]) -> None:
        """A cursor may fail after its first reply: what that held is found again."""
        try:
            keys = [canonical_key(document["_id"]) for document in documents]
        except (LookupError, DocumentRejected):
            raise self._unusable("its pipeline loses or replaces the `_id`") from None
        if not shown.isdisjoint(keys):
            documents[:] = [document for key, document in zip(keys, documents, strict=True) if key not in shown]
        shown.update(keys)

    async def _stored(self, keys: Sequence[Key]) -> list[Key]:
        """The keys as they are stored, in the order of the index."""
        try:
            return await self._keys({"_id": {"$in": keys}})
        except (PyMongoError, BSONError) as error:
            raise from_mongo(error) from error

    async def _keys(self, query: dict[str, Any]) -> list[Key]:
        cursor = self._collection.find(
            query, {"_id": 1}, sort=BY_KEY, hint=BY_KEY, session=self._session, max_time_ms=MAX_TIME_MS
        )
        return [document["_id"] async for document in cursor]

    def _unusable(self, problem: str) -> RouteUnusable:
        return RouteUnusable(f"route {self._route}: {problem}; nothing of it is written until that is fixed")
