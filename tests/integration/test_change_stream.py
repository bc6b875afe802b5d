"""The change stream on a real MongoDB: keys only, exact tokens, and no silent end."""

import asyncio
import time
from typing import Any

import bson
from bson.timestamp import Timestamp

from tests.integration.conftest import Client, Collection, Open, changes, keys_after
from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tests.support.undecodable import WRONG_BINARY, document_of, element, insertion
from tests.support.waiting import HANG_S
from tsync_stream.core.model import Route, Token, UnreadableKey
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.stream_scope import scope_of

BIG = "x" * 1_000_000


# Changes


async def test_every_kind_of_change_comes_in_order(open_stream: Open, source: Collection) -> None:
    stream = await open_stream()
    await source.insert_one({"_id": "a"})
    await source.update_one({"_id": "a"}, {"$set": {"n": 1}})
    await source.replace_one({"_id": "a"}, {"n": 2})
    await source.delete_one({"_id": "a"})
    found = await changes(stream, 4)
    assert [change["operation"] for change in found] == ["insert", "update", "replace", "delete"]
    times = [change["time"] for change in found]
    assert times == sorted(set(times))


async def test_an_event_is_small_however_large_the_document(open_stream: Open, source: Collection) -> None:
    stream = await open_stream()
    await source.insert_one({"_id": "big", "parts": [BIG] * 9})
    await source.update_one({"_id": "big"}, {"$set": {"parts": [BIG.upper()] * 9}})
    await source.replace_one({"_id": "big"}, {"parts": [BIG] * 8})
    for change in await changes(stream, 3):
        assert set(change) == {"_id", "operation", "time", "key"}
        assert change["key"] == "big"
        assert len(bson.encode(change)) < 500


async def test_keys_of_every_type_arrive_unchanged(open_stream: Open, source: Collection) -> None:
    stream = await open_stream()
    await source.insert_many([{"_id": key} for key in KEYS_OF_EVERY_TYPE])
    found = await changes(stream, len(KEYS_OF_EVERY_TYPE))
    for change, key in zip(found, KEYS_OF_EVERY_TYPE, strict=True):
        assert same_as_bson(change["key"], key)


async def test_a_batch_is_no_larger_than_requested(open_stream: Open, source: Collection, now: Token) -> None:
    await source.insert_many([{"_id": number} for number in range(25)])
    stream = await open_stream(now, batch_size=10)
    sizes = [len((await stream.next_batch(10, 0.2)).changes) for _ in range(4)]
    assert sizes == [10, 10, 5, 0]


async def test_a_change_arrives_at_once(open_stream: Open, source: Collection) -> None:
    stream = await open_stream()
    await stream.next_batch(10, 0.1)
    waiting = asyncio.create_task(stream.next_batch(10, 8.0))
    began_s = time.monotonic()
    await source.insert_one({"_id": "a"})
    assert len((await waiting).changes) == 1
    assert time.monotonic() - began_s < 4.0


async def test_without_changes_an_empty_batch_arrives_after_the_wait(open_stream: Open) -> None:
    stream = await open_stream()
    await stream.next_batch(10, 0.1)
    began_s = time.monotonic()
    assert list((await stream.next_batch(10, 0.4)).changes) == []
    assert 0.3 < time.monotonic() - began_s < 3.0


# Tokens


async def test_every_token_resumes_with_exactly_what_follows(open_stream: Open, source: Collection, now: Token) -> None:
    await source.insert_many([{"_id": number} for number in range(7)])
    stream = await open_stream(now, batch_size=3)
    seen, done = [(now, 0)], 0
    async with asyncio.timeout(HANG_S):
        while done < 7:
            batch = await stream.next_batch(3, 0.2)
            done += len(batch.changes)
            seen.append((batch.token, done))
    for token, done in seen:
        assert await keys_after(open_stream, token, 7 - done) == list(range(done, 7))


async def test_changes_of_one_transaction_have_separate_tokens(
    client: Client, open_stream: Open, source: Collection, now: Token
) -> None:
    async with await client.start_session() as session, session.start_transaction():
        for number in range(5):
            await source.insert_one({"_id": number}, session=session)
    stream = await open_stream(now, batch_size=1)
    await stream.next_batch(1, 0.2)
    batches = [await stream.next_batch(1, 0.2) for _ in range(4)]
    assert len({change["time"] for batch in batches for change in batch.changes}) == 1
    for number, batch in enumerate(batches, 2):
        assert await keys_after(open_stream, batch.token, 5 - number) == list(range(number, 5))


async def test_tokens_sort_like_their_changes(open_stream: Open, source: Collection, now: Token) -> None:
    stream = await open_stream(now, batch_size=1)
    tokens = [now["_data"]]
    for number in range(10):
        await source.insert_one({"_id": number})
        batch = await stream.next_batch(1, 1.0)
        tokens.append(batch.token["_data"])
    assert tokens == sorted(tokens)
    assert len(set(tokens)) > 9


async def test_the_token_of_an_idle_collection_moves_on(client: Client, open_stream: Open, route: Route) -> None:
    stream = await open_stream()
    first = (await stream.next_batch(10, 0.1)).token
    async with asyncio.timeout(HANG_S):
        while True:
            await client[route.database]["another"].insert_one({})
            batch = await stream.next_batch(10, 0.1)
            assert list(batch.changes) == []
            if batch.token["_data"] > first["_data"]:
                break
    assert await keys_after(open_stream, batch.token, 0) == []


async def test_a_closed_stream_leaves_no_cursor_on_the_server(client: Client, open_stream: Open, route: Route) -> None:
    def cursors() -> Any:
        of_source = {"ns": f"{route.database}.{route.collection}"}
        look: list[dict[str, Any]] = [{"$currentOp": {"idleCursors": True}}, {"$match": of_source}]
        return client.admin.aggregate(look).to_list(10)

    stream = await open_stream()
    await stream.next_batch(10, 0.1)
    assert len(await cursors()) == 1
    await stream.close()
    assert await cursors() == []
    await stream.close()


async def test_a_key_that_cannot_be_decoded_does_not_affect_neighbouring_events(
    client: Client, route: Route, source: Collection, open_stream: Open, now: Token
) -> None:
    await source.insert_one({"_id": "before"})
    await client[route.database].command(insertion(route.collection, document_of(element("_id", WRONG_BINARY))))
    await source.insert_one({"_id": "after"})
    assert await keys_after(open_stream, now, 3) == ["before", UnreadableKey(WRONG_BINARY), "after"]
    stream = await open_stream(now, batch_size=1)
    found = await changes(stream, 3, batch_size=1)
    assert [change["operation"] for change in found] == ["insert"] * 3
    assert await keys_after(open_stream, found[1]["_id"], 1) == ["after"]


async def test_the_cluster_time_of_a_batch_is_that_of_its_last_change(
    client: Client, route: Route, source: Collection
) -> None:
    stream = await ChangeStream.open(client, scope_of([(route.database, route.collection)]), None, 10)
    await source.insert_many([{"_id": number} for number in range(15)])
    sizes: list[int] = []
    while sum(sizes) < 15:
        batch = await stream.next_batch(10, 0.5)
        if batch.changes:
            assert batch.cluster_time == batch.changes[-1]["time"]
        assert isinstance(batch.cluster_time, Timestamp)
        sizes.append(len(batch.changes))
    await stream.close()
