"""Keys of a sample of a collection: chosen at random, and both ends of the `_id` index.

Both ends, because documents change over the years, and `_id` mostly grows with them.

Invariants: majority reads from the primary. Each query has a time limit on the server, and whatever does not finish
within it is left out. The number of keys is bounded, and smaller where documents are large, so that reading them is
bounded too.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson.errors import BSONError
from pymongo.errors import PyMongoError

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.keys import can_be_stored, canonical_key
from tsync_stream.core.model import Key, Route
from tsync_stream.source.decoding import decoded
from tsync_stream.source.documents import source_collection
from tsync_stream.source.driver import MongoClient, MongoCollection
from tsync_stream.source.errors import code_of, from_mongo
from tsync_stream.source.undecodable import NOT_DECODED

MOST_KEYS = 10_000
FEWEST_KEYS = 200
MOST_BYTES = 64_000_000
KEYS_OF_EACH_END = 500
QUERY_TIME_MS = 4_000
# MongoDB takes random documents without a scan only if they are fewer than one in twenty (`$sample`).
_SCANNED_SHARE = 20
_TIME_OVER = 50  # MaxTimeMSExpired


@dataclass(frozen=True, slots=True)
class Size:
    """About how large a collection is. `average_bytes` is 0 if the user may not know it."""

    documents: int
    average_bytes: int = 0

    @property
    def most_keys(self) -> int:
        """How many documents to sample: reading them takes a bounded number of bytes."""
        return MOST_KEYS if self.average_bytes * MOST_KEYS <= MOST_BYTES else self._fitting

    @property
    def _fitting(self) -> int:
        return max(FEWEST_KEYS, MOST_BYTES // self.average_bytes)


async def size_of(client: MongoClient, route: Route) -> Size:
    """The size of a route's source, from metadata. Raises the errors of `from_mongo`."""
    source = source_collection(client, route)
    try:
        documents = await source.estimated_document_count(maxTimeMS=QUERY_TIME_MS)
        average = 0
        try:
            async for stats in source.aggregate([{"$collStats": {"storageStats": {}}}], maxTimeMS=QUERY_TIME_MS):
                average = max(average, int(stats["storageStats"].get("avgObjSize", 0)))
        except PyMongoError as error:
            if code_of(error) is None:
                raise
    except (PyMongoError, BSONError) as error:
        raise from_mongo(error) from error
    return Size(int(documents), average)


async def sample_keys(
    client: MongoClient, route: Route, matching: Mapping[str, Any], size: Size, most: int = MOST_KEYS
) -> list[Key]:
    """Different keys of documents that a filter matches, in random order: some of them are a sample, too.

    If MongoDB cannot find enough of them in time, keys of other documents may be among them. A key that no query can
    hold is left out. Raises the errors of `from_mongo`, `DependencyUnavailable` if no query ends in time.
    """
    source = source_collection(client, route)
    most = min(most, size.most_keys)
    tried = [await _keys(source, _random(matching, size.documents, most))]
    if tried[0] is None and matching and size.documents > _SCANNED_SHARE * most:
        tried.append(await _keys(source, _random({}, size.documents, most)))
    if size.documents > most:
        for direction in (1, -1):
            end = [*_matched(matching), {"$sort": {"_id": direction}}, {"$limit": KEYS_OF_EACH_END}, _KEY_ALONE]
            tried.append(await _keys(source, end))
    found = [keys for keys in tried if keys is not None]
    if not found:
        raise DependencyUnavailable(f"MongoDB: it finds no document for a sample within {QUERY_TIME_MS / 1000:g} s")
    keys = [key for some in found for key in some if can_be_stored(key)]
    different = list({canonical_key(key): key for key in keys}.values())
    random.shuffle(different)
    return different


_KEY_ALONE = {"$project": {"_id": 1}}


def _random(matching: Mapping[str, Any], documents: int, most: int) -> Sequence[Mapping[str, Any]]:
    sample = {"$sample": {"size": most}}
    if documents <= most:
        return [*_matched(matching), {"$limit": 2 * most}, _KEY_ALONE]
    if not matching and documents > _SCANNED_SHARE * most:
        return [sample, _KEY_ALONE]
    # Keys alone are sorted in memory, not whole documents.
    return [*_matched(matching), _KEY_ALONE, sample]


def _matched(matching: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [{"$match": matching}] if matching else []


async def _keys(source: MongoCollection, pipeline: Sequence[Mapping[str, Any]]) -> list[Key] | None:
    """The keys that a pipeline gives; None if that takes too long."""
    keys: list[Key] = []
    try:
        async for raw in source.aggregate_raw_batches(pipeline, maxTimeMS=QUERY_TIME_MS):
            keys += [document["_id"] for document in decoded(raw)]
    except (PyMongoError, *NOT_DECODED) as error:
        if code_of(error) == _TIME_OVER:
            return None
        raise from_mongo(error) from error
    return keys
