"""The change stream of several collections on a real MongoDB: what arrives, what ends it, and where it resumes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import bson
import pytest
from bson.timestamp import Timestamp

from tests.integration.conftest import Client, changes
from tests.support.stack import Names
from tsync_stream.core.errors import PositionLost
from tsync_stream.core.model import Token
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.stream_scope import scope_of, time_of

Namespaces = Sequence[tuple[str, str]]
OpenWide = Callable[..., Awaitable[ChangeStream]]


@pytest.fixture
async def where(client: Client, mongo_names: Names) -> AsyncIterator[Mapping[str, tuple[str, str]]]:
    """Collections `a`, `b` and `other` of one database, and `far` in another; they exist and are empty."""
    near, away = (f"{mongo_names.token}_{uuid4().hex[:6]}" for _ in range(2))
    places = {"a": (near, "a"), "b": (near, "b"), "other": (near, "other"), "far": (away, "far")}
    for database, collection in places.values():
        await client[database].create_collection(collection)
    yield places
    for database in (near, away):
        await client.drop_database(database)


@pytest.fixture
async def open_wide(client: Client) -> AsyncIterator[OpenWide]:
    """Opens streams of several collections; they are closed after the test."""
    opened: list[ChangeStream] = []

    async def open_one(
        *namespaces: tuple[str, str], start: Token | Timestamp | None = None, size: int = 100
    ) -> ChangeStream:
        opened.append(await ChangeStream.open(client, scope_of(namespaces), start, size))
        return opened[-1]

    yield open_one
    for stream in opened:
        await stream.close()


async def insert(client: Client, place: tuple[str, str], key: Any) -> None:
    await client[place[0]][place[1]].insert_one({"_id": key})


def seen(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [(change["operation"], change.get("key")) for change in found]


@pytest.mark.parametrize("chosen", [("a", "b"), ("a", "far")], ids=["database", "cluster"])
async def test_changes_of_our_collections_arrive_and_of_no_other(
    client: Client, open_wide: OpenWide, where: Mapping[str, tuple[str, str]], chosen: tuple[str, str]
) -> None:
    stream = await open_wide(*(where[name] for name in chosen))
    for number, name in enumerate(["other", *chosen, "b", *chosen]):
        await insert(client, where[name], number)
    await client[where["a"][0]].create_collection("new")
    await client[where["other"][0]]["other"].drop()
    await insert(client, where["a"], "last")
    found = await changes(stream, 5 + ("b" in chosen))
    names = [change["namespace"] for change in found]
    assert set(names) == {".".join(where[name]) for name in chosen}
    assert [key for _, key in seen(found)] == [1, 2, *([3] if "b" in chosen else []), 4, 5, "last"]
    assert all(set(change) == {"_id", "operation", "time", "key", "namespace"} for change in found)


async def test_an_event_stays_small(client: Client, open_wide: OpenWide, where: Mapping[str, tuple[str, str]]) -> None:
    stream = await open_wide(where["a"], where["far"])
    await client[where["far"][0]]["far"].insert_one({"_id": "big", "text": "x" * 5_000_000})
    (change,) = await changes(stream, 1)
    assert len(bson.encode(change)) < 600


@pytest.mark.parametrize("chosen", [("a", "b"), ("a", "far")], ids=["database", "cluster"])
async def test_a_dropped_or_renamed_collection_is_told_and_the_others_go_on(
    client: Client, open_wide: OpenWide, where: Mapping[str, tuple[str, str]], chosen: tuple[str, str]
) -> None:
    stream = await open_wide(*(where[name] for name in chosen))
    database = client[where["a"][0]]
    await database["a"].rename("away")
    await database["other"].rename("a")
    await database["away"].rename("a", dropTarget=True)
    await database["a"].drop()
    await insert(client, where["a"], "anew")
    await insert(client, where[chosen[1]], "beside")
    found = await changes(stream, 6)
    name = ".".join(where["a"])
    assert seen(found) == [
        ("rename", None),
        ("rename", None),
        ("rename", None),
        ("drop", None),
        ("insert", "anew"),
        ("insert", "beside"),
    ]
    assert [change["namespace"] == name for change in found[:5]] == [True, False, False, True, True]
    assert [change["to"]["coll"] for change in found[:3]] == ["away", "a", "a"]


async def test_a_dropped_database_ends_its_stream(
    client: Client, open_wide: OpenWide, where: Mapping[str, tuple[str, str]]
) -> None:
    stream = await open_wide(where["a"], where["b"])
    await client.drop_database(where["a"][0])
    found = await changes(stream, 4)
    assert [operation for operation, _ in seen(found)] == ["drop", "drop", "dropDatabase", "invalidate"]
    with pytest.raises(PositionLost, match="ended"):
        await stream.next_batch(10, 0.1)


async def test_a_dropped_database_is_told_and_the_clusters_stream_goes_on(
    client: Client, open_wide: OpenWide, where: Mapping[str, tuple[str, str]]
) -> None:
    stream = await open_wide(where["a"], where["far"])
    await client.drop_database(where["a"][0])
    await insert(client, where["far"], "beside")
    found = await changes(stream, 3)
    assert seen(found) == [("drop", None), ("dropDatabase", None), ("insert", "beside")]
    assert found[1]["namespace"] == f"{where['a'][0]}."


# Resuming one stream where another stood

SETS = {
    "one": ["a"],
    "the other": ["b"],
    "database": ["a", "b"],
    "more of it": ["a", "b", "other"],
    "cluster": ["a", "far"],
}


@pytest.mark.parametrize("now", SETS)
@pytest.mark.parametrize("before", SETS)
async def test_a_stream_of_other_collections_goes_on_from_the_moment_that_a_token_names(
    client: Client, open_wide: OpenWide, where: Mapping[str, tuple[str, str]], before: str, now: str
) -> None:
    """Whatever was read before, nothing that happened after the token is missed."""
    last = where[SETS[before][-1]]
    old = await open_wide(*(where[name] for name in SETS[before]))
    await insert(client, last, "read")
    token = (await changes(old, 1))[-1]["_id"]
    for name in SETS[now]:
        await insert(client, where[name], "after")
    moment = time_of(token)
    assert moment is not None
    here = [where[name] for name in SETS[now]]
    widened = (await (await open_wide(*here, start=moment, size=0)).next_batch(0, 0.1)).token
    found = await changes(await open_wide(*here, start=widened), len(SETS[now]))
    assert [key for _, key in seen(found)].count("after") == len(SETS[now])


async def test_the_token_of_an_event_that_a_stream_does_not_show_cannot_be_resumed_as_it_is(
    client: Client, open_wide: OpenWide, where: Mapping[str, tuple[str, str]]
) -> None:
    """Why a position is translated when the table of routes changes."""
    old = await open_wide(where["a"], where["b"])
    await insert(client, where["b"], "read")
    token = (await changes(old, 1))[-1]["_id"]
    await insert(client, where["a"], "after")
    with pytest.raises(PositionLost):
        await changes(await open_wide(where["a"], where["other"], start=token), 1)
