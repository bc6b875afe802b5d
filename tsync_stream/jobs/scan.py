"""Every key of the source and every id of Typesense, page by page, for the jobs that go through all of them.

Invariants: no key is skipped, not even one that no cursor can hold: every page ends with a key that can be held, except
possibly the last one. Of a route with a filter, the keys are those that it matches; the pages are cut before they are
filtered, so that a filter that matches few documents makes short pages instead of long queries.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core.key_candidates import candidate_keys
from tsync_stream.core.keys import can_be_stored, canonical_key
from tsync_stream.core.model import Key, Route
from tsync_stream.core.tasks import in_order
from tsync_stream.jobs.mass_delete import Orphans
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.dead_letters import can_be_queued

ASK_AGAIN_INTERVAL_S = 1.0
# Pages of ids that are looked up while the export goes on.
SWEPT_AT_ONCE = 2
# Ids that only Typesense has. If there are more, they are read again when it is their turn.
MOST_KEPT = 10_000


async def pages(
    source: DocumentReader,
    route: Route,
    after: Mapping[str, Any] | None,
    not_before: Timestamp,
    size: int,
    at_most: Callable[[int], int] = int,
) -> AsyncGenerator[tuple[list[Key], dict[str, Key]], None]:
    """Pages of at most `size` keys in index order, each with what a cursor needs to go on behind it.

    Those that the route's filter matches. `after` is such a cursor, or None for the beginning. `at_most(size)` may make
    the next page smaller. Raises the errors of MongoDB calls.
    """
    async with aclosing(_all_pages(source, route, after, not_before, size, at_most)) as found:
        async for keys, cursor in found:
            yield await _matching(source, route, keys, not_before), cursor


async def pages_matching(
    source: DocumentReader,
    route: Route,
    query: Mapping[str, Any],
    after: Mapping[str, Any] | None,
    not_before: Timestamp,
    size: int,
) -> AsyncGenerator[tuple[list[Key], list[Key], dict[str, Key]], None]:
    """For each page of `size` keys: its keys, those of them that a query matches now, and what a cursor needs.

    The route's own filter says nothing here: sync decides what becomes of a key. A key that can be no Typesense id is
    left out. Raises the errors of MongoDB calls, and `RouteUnusable` if MongoDB refuses the query.
    """
    async with aclosing(_all_pages(source, route, after, not_before, size, int)) as found:
        async for keys, cursor in found:
            usable = [key for key in keys if can_be_queued(key)]
            yield keys, await source.matching_keys(route, query, usable, not_before), cursor


async def _all_pages(
    source: DocumentReader,
    route: Route,
    after: Mapping[str, Any] | None,
    not_before: Timestamp,
    size: int,
    at_most: Callable[[int], int],
) -> AsyncGenerator[tuple[list[Key], dict[str, Key]], None]:
    cursor = {"_id": after["_id"]} if after is not None and "_id" in after else {}
    count = at_most(size)
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
            count *= 2  # no cursor can hold any key of this read: read past them
            continue
        count = at_most(size)
        yield keys[: stored[-1] + 1], cursor


async def _matching(source: DocumentReader, route: Route, keys: list[Key], not_before: Timestamp) -> list[Key]:
    """The keys that the route's filter matches; one that can be no Typesense id is kept: it becomes a dead letter."""
    if not source.filters(route):
        return keys
    asked = {canonical_key(key): key for key in keys if can_be_queued(key)}
    existing = await source.existing_keys(route, list(asked.values()), not_before)
    gone = asked.keys() - {canonical_key(key) for key in existing}
    return [key for key in keys if not can_be_queued(key) or canonical_key(key) not in gone]


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of a route, for one job. `page_size` is how many keys or ids it looks at together."""

    route: Route
    source: DocumentReader
    target: TypesenseTarget
    page_size: int

    def keys(
        self, after: Mapping[str, Any] | None, not_before: Timestamp, at_most: Callable[[int], int] = int
    ) -> AsyncGenerator[tuple[list[Key], dict[str, Key]], None]:
        """The source's keys, as `pages` yields them."""
        return pages(self.source, self.route, after, not_before, self.page_size, at_most)

    def orphans(self, not_before: Timestamp) -> AsyncGenerator[tuple[int, list[str]], None]:
        """For each page of Typesense's ids: how many there are, and those for which the source has no possible key.

        Raises the errors of MongoDB and Typesense calls.
        """
        export = self.target.export_ids(self.route.target, self.page_size)
        return in_order(export, partial(self._lacking, not_before), SWEPT_AT_ONCE)

    async def _lacking(self, not_before: Timestamp, ids: list[str]) -> tuple[int, list[str]]:
        keys = [key for document_id in ids for key in candidate_keys(document_id)]
        existing = await self.source.existing_ids(self.route, keys, not_before)
        return len(ids), [document_id for document_id in ids if document_id not in existing]

    async def find_orphans(self, not_before: Timestamp) -> Orphans:
        """Count the documents of Typesense that the source lacks, and keep their ids unless they are many.

        Raises the errors of MongoDB and Typesense calls.
        """
        total = lacking = 0
        ids: list[str] = []
        async with aclosing(self.orphans(not_before)) as sweep:
            async for looked_at, found in sweep:
                total += looked_at
                lacking += len(found)
                ids += found[: MOST_KEPT - len(ids)]
        return Orphans(lacking, total, ids if lacking <= MOST_KEPT else None)

    async def until_settled(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Return once Typesense shows all it holds, or this is not wanted: after a restart it replays its log first."""
        while wanted() and not await self.target.settled():
            await asyncio.sleep(ASK_AGAIN_INTERVAL_S)
