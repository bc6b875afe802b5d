"""How a change stream ends on a real MongoDB: its collection goes, its position is lost, or it breaks and resumes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.integration.conftest import Client, Collection, Open, changes, fail, keys_after
from tests.support.stack import Names
from tests.support.waiting import HANG_S
from tsync_stream.core.errors import DependencyUnavailable, PositionLost
from tsync_stream.core.model import Route, Token
from tsync_stream.source.change_stream import ENDING_OPERATIONS, ChangeStream
from tsync_stream.source.stream_scope import scope_of

# Ends


async def _fresh(source: Collection) -> None:
    staged = source.database[f"{source.name}_new"]
    await staged.insert_one({"_id": "arrives without an event"})
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
    raise AssertionError(f"the stream does not end: {seen}")


@pytest.mark.parametrize("end", ENDS)
async def test_the_end_of_a_collection_is_reported_and_nothing_follows_it(
    open_stream: Open, source: Collection, end: str
) -> None:
    stream = await open_stream()
    await source.insert_one({"_id": "before"})
    await ENDS[end](source)
    seen = await operations_until_the_end(stream)
    assert seen[0] == "insert"
    assert len(seen) > 1
    assert set(seen[1:]) <= ENDING_OPERATIONS


async def test_the_end_of_a_database_is_reported(client: Client, mongo_names: Names) -> None:
    database = client[f"{mongo_names.token}_dropped"]
    await database.create_collection("listings")
    stream = await ChangeStream.open(client, scope_of([(database.name, "listings")]), None, 10)
    await client.drop_database(database.name)
    assert set(await operations_until_the_end(stream)) & ENDING_OPERATIONS
    await stream.close()


async def test_a_stream_does_not_resume_past_the_end_of_its_collection(open_stream: Open, source: Collection) -> None:
    stream = await open_stream()
    await source.drop()
    invalidated: Token | None = None
    async with asyncio.timeout(HANG_S):
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


async def test_a_bogus_token_never_opens_the_stream_at_the_present(open_stream: Open) -> None:
    for data in ("zz", "", "82", "no token"):
        with pytest.raises((PositionLost, DependencyUnavailable)):
            await open_stream({"_data": data})


# Faults


@pytest.mark.parametrize("code", [286, 280, 136])
@pytest.mark.parametrize("command", ["getMore", "aggregate"])
async def test_a_stream_that_cannot_resume_is_a_lost_position(
    open_stream: Open, client: Client, mongo_names: Names, now: Token, command: str, code: int
) -> None:
    stream = await open_stream(now)
    await stream.next_batch(10, 0.1)
    await fail(client, mongo_names, command, errorCode=code)
    with pytest.raises(PositionLost, match=str(code)):
        await (stream.next_batch(10, 0.1) if command == "getMore" else open_stream(now))


@pytest.mark.parametrize("code", [50, 9, 40646, 40648, 50811, 51055, 51057, 6189500, 6189504, 7182501])
async def test_a_token_that_the_server_rejects_or_cannot_reach_is_a_lost_position(
    open_stream: Open, client: Client, mongo_names: Names, now: Token, code: int
) -> None:
    """50: the scan exceeded our limit, and would do so again."""
    await fail(client, mongo_names, "aggregate", errorCode=code)
    with pytest.raises(PositionLost):
        await open_stream(now)


async def test_an_oplog_scan_that_exceeds_its_limit_is_a_lost_position(
    client: Client, mongo_names: Names, route: Route, now: Token
) -> None:
    await fail(client, mongo_names, "aggregate", blockConnection=True, blockTimeMS=200)
    with pytest.raises(PositionLost, match=r"0\.05 s"):
        await ChangeStream.open(client, scope_of([(route.database, route.collection)]), now, 10, 0.05)


async def test_the_time_limit_for_opening_does_not_apply_to_reading(
    client: Client, route: Route, source: Collection, now: Token
) -> None:
    stream = await ChangeStream.open(client, scope_of([(route.database, route.collection)]), now, 10, 0.3)
    for _ in range(3):
        assert list((await stream.next_batch(10, 0.2)).changes) == []
    await source.insert_one({"_id": "a"})
    assert [change["key"] for change in await changes(stream, 1)] == ["a"]
    await stream.close()


@pytest.mark.parametrize("how", [{"closeConnection": True}, {"errorCode": 43}, {"errorCode": 1}])
async def test_a_broken_stream_is_an_outage_and_resumes_where_it_was(
    open_stream: Open, client: Client, mongo_names: Names, source: Collection, now: Token, how: dict[str, Any]
) -> None:
    stream = await open_stream(now)
    await stream.next_batch(10, 0.1)
    await source.insert_one({"_id": "a"})
    await fail(client, mongo_names, "getMore", **how)
    with pytest.raises(DependencyUnavailable):
        await stream.next_batch(10, 0.1)
    assert await keys_after(open_stream, now, 1) == ["a"]


async def test_an_event_too_large_to_be_sent_is_a_lost_position(
    source: Collection, open_stream: Open, now: Token
) -> None:
    await source.insert_one({"_id": "x" * 7_000_000})
    await source.insert_one({"_id": "after"})
    with pytest.raises(PositionLost, match="10334"):
        await keys_after(open_stream, now, 2)
    later = (await (await open_stream()).next_batch(10, 0.1)).token
    await source.insert_one({"_id": "later"})
    assert await keys_after(open_stream, later, 1) == ["later"], "a stream opened now starts after that event"


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
async def test_a_malformed_token_is_a_lost_position(
    client: Client, route: Route, source: Collection, token: dict[str, Any]
) -> None:
    with pytest.raises(PositionLost):
        await ChangeStream.open(client, scope_of([(route.database, route.collection)]), token, 10)
