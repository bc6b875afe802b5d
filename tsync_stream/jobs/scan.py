"""Every key of the source, and every id of Typesense, page by page: for the jobs that look at all of them.

Invariant: no key is passed over, also where no cursor can hold it: a page ends with one that can be held, but the last.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.core.keys import can_be_stored
from tsync_stream.core.model import Key, Route
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.documents import DocumentReader


async def pages(
    source: DocumentReader, route: Route, after: Mapping[str, Any] | None, not_before: Timestamp, size: int
) -> AsyncGenerator[tuple[list[Key], dict[str, Key]], None]:
    """Pages of `size` keys in index order, each with what a cursor needs to go on behind it.

    `after` is such a cursor, or None for the beginning. Raises the errors of `errors.from_mongo`.
    """
    cursor = {"_id": after["_id"]} if after is not None and "_id" in after else {}
    count = size
    while True:
        keys = await source.scan_keys(route, cursor or None, not_before, count)
        stored = [place for place, key in enumerate(keys) if can_be_stored(key)]
        if stored:
            cursor = {"_id": keys[stored[-1]]}
        if len(keys) < count:  # the end
            if keys:
                yield keys, cursor
            return
        if not stored:
            count *= 2  # a whole read of keys that no cursor can hold: read past them
            continue
        count = size
        yield keys[: stored[-1] + 1], cursor


async def orphans(
    source: DocumentReader, target: TypesenseTarget, route: Route, not_before: Timestamp, size: int
) -> AsyncGenerator[tuple[int, list[str]], None]:
    """How many ids of Typesense were looked at, `size` at a time, and those for which the source has no possible key.

    Raises the errors of MongoDB and Typesense calls.
    """
    async with aclosing(target.export_ids(route.target, size)) as export:
        async for ids in export:
            keys = [key for document_id in ids for key in candidate_keys(document_id)]
            existing = await source.existing_ids(route, keys, not_before)
            yield len(ids), [document_id for document_id in ids if document_id not in existing]
