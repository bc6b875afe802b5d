"""Our MongoDB clients, and the private parts of the driver that we use: this fails when they change."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from tests.integration.conftest import Client, Clock, Collection, eventually
from tests.support.stack import Names
from tsync_stream.core.errors import DependencyUnavailable, MongoRefused
from tsync_stream.core.health import Health
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.settings.load import load_settings
from tsync_stream.source.driver import (
    MAX_PAUSE_S,
    QUIET_S,
    MongoHealth,
    connect_anew,
    end_client,
    mongo_client,
    stream_client,
)


async def working(client: Client, collection: str) -> bool:
    """Whether the server is running an aggregation of the collection."""
    look: list[dict[str, Any]] = [{"$currentOp": {}}, {"$match": {"command.aggregate": collection, "active": True}}]
    return bool(await client.admin.aggregate(look).to_list(10))


async def idle(client: Client, collection: str) -> bool:
    """Whether it is not."""
    return not await working(client, collection)


async def test_ending_a_client_ends_its_thread_and_its_work_on_the_server(
    stack: EmbeddedStack, mongo_names: Names, tmp_path: Path, client: Client, source: Collection
) -> None:
    await source.insert_many([{"_id": key} for key in range(1_000)])
    ours = stream_client(load_settings(tmp_path, {**stack.environment(), **mongo_names.environment()}))
    long: list[dict[str, Any]] = [
        {"$project": {"number": {"$range": [0, 100_000]}}},
        {"$unwind": "$number"},
        {"$group": {"_id": None, "sum": {"$sum": "$number"}}},
    ]
    call = asyncio.ensure_future(ours[source.database.name][source.name].aggregate(long).to_list(None))
    async with asyncio.timeout(20):
        await eventually(lambda: working(client, source.name))
        await asyncio.to_thread(end_client, ours)
        with pytest.raises(PyMongoError):
            await call
        await eventually(lambda: idle(client, source.name))


async def test_reconnecting_retires_every_old_connection(
    stack: EmbeddedStack, mongo_names: Names, tmp_path: Path
) -> None:
    async def connections() -> set[int]:
        hellos = await asyncio.gather(*(ours.admin.command("hello") for _ in range(20)))
        return {hello["connectionId"] for hello in hellos}

    ours = mongo_client(load_settings(tmp_path, {**stack.environment(), **mongo_names.environment()}))
    before = await connections()
    assert await connections() & before, "the pool reuses connections"
    connect_anew(ours)
    after = await connections()
    assert not after & before
    assert await connections() & after
    ours.close()


def test_refusals_cause_reconnects_with_growing_pauses(boot_clock: Clock) -> None:
    times_s: list[float] = []
    mongo = MongoHealth(Health(), lambda: times_s.append(boot_clock.now_s))
    began_s = boot_clock.now_s
    for _ in range(200):
        mongo.failed("epoch", MongoRefused("refused"), "waiting")
        boot_clock.forward(1.0)
    pauses_s = [later - earlier for earlier, later in pairwise(times_s)]
    assert times_s[0] == began_s
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == MAX_PAUSE_S
    boot_clock.forward(QUIET_S)
    mongo.failed("epoch", MongoRefused("refused"), "waiting")
    assert times_s[-1] == boot_clock.now_s


def test_an_outage_does_not_cause_a_reconnect(boot_clock: Clock) -> None:
    mongo = MongoHealth(Health(), lambda: pytest.fail("connected anew"))
    mongo.failed("epoch", DependencyUnavailable("away"), "waiting")
