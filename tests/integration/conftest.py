"""Clients of the real MongoDB inside the tests' event loop, the state database, and failures on command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeAlias
from uuid import uuid4

import pytest

from tests.support.keepers import Make, maker
from tests.support.stack import Names, remove, repair
from tests.support.waiting import HANG_S
from tests.support.waiting import eventually as eventually
from tsync_stream.core import clock
from tsync_stream.core.model import BEGINNING_OF_TIME, Key, Route, Token
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.documents import DocumentReader
from tsync_stream.source.driver import MongoClient, MongoCollection, MongoDatabase, open_client
from tsync_stream.source.stream_scope import scope_of
from tsync_stream.state.database import state_database

Client: TypeAlias = MongoClient
Database: TypeAlias = MongoDatabase
Collection: TypeAlias = MongoCollection


@pytest.fixture(scope="module")
def mongo_names(stack: EmbeddedStack) -> Iterator[Names]:
    """Names for a whole module of tests that use only MongoDB: dropping a database takes longer than such a test."""
    chosen = Names.new()
    yield chosen
    repair(stack)
    remove(stack, chosen)


@pytest.fixture(scope="module")
async def module_client(stack: EmbeddedStack, mongo_names: Names) -> AsyncIterator[Client]:
    """A client with the module's token as its application name, so that `fail` affects no other."""
    connected: Client = open_client(stack.mongo.uri, appname=mongo_names.token, serverSelectionTimeoutMS=5_000)
    yield connected
    connected.close()


@pytest.fixture
async def client(module_client: Client, mongo_names: Names) -> AsyncIterator[Client]:
    """The module's client. After the test no command fails any more, and the state database is empty."""
    yield module_client
    await module_client.admin.command("configureFailPoint", "failCommand", mode="off")
    database = module_client[mongo_names.state_database]
    for name in await database.list_collection_names():
        await database[name].delete_many({})


@pytest.fixture
def state(client: Client, mongo_names: Names) -> Database:
    """The state database, with the read and write concerns of the product."""
    return state_database(client, mongo_names.state_database)


@pytest.fixture
def route(mongo_names: Names) -> Route:
    """A route of this test alone."""
    collection = f"listings_{uuid4().hex[:8]}"
    return Route(collection, mongo_names.database, collection, collection)


@pytest.fixture
async def source(client: Client, route: Route) -> Collection:
    """The source collection; it exists and is empty."""
    await client[route.database].create_collection(route.collection)
    return client[route.database][route.collection]


async def fail(client: Client, names: Names, *commands: str, times: int = 1, **how: Any) -> None:
    """Let the next commands of the module's client fail as `how` says, until the end of the test at the latest."""
    data = {"failCommands": list(commands), "appName": names.token, **how}
    await client.admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)


class Clock:
    """The clock of leases and rechecks, controlled by a test."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


@pytest.fixture
def boot_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time stands still until the test moves it forward."""
    chosen = Clock()
    monkeypatch.setattr(clock, "now_s", lambda: chosen.now_s)
    return chosen


@pytest.fixture
async def reader(client: Client) -> AsyncIterator[DocumentReader]:
    """Reads the documents of a batch, as a lane does."""
    chosen = DocumentReader(client, 10.0)
    yield chosen
    await chosen.close()


Open = Callable[..., Awaitable[ChangeStream]]


@pytest.fixture
async def open_stream(client: Client, route: Route, source: Collection) -> AsyncIterator[Open]:
    """Opens change streams of the source; they are closed after the test."""
    opened: list[ChangeStream] = []

    async def open_one(after: Token | None = None, batch_size: int = 100) -> ChangeStream:
        scope = scope_of([(route.database, route.collection)])
        opened.append(await ChangeStream.open(client, scope, after, batch_size))
        return opened[-1]

    yield open_one
    for stream in opened:
        await stream.close()


@pytest.fixture
async def now(open_stream: Open) -> Token:
    """The current resume token."""
    batch = await (await open_stream()).next_batch(10, 0.1)
    assert list(batch.changes) == []
    return batch.token


async def changes(stream: ChangeStream, count: int, batch_size: int = 100) -> list[Mapping[str, Any]]:
    """The next `count` changes, or more if the last batch holds them."""
    found: list[Mapping[str, Any]] = []
    async with asyncio.timeout(HANG_S):
        while len(found) < count:
            found += (await stream.next_batch(batch_size, 0.2)).changes
    return found


async def keys_after(open_stream: Open, token: Token, count: int) -> list[Key]:
    """The keys of all changes after a token; `count` are expected."""
    stream = await open_stream(token)
    found = await changes(stream, count) if count else []
    found += (await stream.next_batch(100, 0.05)).changes
    return [change["key"] for change in found]


async def scan(reader: DocumentReader, route: Route, count: int, after: Key = ...) -> list[Key]:
    """All keys, in pages of `count`, as a job reads them."""
    found: list[Key] = []
    cursor = None if after is ... else {"phase": "scan", "_id": after}
    while page := await reader.scan_keys(route, cursor, BEGINNING_OF_TIME, count):
        assert len(page) <= count
        found += page
        cursor = {"phase": "scan", "_id": page[-1]}
    return found


@pytest.fixture
def make(state: Database) -> Make:
    """Starts lease keepers of one pipeline, each of which stands for a replica."""
    return maker(state)
