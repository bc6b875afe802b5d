"""Clients of the real MongoDB inside the tests' event loop, our state database, and faults on command."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias
from uuid import uuid4

import pytest

from tests.support.stack import Names, remove, repair
from tests.support.waiting import eventually as eventually
from tsync_stream.core import clock
from tsync_stream.core.model import Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.source.driver import MongoClient, MongoCollection, MongoDatabase, open_client
from tsync_stream.state.database import state_database

Client: TypeAlias = MongoClient
Database: TypeAlias = MongoDatabase
Collection: TypeAlias = MongoCollection


@pytest.fixture(scope="module")
def mongo_names(stack: EmbeddedStack) -> Iterator[Names]:
    """Names for a whole module of tests that use MongoDB only: to drop a database takes longer than such a test."""
    chosen = Names.new()
    yield chosen
    repair(stack)
    remove(stack, chosen)


@pytest.fixture(scope="module")
async def module_client(stack: EmbeddedStack, mongo_names: Names) -> AsyncIterator[Client]:
    """A client that MongoDB knows by the module's token, so that `fail` meets nobody else."""
    connected: Client = open_client(stack.mongo.uri, appname=mongo_names.token, serverSelectionTimeoutMS=5_000)
    yield connected
    connected.close()


@pytest.fixture
async def client(module_client: Client, mongo_names: Names) -> AsyncIterator[Client]:
    """The module's client. After the test nothing fails on command, and the state database is empty."""
    yield module_client
    await module_client.admin.command("configureFailPoint", "failCommand", mode="off")
    database = module_client[mongo_names.state_database]
    for name in await database.list_collection_names():
        await database[name].delete_many({})


@pytest.fixture
def state(client: Client, mongo_names: Names) -> Database:
    """The state database, read and written as the product does."""
    return state_database(client, mongo_names.state_database)


@pytest.fixture
def route(mongo_names: Names) -> Route:
    """A route of the test's own."""
    collection = f"listings_{uuid4().hex[:8]}"
    return Route(collection, mongo_names.database, collection, collection)


@pytest.fixture
async def source(client: Client, route: Route) -> Collection:
    """The source collection; it exists and is empty."""
    await client[route.database].create_collection(route.collection)
    return client[route.database][route.collection]


async def fail(client: Client, names: Names, *commands: str, times: int = 1, **how: Any) -> None:
    """Let the next commands of the module's client fail as `how` says, at most until the end of the test."""
    data = {"failCommands": list(commands), "appName": names.token, **how}
    await client.admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)


class Clock:
    """The clock that leases and rechecks are measured on, in the hands of a test."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


@pytest.fixture
def boot_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time stands still until the test says otherwise."""
    chosen = Clock()
    monkeypatch.setattr(clock, "now_s", lambda: chosen.now_s)
    return chosen
