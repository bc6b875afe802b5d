"""The change stream on a real MongoDB: keys only, exact tokens, and no silent end."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import bson
import pytest

from tests.integration.conftest import Client, Collection, fail
from tests.support.keys import KEYS_OF_EVERY_TYPE, same_as_bson
from tests.support.stack import Names
from tests.support.undecodable import WRONG_BINARY, document_of, element, insertion
from tsync_stream.core.errors import DependencyUnavailable, PositionLost
from tsync_stream.core.model import Key, Route, Token, UnreadableKey
from tsync_stream.source.change_stream import ENDING_OPERATIONS, ChangeStream

Open = Callable[..., Awaitable[ChangeStream]]
BIG = "x" * 1_000_000


@pytest.fixture
async def open_stream(client: Client, route: Route, source: Collection) -> AsyncIterator[Open]:
    """Open streams of the source; they are closed after the test."""
    opened: list[ChangeStream] = []

    async def open_one(after: Token | None = None, batch_size: int = 100) -> ChangeStream:
        opened.append(await ChangeStream.open(client[route.database], route.collection, after, batch_size))
        return opened[-1]

    yield open_one
    for stream in opened:
        await stream.close()


@pytest.fixture
async def now(open_stream: Open) -> Token:
    """The token of this moment."""
    batch = await (await open_stream()).next_batch(10, 0.1)
    assert list(batch.changes) == []
    return batch.token


async def changes(stream: ChangeStream, count: int, batch_size: int = 100) -> list[Mapping[str, Any]]:
    """The next `count` changes, or more if the last batch holds them."""
    found: list[Mapping[str, Any]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += (await stream.next_batch(batch_size, 0.2)).changes
    return found


async def keys_after(open_stream: Open, token: Token, count: int) -> list[Key]:
    """The keys of all changes behind a token, of which `count` are expected."""
    stream = await open_stream(token)
    found = await changes(stream, count) if count else []
    found += (await stream.next_batch(100, 0.05)).changes
    return [change["key"] for change in found]


# What comes


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


async def test_keys_of_every_type_come_as_they_are(open_stream: Open, source: Collection) -> None:
    stream = await open_stream()
    await source.insert_many([{"_id": key} for key in KEYS_OF_EVERY_TYPE])
    found = await changes(stream, len(KEYS_OF_EVERY_TYPE))
    for change, key in zip(found, KEYS_OF_EVERY_TYPE, strict=True):
        assert same_as_bson(change["key"], key)


async def test_a_batch_is_no_larger_than_asked_for(open_stream: Open, source: Collection, now: Token) -> None:
    await source.insert_many([{"_id": number} for number in range(25)])
    stream = await open_stream(now, batch_size=10)
    sizes = [len((await stream.next_batch(10, 0.2)).changes) for _ in range(4)]
    assert sizes == [10, 10, 5, 0]


async def test_a_change_is_told_at_once(open_stream: Open, source: Collection) -> None:
    stream = await open_stream()
    await stream.next_batch(10, 0.1)
    waiting = asyncio.create_task(stream.next_batch(10, 8.0))
    began_s = time.monotonic()
    await source.insert_one({"_id": "a"})
    assert len((await waiting).changes) == 1
    assert time.monotonic() - began_s < 4.0


async def test_without_changes_a_batch_comes_after_the_wait(open_stream: Open) -> None:
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
    async with asyncio.timeout(10):
        while done < 7:
            batch = await stream.next_batch(3, 0.2)
            done += len(batch.changes)
            seen.append((batch.token, done))
    for token, done in seen:
        assert await keys_after(open_stream, token, 7 - done) == list(range(done, 7))


async def test_changes_of_one_transaction_have_tokens_of_their_own(
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


async def test_tokens_sort_as_the_changes_do(open_stream: Open, source: Collection, now: Token) -> None:
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
    async with asyncio.timeout(10):
        while True:
            await client[route.database]["another"].insert_one({})
            batch = await stream.next_batch(10, 0.1)
            assert list(batch.changes) == []
            if batch.token["_data"] > first["_data"]:
                break
    assert await keys_after(open_stream, batch.token, 0) == []


# Ends


async def _fresh(source: Collection) -> None:
    staged = source.database[f"{source.name}_new"]
    await staged.insert_one({"_id": "comes without an event"})
    await staged.rename(source.name, dropTarget=True)


async def _dropped_and_made(source: Collection) -> None:
    await source.drop()
    await source.insert_one({"_id": "of another collection"})


ENDS: dict[str, Callable[[Collection], Awaitable[object]]] = {
    "drop": lambda source: source.drop(),
    "rename": lambda source: source.rename(f"{source.name}_old"),
    "rename over it": _fresh,
    "drop and create": _dropped_and_made,
}


async def operations_until_the_end(stream: ChangeStream) -> list[str]:
    seen: list[str] = []
    for _ in range(20):
        try:
            seen += [change["operation"] for change in (await stream.next_batch(100, 0.2)).changes]
        except PositionLost:
            return seen
    raise AssertionError(f"the stream goes on: {seen}")


@pytest.mark.parametrize("end", ENDS)
async def test_the_end_of_a_collection_is_told_and_nothing_follows_it(
    open_stream: Open, source: Collection, end: str
) -> None:
    stream = await open_stream()
    await source.insert_one({"_id": "before"})
    await ENDS[end](source)
    seen = await operations_until_the_end(stream)
    assert seen[0] == "insert"
    assert len(seen) > 1
    assert set(seen[1:]) <= ENDING_OPERATIONS


async def test_the_end_of_a_database_is_told(client: Client, mongo_names: Names) -> None:
    database = client[f"{mongo_names.token}_dropped"]
    await database.create_collection("listings")
    stream = await ChangeStream.open(database, "listings", None, 10)
    await client.drop_database(database.name)
    assert set(await operations_until_the_end(stream)) & ENDING_OPERATIONS
    await stream.close()


async def test_behind_the_end_of_a_collection_nothing_resumes(open_stream: Open, source: Collection) -> None:
    stream = await open_stream()
    await source.drop()
    invalidated: Token | None = None
    async with asyncio.timeout(10):
        while invalidated is None:
            for change in (await stream.next_batch(100, 0.2)).changes:
                if change["operation"] == "invalidate":
                    invalidated = change["_id"]
    with pytest.raises(PositionLost):
        await open_stream(invalidated)


async def test_the_token_of_an_event_that_the_oplog_does_not_have_is_lost(
    open_stream: Open, source: Collection, now: Token
) -> None:
    await source.insert_one({"_id": "a"})
    ((event,),) = [await changes(await open_stream(now), 1)]
    data = event["_id"]["_data"]
    assert await keys_after(open_stream, {"_data": data}, 0) == []
    for another_time in ("00000001", f"{int(data[2:10], 16) - 1:08X}"):
        with pytest.raises(PositionLost):
            await open_stream({"_data": data[:2] + another_time + data[10:]})


async def test_a_token_that_is_none_is_never_taken_for_now(open_stream: Open) -> None:
    for data in ("zz", "", "82", "no token"):
        with pytest.raises((PositionLost, DependencyUnavailable)):
            await open_stream({"_data": data})


# Faults


@pytest.mark.parametrize("code", [286, 280, 136])
@pytest.mark.parametrize("command", ["getMore", "aggregate"])
async def test_a_stream_that_cannot_go_on_is_a_lost_position(
    open_stream: Open, client: Client, mongo_names: Names, now: Token, command: str, code: int
) -> None:
    stream = await open_stream(now)
    await stream.next_batch(10, 0.1)
    await fail(client, mongo_names, command, errorCode=code)
    with pytest.raises(PositionLost, match=str(code)):
        await (stream.next_batch(10, 0.1) if command == "getMore" else open_stream(now))


@pytest.mark.parametrize("code", [50, 9, 40646, 40648, 50811, 51055, 51057, 6189500, 6189504, 7182501])
async def test_a_token_that_cannot_be_read_or_come_to_is_a_lost_position(
    open_stream: Open, client: Client, mongo_names: Names, now: Token, code: int
) -> None:
    """50: the scan took longer than we allow it, and would again."""
    await fail(client, mongo_names, "aggregate", errorCode=code)
    with pytest.raises(PositionLost):
        await open_stream(now)


async def test_a_scan_ends_when_it_takes_longer_than_allowed(
    client: Client, mongo_names: Names, route: Route, now: Token
) -> None:
    await fail(client, mongo_names, "aggregate", blockConnection=True, blockTimeMS=200)
    with pytest.raises(PositionLost, match=r"0\.05 s"):
        await ChangeStream.open(client[route.database], route.collection, now, 10, 0.05)


async def test_a_limit_for_opening_is_none_for_what_follows(
    client: Client, route: Route, source: Collection, now: Token
) -> None:
    stream = await ChangeStream.open(client[route.database], route.collection, now, 10, 0.3)
    for _ in range(3):
        assert list((await stream.next_batch(10, 0.2)).changes) == []
    await source.insert_one({"_id": "a"})
    assert [change["key"] for change in await changes(stream, 1)] == ["a"]
    await stream.close()


@pytest.mark.parametrize("how", [{"closeConnection": True}, {"errorCode": 43}, {"errorCode": 1}])
async def test_a_broken_stream_is_waited_for_and_resumes_where_it_was(
    open_stream: Open, client: Client, mongo_names: Names, source: Collection, now: Token, how: dict[str, Any]
) -> None:
    stream = await open_stream(now)
    await stream.next_batch(10, 0.1)
    await source.insert_one({"_id": "a"})
    await fail(client, mongo_names, "getMore", **how)
    with pytest.raises(DependencyUnavailable):
        await stream.next_batch(10, 0.1)
    assert await keys_after(open_stream, now, 1) == ["a"]


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


async def test_a_key_that_cannot_be_decoded_costs_no_event_beside_it(
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


async def test_an_event_that_is_too_large_to_be_sent_is_a_lost_position(
    source: Collection, open_stream: Open, now: Token
) -> None:
    await source.insert_one({"_id": "x" * 7_000_000})
    await source.insert_one({"_id": "after"})
    with pytest.raises(PositionLost, match="10334"):
        await keys_after(open_stream, now, 2)
    later = (await (await open_stream()).next_batch(10, 0.1)).token
    await source.insert_one({"_id": "later"})
    assert await keys_after(open_stream, later, 1) == ["later"], "what is opened now is behind that event"
