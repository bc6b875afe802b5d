"""Scans skip no key, wherever keys stand that no cursor can hold; no server."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.keys import can_be_stored
from tsync_stream.core.model import BEGINNING_OF_TIME, Route
from tsync_stream.jobs import scan as scans
from tsync_stream.jobs.mass_delete import Orphans
from tsync_stream.jobs.scan import Sides, pages
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.documents import DocumentReader

ROUTE = Route("listings", "shop", "listings", "listings")
MOST_READS = 200


class Source:
    """Keys in index order; the number of reads and their size are bounded."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self.reads = 0

    def filters(self, route: Route) -> bool:
        return False

    async def scan_keys(self, route: Route, after: Mapping[str, Any] | None, not_before: Any, count: int) -> list[str]:
        self.reads += 1
        assert self.reads < MOST_READS
        assert count < 2**31
        first = 0 if after is None else self._keys.index(after["_id"]) + 1
        return list(self._keys[first : first + count])


async def scan(keys: Sequence[str], size: int, after: Mapping[str, Any] | None = None) -> list[tuple[list[str], Any]]:
    source = cast("DocumentReader", Source(keys))
    return [page async for page in pages(source, ROUTE, after, BEGINNING_OF_TIME, size)]


def keys_of(storable: Sequence[bool]) -> list[str]:
    """Keys, some of them as a driver decodes bytes that are not UTF-8."""
    return [f"key {number}" if well else f"key {number}\udcff" for number, well in enumerate(storable)]


def test_the_keys_are_storable_or_not_as_intended() -> None:
    assert [can_be_stored(key) for key in keys_of([True, False])] == [True, False]


@given(storable=st.lists(st.booleans(), max_size=40), size=st.integers(1, 7))
async def test_every_key_is_in_one_page_and_every_cursor_can_be_stored(storable: list[bool], size: int) -> None:
    keys = keys_of(storable)
    found = await scan(keys, size)
    assert [key for page, _ in found for key in page] == keys
    for page, cursor in found:
        assert page
        assert set(cursor) <= {"_id"}
        assert all(can_be_stored(key) for key in cursor.values())


@given(storable=st.lists(st.booleans(), min_size=1, max_size=40), size=st.integers(1, 7))
async def test_a_scan_resumes_at_any_cursor(storable: list[bool], size: int) -> None:
    keys = keys_of(storable)
    seen: list[str] = []
    for page, cursor in await scan(keys, size):
        seen += page
        rest = [key for later, _ in await scan(keys, size, {"phase": "scan", **cursor}) for key in later]
        assert set(seen) | set(rest) == set(keys)


@pytest.mark.parametrize("count", [1, 5, 100])
async def test_a_scan_ends_even_if_no_cursor_can_hold_its_last_keys(count: int) -> None:
    keys = keys_of([True, True, *[False] * count])
    found = await scan(keys, 3)
    assert [key for page, _ in found for key in page] == keys
    assert found[-1][1] == {"_id": keys[1]}


class Sweep:
    """Typesense with ids of which the source has every third."""

    def __init__(self, documents: int) -> None:
        self.ids = [str(number) for number in range(documents)]

    async def export_ids(self, collection: str, size: int) -> AsyncIterator[list[str]]:
        for first in range(0, len(self.ids), size):
            yield self.ids[first : first + size]

    async def existing_ids(self, route: Route, keys: Sequence[Any], not_before: Any) -> set[str]:
        return {str(key) for key in keys if int(key) % 3 == 0}


@pytest.mark.parametrize(("documents", "kept"), [(0, True), (30, True), (31, True), (32, False), (90, False)])
async def test_what_the_source_lacks_is_counted_and_kept_unless_it_is_much(
    monkeypatch: pytest.MonkeyPatch, documents: int, kept: bool
) -> None:
    monkeypatch.setattr(scans, "MOST_KEPT", 20)
    sweep = Sweep(documents)
    sides = Sides(ROUTE, cast("DocumentReader", sweep), cast("TypesenseTarget", sweep), 7)
    lacking = [name for name in sweep.ids if int(name) % 3]
    assert await sides.find_orphans(BEGINNING_OF_TIME) == Orphans(len(lacking), documents, lacking if kept else None)
