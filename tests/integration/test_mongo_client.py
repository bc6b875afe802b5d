"""Our clients of MongoDB, and what we do to the driver's private parts: this fails when they move."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from tests.integration.conftest import Client, Collection
from tests.support.stack import Names
from tsync_stream.config import load_settings
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.source.mongo_client import end_client, stream_client


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
