"""Reads of the truth on a real MongoDB: what exists now, and every key once in index order."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import monitoring

from tests.integration.conftest import Client, Collection, fail
from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tests.support.memory import PeakMemory, resident_bytes
from tests.support.stack import Names
from tests.support.undecodable import WRONG_BINARY, document_of, element, insertion
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, DocumentRejected
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, Key, Route, UnreadableKey
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.jobs.scan import pages
from tsync_stream.source import documents
from tsync_stream.source.collection import source_uuid
from tsync_stream.source.decoding import DenseDocuments
from tsync_stream.source.documents import DocumentReader, count_documents, source_collection
from tsync_stream.source.driver import open_client
from tsync_stream.source.undecodable import require_decoded

SCANNED = [key for key in KEYS_OF_EVERY_TYPE if not isinstance(key, MaxKey)]


@pytest.fixture
async def reader(client: Client) -> AsyncIterator[DocumentReader]:
    chosen = DocumentReader(client, 5.0)
    yield chosen
    await chosen.close()


async def read(
    reader: DocumentReader, route: Route, keys: Sequence[Key], not_before: Timestamp = BEGINNING_OF_TIME
) -> list[dict[str, Any]]:
    return [document async for some in reader.read(route, [[key] for key in keys], not_before) for document in some]


async def scan(reader: DocumentReader, route: Route, count: int, after: Key = ...) -> list[Key]:
    """All keys, in pages of `count`, as a job reads them."""
    found: list[Key] = []
    cursor = None if after is ... else {"phase": "scan", "_id": after}
    while page := await reader.scan_keys(route, cursor, BEGINNING_OF_TIME, count):
        assert len(page) <= count
        found += page
        cursor = {"phase": "scan", "_id": page[-1]}
    return found


def assert_same(found: Sequence[Key], expected: Sequence[Key]) -> None:
    assert [canonical_key(key) for key in found] == [canonical_key(key) for key in expected]
    assert all(same_as_bson(one, other) for one, other in zip(found, expected, strict=True))


# Documents of a batch


async def test_only_documents_that_exist_are_read(reader: DocumentReader, route: Route, source: Collection) -> None:
    await source.insert_many([{"_id": "a", "n": 1}, {"_id": "b", "n": 2}])
    found = await read(reader, route, ["a", "gone", "b"])
    assert sorted(found, key=lambda document: str(document["_id"])) == [{"_id": "a", "n": 1}, {"_id": "b", "n": 2}]
    assert await read(reader, route, ["gone"]) == []


class Finds(monitoring.CommandListener):
    """Remembers every query."""

    def __init__(self) -> None:
        self.commands: list[Mapping[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == "find":
            self.commands.append(event.command)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Of no interest."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Of no interest."""


async def test_the_limit_of_a_query_is_ours_and_not_the_servers(stack: EmbeddedStack, route: Route) -> None:
    finds = Finds()
    client: Client = open_client(stack.mongo.uri, event_listeners=[finds])
    reader = DocumentReader(client, 5.0)
    await read(reader, route, ["a"])
    await scan(reader, route, 10)
    await reader.existing_keys(route, ["a"], BEGINNING_OF_TIME)
    await reader.close()
    client.close()
    assert len(finds.commands) == 3
    assert [command.get("maxTimeMS") for command in finds.commands] == [5_000] * 3


async def test_keys_of_deleted_documents_are_read_together_also_behind_large_ones(
    reader: DocumentReader, route: Route, source: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    chunks = documents.query_chunks

    def counted(groups: Sequence[Sequence[Key]]) -> Any:
        asked.append(len(groups))
        return chunks(groups)

    await source.insert_one({"_id": "large", "text": "x" * 10_000_000})
    await read(reader, route, ["large"])
    monkeypatch.setattr(documents, "query_chunks", counted)
    assert await read(reader, route, list(range(5_000))) == []
    assert sum(asked) == 5_000
    assert len(asked) < 20, f"{len(asked)} queries for 5,000 documents that are gone"


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=repr)
async def test_a_document_is_found_by_a_key_of_any_type_and_by_no_other(
    reader: DocumentReader, route: Route, source: Collection, key: Key
) -> None:
    others = [other for other in KEYS_OF_EVERY_TYPE if canonical_key(other) != canonical_key(key)]
    await source.insert_many([{"_id": other} for other in others])
    assert await read(reader, route, [key]) == []
    await source.insert_one({"_id": key})
    ((document,),) = [await read(reader, route, [key])]
    assert same_as_bson(document["_id"], key)


async def test_numbers_find_each_other_as_in_mongodb(reader: DocumentReader, route: Route, source: Collection) -> None:
    await source.insert_one({"_id": 12.0})
    assert [type(document["_id"]) for document in await read(reader, route, [Int64(12)])] == [float]


async def test_documents_come_in_the_order_of_the_index(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": key} for key in reversed(KEYS_OF_EVERY_TYPE)])
    found = await read(reader, route, KEYS_OF_EVERY_TYPE[::-1])
    assert_same([document["_id"] for document in found], KEYS_OF_EVERY_TYPE)


async def test_a_read_sees_what_was_written_before_its_cluster_time(
    client: Client, reader: DocumentReader, route: Route, source: Collection
) -> None:
    for version in range(20):
        async with await client.start_session() as session:
            await source.update_one({"_id": "hot"}, {"$set": {"version": version}}, upsert=True, session=session)
            written = session.delegate.operation_time
        assert written is not None
        (document,) = await read(reader, route, ["hot"], written)
        assert document["version"] >= version


async def test_a_read_asks_for_the_majority_after_the_cluster_time(
    client: Client, reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_one({"_id": "a"})
    now = (await client.admin.command("ping"))["operationTime"]
    await client[route.database].command("profile", 2)
    await read(reader, route, ["a"], now)
    await client[route.database].command("profile", 0)
    profile = client[route.database]["system.profile"]
    seen = await profile.find_one({"command.find": route.collection})
    assert seen is not None
    assert seen["command"]["readConcern"] == {"level": "majority", "afterClusterTime": now}
    await profile.drop()


@pytest.mark.parametrize("keys", [["gone"], ["a"], ["a", "gone"], ["a", "b", "c"]])
async def test_the_documents_of_a_batch_are_one_request(
    client: Client, reader: DocumentReader, route: Route, source: Collection, keys: Sequence[Key]
) -> None:
    await source.insert_many([{"_id": key} for key in "abc"])
    database = client[route.database]
    await database.command("profile", 2)
    documents = await read(reader, route, keys)
    await database.command("profile", 0)
    assert [document["_id"] for document in documents] == [key for key in keys if key != "gone"]
    operations = [
        seen["op"] async for seen in database["system.profile"].find({"ns": f"{route.database}.{route.collection}"})
    ]
    assert operations == ["query"]
    await database["system.profile"].drop()


async def test_large_documents_come_in_several_replies(
    reader: DocumentReader, route: Route, source: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    off_the_loop = []
    to_thread = asyncio.to_thread

    async def noted(function: Any, *arguments: Any) -> Any:
        off_the_loop.append(len(arguments[0]))
        return await to_thread(function, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    await source.insert_many([{"_id": number, "text": "x" * 6_000_000} for number in range(6)])
    replies = [len(some) async for some in reader.read(route, [[*range(6)]], BEGINNING_OF_TIME)]
    assert sum(replies) == 6
    assert max(replies) <= 3, "a reply holds 16 MB at most"
    assert len(off_the_loop) == len(replies), "decoding them holds nobody up"


async def test_what_is_strange_in_a_document_does_not_stop_the_others(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    strange = bson.encode({"_id": "strange", "text": "abc"}).replace(b"abc", b"a\xffc")
    await source.insert_one(RawBSONDocument(strange))
    await source.insert_one({"_id": "good"})
    assert {document["_id"] for document in await read(reader, route, ["strange", "good"])} == {"strange", "good"}


async def test_a_read_that_takes_too_long_is_given_up(
    client: Client, mongo_names: Names, route: Route, source: Collection
) -> None:
    await source.insert_one({"_id": "a"})
    impatient = DocumentReader(client, 0.2)
    await fail(client, mongo_names, "find", blockConnection=True, blockTimeMS=1500)
    with pytest.raises(DependencyUnavailable, match=r"within 0\.2 s"):
        await read(impatient, route, ["a"])
    await impatient.close()


async def test_an_outage_is_one_of_the_known_kinds(
    reader: DocumentReader, client: Client, mongo_names: Names, route: Route, source: Collection
) -> None:
    await fail(client, mongo_names, "find", times=6, errorCode=1)
    for call in (read(reader, route, ["a"]), reader.scan_keys(route, None, BEGINNING_OF_TIME, 2)):
        with pytest.raises(DependencyUnavailable):
            await call
    with pytest.raises(DependencyUnavailable):
        await reader.existing_ids(route, ["a"], BEGINNING_OF_TIME)


async def test_the_ids_that_exist_are_found(reader: DocumentReader, route: Route, source: Collection) -> None:
    identifier = ObjectId()
    await source.insert_many([{"_id": "a"}, {"_id": 12.0}, {"_id": identifier}])
    found = await reader.existing_ids(route, ["a", "gone", 12, "12", identifier, str(identifier)], BEGINNING_OF_TIME)
    assert found == {"a", "12", typesense_id(identifier)}


async def test_the_keys_that_exist_are_told_from_others_with_their_ids(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": "12"}, {"_id": 13.0}])
    found = await reader.existing_keys(route, [12, "12", 13, "13"], BEGINNING_OF_TIME)
    assert {canonical_key(key) for key in found} == {canonical_key("12"), canonical_key(13)}


async def test_documents_are_counted_without_being_read(client: Client, route: Route, source: Collection) -> None:
    await source.insert_many([{"_id": number} for number in range(7)])
    assert await count_documents(client, route.database, route.collection) == 7
    assert await count_documents(client, route.database, "nowhere") == 0


# Scans


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
async def test_a_scan_crosses_all_types_without_skipping_or_repeating(
    reader: DocumentReader, route: Route, source: Collection, count: int
) -> None:
    shuffled = SCANNED[::2] + SCANNED[1::2]
    await source.insert_many([{"_id": key} for key in shuffled])
    assert_same(await scan(reader, route, count), SCANNED)


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_scan_goes_on_though_its_bound_was_deleted(
    reader: DocumentReader, route: Route, source: Collection, count: int
) -> None:
    await source.insert_many([{"_id": key} for key in SCANNED])
    for place, bound in enumerate(SCANNED[:-1]):
        rest = SCANNED[place + 1 :]
        cursor = {"phase": "scan", "_id": bound}
        assert_same(await reader.scan_keys(route, cursor, BEGINNING_OF_TIME, count), rest[:count])
        await source.delete_one({"_id": bound})
        assert_same(await reader.scan_keys(route, cursor, BEGINNING_OF_TIME, count), rest[:count])


async def test_a_scan_ends_behind_the_last_key(reader: DocumentReader, route: Route, source: Collection) -> None:
    assert await scan(reader, route, 2) == []
    await source.insert_one({"_id": "only"})
    assert await scan(reader, route, 1) == ["only"]
    assert await scan(reader, route, 1, after="only") == []
    assert await scan(reader, route, 1, after="z") == []


async def test_a_number_is_not_repeated_because_it_is_written_otherwise(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": 1.0}, {"_id": 2}])
    assert await scan(reader, route, 1, after=Int64(1)) == [2]


async def test_a_scan_reads_the_index_and_no_document(
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


# The collection


async def test_a_collection_that_was_made_anew_has_another_identity(
    client: Client, route: Route, source: Collection
) -> None:
    where = client, route.database, route.collection
    first = await source_uuid(*where)
    await source.insert_one({"_id": "a"})
    assert await source_uuid(*where) == first
    await source.drop()
    with pytest.raises(ConfigurationError, match="MONGODB_COLLECTION: there is no collection"):
        await source_uuid(*where)
    await client[route.database].create_collection(route.collection)
    assert await source_uuid(*where) != first


@pytest.mark.parametrize(
    ("kind", "options"),
    [("view", {"viewOn": "another", "pipeline": []}), ("time series", {"timeseries": {"timeField": "at"}})],
)
async def test_what_has_no_change_stream_is_no_source(
    client: Client, route: Route, kind: str, options: dict[str, Any]
) -> None:
    await client[route.database].create_collection(route.collection, **options)
    with pytest.raises(ConfigurationError, match=f"is a {kind}, which has no change stream; set MONGODB_COLLECTION"):
        await source_uuid(client, route.database, route.collection)


# Memory


async def test_of_dense_documents_one_is_in_memory_at_a_time_whoever_reads_them(
    client: Client, route: Route, source: Collection
) -> None:
    """Each takes ten times its thirteen megabytes."""
    for number in range(4):
        await source.insert_one({"_id": number, "list": [{"a": 1}] * 650_000})
    most = {}
    for name, turn in (("in turn", asyncio.Lock()), ("together", None)):
        readers = [DocumentReader(client, 60.0, turn) for _ in range(4)]
        before = resident_bytes([os.getpid()])
        with PeakMemory(lambda: [os.getpid()]).watched() as memory:
            found = await asyncio.gather(*(hold(reader, route, number) for number, reader in enumerate(readers)))
        most[name] = (memory.peak_bytes - before) // 1_000_000
        assert found == [650_000] * 4
        for reader in readers:
            await reader.close()
    assert most["in turn"] < 500 < most["together"], most


async def hold(reader: DocumentReader, route: Route, key: Key) -> int:
    """Read a document and do something with it for a while; returns how many items its list has."""
    count = 0
    async with aclosing(reader.read(route, [[key]], BEGINNING_OF_TIME)) as reading:
        async for documents in reading:
            assert isinstance(documents, DenseDocuments)
            await asyncio.sleep(0.5)
            count += len(documents[0]["list"])
            del documents
    return count


# What the driver cannot decode


async def test_a_document_that_cannot_be_decoded_costs_none_beside_it(
    client: Client, route: Route, source: Collection, reader: DocumentReader
) -> None:
    documents = [bson.encode({"_id": number, "text": "x"}) for number in range(5)]
    documents[2] = document_of(element("_id", b"\x10\2\0\0\0"), element("x", WRONG_BINARY))
    await client[route.database].command(insertion(route.collection, *documents))
    found = await read(reader, route, list(range(5)))
    assert [document["_id"] for document in found] == list(range(5))
    for document in found:
        if document["_id"] != 2:
            require_decoded(document)
            assert document["text"] == "x"
    with pytest.raises(DocumentRejected, match="unreadable document"):
        require_decoded(found[2])


@pytest.mark.parametrize("count", [1, 2, 100])
async def test_a_key_that_cannot_be_decoded_is_passed_on_and_not_over(
    client: Client, route: Route, source: Collection, reader: DocumentReader, count: int
) -> None:
    strange = document_of(element("_id", WRONG_BINARY))
    documents = [bson.encode({"_id": key}) for key in (1, "a", ObjectId(), True)]
    await client[route.database].command(insertion(route.collection, *documents, strange))
    found = [key async for page, _ in pages(reader, route, None, BEGINNING_OF_TIME, count) for key in page]
    assert len(found) == 5
    assert [key for key in found if isinstance(key, UnreadableKey)] == [UnreadableKey(WRONG_BINARY)]


async def test_no_cursor_holds_a_key_of_megabytes(
    client: Client, route: Route, source: Collection, reader: DocumentReader
) -> None:
    huge = [letter * 7_000_000 for letter in "bd"]
    for key in ("a", huge[0], "c", huge[1], "e"):
        await source.insert_one({"_id": key})
    found = [page async for page in pages(reader, route, None, BEGINNING_OF_TIME, 2)]
    assert [key for keys, _ in found for key in keys] == ["a", huge[0], "c", huge[1], "e"]
    assert max(len(cursor["_id"]) for _, cursor in found) == 1


async def test_the_uri_cannot_weaken_the_reads(route: Route, client: Client) -> None:
    weak: Client = client.__class__(
        "mongodb://127.0.0.1:1/?readPreference=secondary&readConcernLevel=local&connect=false"
    )
    collection = source_collection(weak, route)
    assert collection.read_concern.level == "majority"
    assert collection.read_preference.mongos_mode == "primary"
    weak.close()
