"""Our clients of MongoDB, and what we do to the driver's private parts: this fails when they move."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from tests.integration.conftest import Client, Clock, Collection
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


async def working(client: Client, collection: str) -> list[dict[str, Any]]:
    look: list[dict[str, Any]] = [{"$currentOp": {}}, {"$match": {"command.aggregate": collection, "active": True}}]
    return await client.admin.aggregate(look).to_list(10)


async def test_a_client_that_is_ended_leaves_neither_a_thread_nor_work_on_the_server(
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
        while not await working(client, source.name):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(end_client, ours)
        with pytest.raises(PyMongoError):
            await call
        while await working(client, source.name):
            await asyncio.sleep(0.02)


async def test_connecting_anew_leaves_no_connection_of_before_in_use(
    stack: EmbeddedStack, mongo_names: Names, tmp_path: Path
) -> None:
    async def connections() -> set[int]:
        hellos = await asyncio.gather(*(ours.admin.command("hello") for _ in range(20)))
        return {hello["connectionId"] for hello in hellos}

    ours = mongo_client(load_settings(tmp_path, {**stack.environment(), **mongo_names.environment()}))
    before = await connections()
    assert await connections() & before, "the pool keeps them"
    connect_anew(ours)
    after = await connections()
    assert not after & before
    assert await connections() & after
    ours.close()


def test_refusals_connect_anew_with_growing_pauses(boot_clock: Clock) -> None:
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


def test_what_is_no_refusal_keeps_its_connections(boot_clock: Clock) -> None:
    mongo = MongoHealth(Health(), lambda: pytest.fail("connected anew"))
    mongo.failed("epoch", DependencyUnavailable("away"), "waiting")
