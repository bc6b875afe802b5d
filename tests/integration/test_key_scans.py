"""Scans of all keys on a real MongoDB: every key once, in index order, across all BSON types."""

import bson
import pytest
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.objectid import ObjectId

from tests.integration.conftest import Client, Collection, scan
from tests.support.keys import KEYS_OF_EVERY_TYPE, assert_same_keys
from tests.support.undecodable import WRONG_BINARY, document_of, element, insertion
from tsync_stream.core.errors import RouteUnusable
from tsync_stream.core.model import BEGINNING_OF_TIME, Route, UnreadableKey
from tsync_stream.jobs.scan import pages, pages_matching
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.dead_letters import can_be_queued

SCANNED = [key for key in KEYS_OF_EVERY_TYPE if not isinstance(key, MaxKey)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
async def test_a_scan_crosses_all_types_without_skipping_or_repeating(
    reader: DocumentReader, route: Route, source: Collection, count: int
) -> None:
    shuffled = SCANNED[::2] + SCANNED[1::2]
    await source.insert_many([{"_id": key} for key in shuffled])
    assert_same_keys(await scan(reader, route, count), SCANNED)


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_scan_resumes_after_a_deleted_key(
    reader: DocumentReader, route: Route, source: Collection, count: int
) -> None:
    await source.insert_many([{"_id": key} for key in SCANNED])
    for place, bound in enumerate(SCANNED[:-1]):
        rest = SCANNED[place + 1 :]
        cursor = {"phase": "scan", "_id": bound}
        assert_same_keys(await reader.scan_keys(route, cursor, BEGINNING_OF_TIME, count), rest[:count])
        await source.delete_one({"_id": bound})
        assert_same_keys(await reader.scan_keys(route, cursor, BEGINNING_OF_TIME, count), rest[:count])


async def test_a_scan_ends_after_the_last_key(reader: DocumentReader, route: Route, source: Collection) -> None:
    assert await scan(reader, route, 2) == []
    await source.insert_one({"_id": "only"})
    assert await scan(reader, route, 1) == ["only"]
    assert await scan(reader, route, 1, after="only") == []
    assert await scan(reader, route, 1, after="z") == []


async def test_a_scan_does_not_repeat_an_equal_number_of_another_type(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": 1.0}, {"_id": 2}])
    assert await scan(reader, route, 1, after=Int64(1)) == [2]


async def test_a_scan_reads_only_the_index(
    client: Client, reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": number, "text": "x" * 1000} for number in range(100)])
    await client[route.database].command("profile", 2)
    await reader.scan_keys(route, None, BEGINNING_OF_TIME, 10)
    await reader.scan_keys(route, {"_id": 50}, BEGINNING_OF_TIME, 10)
    await client[route.database].command("profile", 0)
    profile = client[route.database]["system.profile"]
    seen = await profile.find({"command.find": route.collection}).to_list(10)
    assert [(entry["docsExamined"], entry["keysExamined"]) for entry in seen] == [(0, 10), (0, 11)]
    assert all("SORT" not in entry["planSummary"] for entry in seen)
    await profile.drop()


@pytest.mark.parametrize("count", [1, 2, 100])
async def test_a_scan_reports_a_key_that_cannot_be_decoded(
    client: Client, route: Route, source: Collection, reader: DocumentReader, count: int
) -> None:
    strange = document_of(element("_id", WRONG_BINARY))
    documents = [bson.encode({"_id": key}) for key in (1, "a", ObjectId(), True)]
    await client[route.database].command(insertion(route.collection, *documents, strange))
    found = [key async for page, _ in pages(reader, route, None, BEGINNING_OF_TIME, count) for key in page]
    assert len(found) == 5
    assert [key for key in found if isinstance(key, UnreadableKey)] == [UnreadableKey(WRONG_BINARY)]


async def test_no_cursor_holds_a_key_of_several_megabytes(
    client: Client, route: Route, source: Collection, reader: DocumentReader
) -> None:
    huge = [letter * 7_000_000 for letter in "bd"]
    for key in ("a", huge[0], "c", huge[1], "e"):
        await source.insert_one({"_id": key})
    found = [page async for page in pages(reader, route, None, BEGINNING_OF_TIME, 2)]
    assert [key for keys, _ in found for key in keys] == ["a", huge[0], "c", huge[1], "e"]
    assert max(len(cursor["_id"]) for _, cursor in found) == 1


async def test_a_query_is_asked_across_all_types_and_whatever_the_size_of_a_page(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": key, "n": number % 3} for number, key in enumerate(SCANNED)])
    expected = [key for number, key in enumerate(SCANNED) if number % 3 == 1]
    for size in (1, 2, 7, 100):
        found = pages_matching(reader, route, {"n": 1}, None, BEGINNING_OF_TIME, size)
        looked_at, matching = 0, []
        async for page, keys, _ in found:
            looked_at += len(page)
            matching += keys
        assert looked_at == len(SCANNED)
        usable = [key for key in expected if can_be_queued(key)]
        assert_same_keys(matching, usable)


async def test_a_document_for_which_a_query_fails_counts_as_matching(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": number, "n": "text" if number == 3 else number} for number in range(6)])
    query = {"$expr": {"$gt": [{"$divide": ["$n", 1]}, 4]}}
    (page,) = [page async for page in pages_matching(reader, route, query, None, BEGINNING_OF_TIME, 100)]
    assert page[1] == [3, 5]


async def test_a_query_that_the_server_refuses_is_no_fault_of_a_document(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": number} for number in range(6)])
    with pytest.raises(RouteUnusable):
        [page async for page in pages_matching(reader, route, {"n": {"$nonsense": 1}}, None, BEGINNING_OF_TIME, 2)]
