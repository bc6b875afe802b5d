"""Reads of current documents from a real MongoDB: only what exists, in index order, in bounded memory."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from tests.integration.conftest import Client, Collection, fail, scan
from tests.support.commands import Finds
from tests.support.keys import KEYS_OF_EVERY_TYPE, assert_same_keys, same_as_bson
from tests.support.memory import PeakMemory, resident_bytes
from tests.support.stack import Names
from tests.support.undecodable import WRONG_BINARY, document_of, element, insertion
from tsync_stream.core.errors import DependencyUnavailable, DocumentRejected
from tsync_stream.core.keys import canonical_key, typesense_id
from tsync_stream.core.model import BEGINNING_OF_TIME, Key, Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.source.decoding import DenseDocuments
from tsync_stream.source.documents import DocumentReader
from tsync_stream.source.driver import open_client
from tsync_stream.source.undecodable import require_readable


async def read(
    reader: DocumentReader, route: Route, keys: Sequence[Key], not_before: Timestamp = BEGINNING_OF_TIME
) -> list[dict[str, Any]]:
    return [document async for some in reader.read(route, [[key] for key in keys], not_before) for document in some]


# Documents of a batch


async def test_only_existing_documents_are_read(reader: DocumentReader, route: Route, source: Collection) -> None:
    await source.insert_many([{"_id": "a", "n": 1}, {"_id": "b", "n": 2}])
    found = await read(reader, route, ["a", "gone", "b"])
    assert sorted(found, key=lambda document: str(document["_id"])) == [{"_id": "a", "n": 1}, {"_id": "b", "n": 2}]
    assert await read(reader, route, ["gone"]) == []


async def test_queries_set_our_own_time_limit(stack: EmbeddedStack, route: Route) -> None:
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


async def test_deleted_documents_are_read_in_few_queries_even_after_large_ones(
    stack: EmbeddedStack, route: Route, source: Collection
) -> None:
    finds = Finds()
    client: Client = open_client(stack.mongo.uri, event_listeners=[finds])
    reader = DocumentReader(client, 10.0)
    await source.insert_one({"_id": "large", "text": "x" * 10_000_000})
    await read(reader, route, ["large"])
    finds.commands.clear()
    assert await read(reader, route, list(range(5_000))) == []
    await reader.close()
    client.close()
    assert 0 < len(finds.commands) < 20, "queries for 5,000 documents that are gone"


@pytest.mark.parametrize("key", KEYS_OF_EVERY_TYPE, ids=repr)
async def test_a_key_of_any_type_finds_its_document_and_no_other(
    reader: DocumentReader, route: Route, source: Collection, key: Key
) -> None:
    others = [other for other in KEYS_OF_EVERY_TYPE if canonical_key(other) != canonical_key(key)]
    await source.insert_many([{"_id": other} for other in others])
    assert await read(reader, route, [key]) == []
    await source.insert_one({"_id": key})
    ((document,),) = [await read(reader, route, [key])]
    assert same_as_bson(document["_id"], key)


async def test_equal_numbers_of_different_types_find_the_same_document(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_one({"_id": 12.0})
    assert [type(document["_id"]) for document in await read(reader, route, [Int64(12)])] == [float]


async def test_documents_come_in_the_order_of_the_index(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": key} for key in reversed(KEYS_OF_EVERY_TYPE)])
    found = await read(reader, route, KEYS_OF_EVERY_TYPE[::-1])
    assert_same_keys([document["_id"] for document in found], KEYS_OF_EVERY_TYPE)


async def test_reads_that_overlap_have_a_session_each_and_see_what_the_others_saw(
    stack: EmbeddedStack, client: Client, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": f"{number}", "text": "x" * 1_000} for number in range(10)])
    finds = Finds()
    watched: Client = open_client(stack.mongo.uri, event_listeners=[finds])
    reader = DocumentReader(watched, 10.0)
    async with aclosing(reader.read(route, [["0"], ["1"]], BEGINNING_OF_TIME)) as first:
        assert [document["_id"] for document in await anext(first)] == ["0", "1"]
        await source.insert_one({"_id": "new"})
        assert await reader.existing_keys(route, ["new"], BEGINNING_OF_TIME) == ["new"]
        seen = reader.operation_time
        assert len(await scan(reader, route, 20)) == 11
    await read(reader, route, ["new"])
    sessions = [bytes(command["lsid"]["id"]) for command in finds.commands]
    assert sessions[0] != sessions[1], "the first one is in use"
    assert set(sessions) == set(sessions[:2]), "those that are idle are used again"
    not_before = [command["readConcern"].get("afterClusterTime") for command in finds.commands]
    assert not_before[1] is not None, "what the first one saw"
    assert all(time is not None and time >= seen for time in not_before[2:])
    await reader.close()
    watched.close()


async def test_a_read_sees_everything_written_before_its_cluster_time(
    client: Client, reader: DocumentReader, route: Route, source: Collection
) -> None:
    for version in range(20):
        async with await client.start_session() as session:
            await source.update_one({"_id": "hot"}, {"$set": {"version": version}}, upsert=True, session=session)
            written = session.delegate.operation_time
        assert written is not None
        (document,) = await read(reader, route, ["hot"], written)
        assert document["version"] >= version


async def test_a_read_uses_majority_read_concern_after_the_cluster_time(
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
async def test_the_documents_of_a_batch_take_one_request(
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
    assert max(replies) <= 3, "a reply holds at most 16 MB"
    assert len(off_the_loop) == len(replies), "decoding them does not block the event loop"


async def test_invalid_text_in_one_document_does_not_stop_the_others(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    strange = bson.encode({"_id": "strange", "text": "abc"}).replace(b"abc", b"a\xffc")
    await source.insert_one(RawBSONDocument(strange))
    await source.insert_one({"_id": "good"})
    assert {document["_id"] for document in await read(reader, route, ["strange", "good"])} == {"strange", "good"}


async def test_a_read_that_takes_too_long_is_an_outage(
    client: Client, mongo_names: Names, route: Route, source: Collection
) -> None:
    await source.insert_one({"_id": "a"})
    impatient = DocumentReader(client, 0.2)
    await fail(client, mongo_names, "find", blockConnection=True, blockTimeMS=1500)
    with pytest.raises(DependencyUnavailable, match=r"within 0\.2 s"):
        await read(impatient, route, ["a"])
    await impatient.close()


async def test_a_failed_read_is_an_outage(
    reader: DocumentReader, client: Client, mongo_names: Names, route: Route, source: Collection
) -> None:
    await fail(client, mongo_names, "find", times=6, errorCode=1)
    for call in (read(reader, route, ["a"]), reader.scan_keys(route, None, BEGINNING_OF_TIME, 2)):
        with pytest.raises(DependencyUnavailable):
            await call
    with pytest.raises(DependencyUnavailable):
        await reader.existing_ids(route, ["a"], BEGINNING_OF_TIME)


async def test_existing_ids_are_found(reader: DocumentReader, route: Route, source: Collection) -> None:
    identifier = ObjectId()
    await source.insert_many([{"_id": "a"}, {"_id": 12.0}, {"_id": identifier}])
    found = await reader.existing_ids(route, ["a", "gone", 12, "12", identifier, str(identifier)], BEGINNING_OF_TIME)
    assert found == {"a", "12", typesense_id(identifier)}


async def test_existing_keys_are_distinguished_from_others_with_the_same_id(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": "12"}, {"_id": 13.0}])
    found = await reader.existing_keys(route, [12, "12", 13, "13"], BEGINNING_OF_TIME)
    assert {canonical_key(key) for key in found} == {canonical_key("12"), canonical_key(13)}


# Memory


async def test_only_one_dense_document_is_in_memory_at_a_time(client: Client, route: Route, source: Collection) -> None:
    """Decoded, each takes ten times its thirteen megabytes."""
    for number in range(4):
        await source.insert_one({"_id": number, "list": [{"a": 1}] * 650_000})
    most = {}
    for name, turn in (("in turn", asyncio.Lock()), ("together", None)):
        readers = [DocumentReader(client, 60.0, dense_turn=turn) for _ in range(4)]
        before = resident_bytes([os.getpid()])
        with PeakMemory(lambda: [os.getpid()]).watched() as memory:
            found = await asyncio.gather(*(hold(reader, route, number) for number, reader in enumerate(readers)))
        most[name] = (memory.peak_bytes - before) // 1_000_000
        assert found == [650_000] * 4
        for reader in readers:
            await reader.close()
    # "together" begins with what the allocator kept of "in turn", so its peak shows as less than it is.
    assert 1.5 * most["in turn"] < most["together"], most
    assert most["in turn"] < 500, most


async def hold(reader: DocumentReader, route: Route, key: Key) -> int:
    """Read a document and keep it for half a second; returns the length of its list."""
    count = 0
    async with aclosing(reader.read(route, [[key]], BEGINNING_OF_TIME)) as reading:
        async for documents in reading:
            assert isinstance(documents, DenseDocuments)
            await asyncio.sleep(0.5)
            count += len(documents[0]["list"])
            del documents
    return count


# What the driver cannot decode


async def test_a_document_that_cannot_be_decoded_does_not_affect_its_neighbours(
    client: Client, route: Route, source: Collection, reader: DocumentReader
) -> None:
    documents = [bson.encode({"_id": number, "text": "x"}) for number in range(5)]
    documents[2] = document_of(element("_id", b"\x10\2\0\0\0"), element("x", WRONG_BINARY))
    await client[route.database].command(insertion(route.collection, *documents))
    found = await read(reader, route, list(range(5)))
    assert [document["_id"] for document in found] == list(range(5))
    for document in found:
        if document["_id"] != 2:
            require_readable(document)
            assert document["text"] == "x"
    with pytest.raises(DocumentRejected, match="unreadable document"):
        require_readable(found[2])


async def test_any_number_of_maximum_length_keys_can_be_read(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    keys = [f"{number:05}" + "k" * 1015 for number in range(17_000)]
    await source.insert_many([{"_id": keys[0]}, {"_id": keys[-1]}])
    groups = [[key] for key in keys]
    found = [document["_id"] async for some in reader.read(route, groups, BEGINNING_OF_TIME) for document in some]
    assert found == [keys[0], keys[-1]]
    assert await reader.existing_ids(route, keys, BEGINNING_OF_TIME) == {keys[0], keys[-1]}


async def test_documents_come_in_bson_order_without_being_sorted(
    client: Client, reader: DocumentReader, route: Route, source: Collection
) -> None:
    await source.insert_many([{"_id": key} for key in reversed(KEYS_OF_EVERY_TYPE)])
    await client[route.database].command("profile", 2)
    groups = [KEYS_OF_EVERY_TYPE[::-1]]
    found = [document["_id"] async for some in reader.read(route, groups, BEGINNING_OF_TIME) for document in some]
    await client[route.database].command("profile", 0)
    assert [canonical_key(key) for key in found] == [canonical_key(key) for key in KEYS_OF_EVERY_TYPE]
    profile = client[route.database]["system.profile"]
    seen = await profile.find_one({"command.find": route.collection}, {"planSummary": 1, "hasSortStage": 1})
    assert seen is not None
    assert seen["planSummary"] == "IXSCAN { _id: 1 }"
    assert "hasSortStage" not in seen
    await profile.drop()


async def test_a_reader_advances_its_operation_time_with_every_read(
    reader: DocumentReader, route: Route, source: Collection
) -> None:
    assert reader.operation_time == BEGINNING_OF_TIME
    await source.insert_one({"_id": "a"})
    async for _ in reader.read(route, [["a"]], BEGINNING_OF_TIME):
        pass
    first = reader.operation_time
    assert first > BEGINNING_OF_TIME
    await source.insert_one({"_id": "b"})
    assert await reader.existing_ids(route, ["b"], first) == {"b"}
    assert reader.operation_time >= first
