"""What a review found, on real servers: long queries, broken tokens, foreign entries, keys that are no text."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import orjson
import pytest
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from tests.contract.servers import RedisTierServer
from tests.integration.conftest import Client, Collection, Database
from tests.support.keys import KEYS_OF_EVERY_TYPE
from tests.support.stack import Names, typesense_client
from tsync_stream.core.errors import ConfigurationError, PositionLost, TierLost
from tsync_stream.core.keys import canonical_key
from tsync_stream.core.model import BEGINNING_OF_TIME, DeadLetter, Entry, EpochRef, Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.queue.tier import Append, Found, Tier
from tsync_stream.routes.fingerprint import prepare_collection
from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.mapping import encode_line
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.database import DEAD_LETTERS
from tsync_stream.state.dead_letters import DeadLetters

FENCE = 5
TOKEN = {"_data": "8200"}


@pytest.fixture
async def reader(client: Client) -> AsyncIterator[DocumentReader]:
    chosen = DocumentReader(client, 10.0)
    yield chosen
    await chosen.close()


# Reads


async def test_any_number_of_the_longest_keys_can_be_read(
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


async def test_a_reader_knows_when_it_looked(reader: DocumentReader, route: Route, source: Collection) -> None:
    assert reader.operation_time == BEGINNING_OF_TIME
    await source.insert_one({"_id": "a"})
    async for _ in reader.read(route, [["a"]], BEGINNING_OF_TIME):
        pass
    first = reader.operation_time
    assert first > BEGINNING_OF_TIME
    await source.insert_one({"_id": "b"})
    assert await reader.existing_ids(route, ["b"], first) == {"b"}
    assert reader.operation_time >= first


# The change stream


async def test_a_batch_ends_at_its_last_change(client: Client, route: Route, source: Collection) -> None:
    stream = await ChangeStream.open(client[route.database], route.collection, None, 10)
    await source.insert_many([{"_id": number} for number in range(15)])
    sizes: list[int] = []
    while sum(sizes) < 15:
        batch = await stream.next_batch(10, 0.5)
        if batch.changes:
            assert batch.cluster_time == batch.changes[-1]["time"]
        assert isinstance(batch.cluster_time, Timestamp)
        sizes.append(len(batch.changes))
    await stream.close()


@pytest.mark.parametrize(
    "token",
    [
        {},
        {"_data": ""},
        {"_data": 5},
        {"_data": "zz"},
        {"_data": "00"},
        {"_data": "8200"},
        {"_data": "82" + "A" * 30},
        {"_data": "820000000000000000"},
        {"_data": "826B04EB960000001B2B022929"},
        {"_data": "82000000010000000129"},
    ],
    ids=str,
)
async def test_a_token_that_cannot_be_read_means_another_position(
    client: Client, route: Route, source: Collection, token: dict[str, Any]
) -> None:
    with pytest.raises(PositionLost):
        await ChangeStream.open(client[route.database], route.collection, token, 10)


# Dead letters


async def test_a_key_that_is_no_text_is_recorded_and_closed(
    client: Client, state: Database, source: Collection
) -> None:
    await source.insert_one(RawBSONDocument(bson.encode({"_id": "abc"}).replace(b"abc", b"a\xffc")))
    await source.insert_one(RawBSONDocument(bson.encode({"_id": {"n": "abc"}}).replace(b"abc", b"a\xffc")))
    options: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(unicode_decode_error_handler="surrogateescape")
    keys = [document["_id"] async for document in source.with_options(codec_options=options).find()]
    assert len(keys) == 2
    letters = DeadLetters(state)
    await letters.add([DeadLetter("r", key, "unusable id", "\udcff" * 600) for key in keys])
    records = await state[DEAD_LETTERS].find().to_list(10)
    assert len(records) == 2
    assert all(len(record["error"]) == 500 for record in records)
    assert await letters.resolve("r", keys) == 2


# The Redis tier


@pytest.fixture
def server(stack: EmbeddedStack, tmp_path: Path) -> Any:
    chosen = RedisTierServer("primary", stack, Names.new(), tmp_path)
    yield chosen
    chosen.put_right()


@pytest.fixture
async def tier(server: RedisTierServer) -> AsyncIterator[Tier]:
    connected = server.connect()
    yield connected
    await connected.close()


@pytest.fixture
async def epoch(tier: Tier) -> EpochRef:
    made = EpochRef(Names.new().token, 4, "nonce", "primary")
    await tier.create(made, 1, FENCE, TOKEN)
    entry = Entry("r", "k", "u", Timestamp(7, 1), "change")
    await tier.append(made, FENCE, TOKEN, [Append(0, "0-0", 0, [entry])])
    return made


@pytest.mark.parametrize("payload", [b"not ours", bson.encode({"secret": 1}), b""])
async def test_a_foreign_entry_means_that_the_tier_is_lost(
    server: RedisTierServer, tier: Tier, epoch: EpochRef, payload: bytes
) -> None:
    server.call("XADD", server.stream(epoch, 0), "2-5", "e", payload)
    with pytest.raises(TierLost, match="partition 0") as caught:
        await tier.read(epoch, [0], "me", 100, 0)
    assert "secret" not in str(caught.value)
    with pytest.raises(TierLost, match="partition 0"):
        await tier.claim(epoch, 0, "me", 100)


async def test_a_foreign_group_is_not_taken_for_ours(server: RedisTierServer, tier: Tier, epoch: EpochRef) -> None:
    stream = server.stream(epoch, 0)
    await tier.read(epoch, [0], "me", 10, 0)
    server.call("XGROUP", "CREATE", stream, "another", "0")
    assert (await tier.claim(epoch, 0, "me", 10)).delivered_offset == 1
    server.call("XGROUP", "DESTROY", stream, "tsync")
    with pytest.raises(TierLost):
        await tier.claim(epoch, 0, "me", 10)
    server.call("UNLINK", stream)
    with pytest.raises(TierLost):
        await tier.claim(epoch, 0, "me", 10)


async def test_an_owner_stays_the_owner_without_memory(server: RedisTierServer, tier: Tier, epoch: EpochRef) -> None:
    assert await tier.own(epoch, {0: 3}) == {0: Found(0, 0)}
    before = server.call("CONFIG", "GET", "maxmemory")
    server.call("CONFIG", "SET", "maxmemory", "1")
    try:
        assert await tier.own(epoch, {0: 3}) == {0: Found(3, 0)}
    finally:
        server.call("CONFIG", "SET", "maxmemory", before["maxmemory"])


# Typesense


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own deprecated parts
async def test_ids_with_strange_line_ends_are_exported_and_deleted(stack: EmbeddedStack, names: Names) -> None:
    settings = TypesenseSettings(
        stack.typesense.api_key, ("127.0.0.1",), stack.typesense.port, "http", "c", 5.0, 60.0, 3, 0.1, None
    )
    target = TypesenseTarget(settings)
    name = names.typesense_collection
    await target.create_collection({"name": name, "fields": [{"name": ".*", "type": "auto"}]})
    ids = ["a\u2028b", "a\x0bb", "a\x85b", "a\nb", "plain", "..", "`"]
    assert await target.import_lines(name, [orjson.dumps({"id": document_id}) for document_id in ids]) == []
    exported = [document_id async for some in target.export_ids(name, 2) for document_id in some]
    assert sorted(exported) == sorted(ids)
    found = [orjson.loads(line)["id"] async for line in target.documents(name, [*ids[1:], "nobody", "`nobody"])]
    assert sorted(found) == sorted(ids[1:])
    assert [line async for line in target.documents(name, ["nobody"])] == []
    await target.delete(name, ids)
    assert [batch async for batch in target.export_ids(name, 2)] == []
    assert await target.settled()
    restricted = {"description": "d", "actions": ["documents:*", "collections:*"], "collections": [name]}
    with typesense_client(stack) as http:
        key = http.post("/keys", json=restricted).raise_for_status().json()["value"]
    modest = TypesenseTarget(replace(settings, api_key=key))
    assert await modest.settled()
    assert await modest.collection(name) is not None
    await modest.close()
    await target.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own deprecated parts
async def test_no_character_is_lost_where_typesense_cuts_a_long_import(stack: EmbeddedStack, names: Names) -> None:
    settings = TypesenseSettings(
        stack.typesense.api_key, ("127.0.0.1",), stack.typesense.port, "http", "c", 30.0, 60.0, 3, 0.1, None
    )
    target, name = TypesenseTarget(settings), names.typesense_collection
    await target.create_collection(
        {"name": name, "fields": [{"name": "text", "type": "string", "optional": True, "index": False}]}
    )
    sent = {str(number): {"id": str(number), "text": "é" * 600_000 + "x" * number} for number in range(6)}
    assert await target.import_lines(name, [encode_line(document) for document in sent.values()]) == []
    await target.close()
    with typesense_client(stack) as http:
        answer = http.get(f"/collections/{name}/documents/export").raise_for_status()
    documents = [orjson.loads(line) for line in answer.content.split(b"\n")]
    assert {document["id"]: document for document in documents} == sent


@pytest.mark.parametrize("content", [None, b'{"fields": "\xff"}'])
async def test_a_schema_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    class Nothing:
        async def collection(self, _: str) -> None:
            return None

    path = tmp_path / "schema.json"
    if content is not None:
        path.write_bytes(content)
    settings: Any = SimpleNamespace(typesense=SimpleNamespace(collection_name="c", schema_file=path))
    nothing: Any = Nothing()
    with pytest.raises(ConfigurationError, match="TYPESENSE_SCHEMA_FILE"):
        await prepare_collection(nothing, settings)
