"""A source of several is renamed while its replica dies: the need of a reconcile is stored before the token passes."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.support.many_routes import ManyRoutes, needs
from tests.support.replica import running_replica
from tests.support.stack import Names, mongo_client
from tests.support.waiting import HANG_S, eventually
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.settings.load import Settings, load_settings
from tsync_stream.state.pipeline import Pipeline, PositionStore

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Typesense client's own deprecated parts


def stored(client: MongoClient[dict[str, Any]], names: Names) -> dict[str, Any]:
    return client[names.state_database].pipeline.find_one({"_id": "pipeline"}) or {}


def settings_of(stack: EmbeddedStack, names: Names, routes: ManyRoutes, directory: Path) -> Settings:
    environment = {**stack.environment(), **names.environment(), **routes.settings()}
    return load_settings(directory, {**environment, "LEASE_TTL": "15s", "MASS_DELETE_SHARE": "1"})


@pytest.mark.parametrize("dies", ["before the need is stored", "before the token passes"])
async def test_a_rename_is_not_forgotten_when_the_replica_dies_with_it_in_hand(
    stack: EmbeddedStack, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    original = PositionStore.need_reconciles
    reached = asyncio.Event()

    async def need_reconciles(self: PositionStore, pipeline: Pipeline, reasons: Mapping[str, str]) -> bool:
        if dies == "before the token passes":
            await original(self, pipeline, reasons)
        reached.set()
        await asyncio.Event().wait()  # until the replica is gone
        raise AssertionError

    with mongo_client(stack) as client:
        routes = ManyRoutes(stack, names, client, tmp_path)
        routes.declare({"renamed": (routes.near, "renamed"), "beside": (routes.near, "beside")})
        for name in ("renamed", "beside"):
            routes.source(name).insert_many([{"_id": f"{name} {number}"} for number in range(20)])
        settings = settings_of(stack, names, routes, tmp_path)
        async with running_replica(settings):
            await asyncio.to_thread(routes.wait_until_equal)
            await eventually(lambda: not needs(stored(client, names)), 90)
            monkeypatch.setattr(PositionStore, "need_reconciles", need_reconciles)
            # The same collection comes back, so only the event tells that changes were missed meanwhile.
            routes.source("renamed").rename("away")
            client[routes.near]["away"].insert_one({"_id": "unseen"})
            client[routes.near]["away"].rename("renamed")
            routes.source("beside").insert_one({"_id": "after"})
            await asyncio.wait_for(reached.wait(), HANG_S)
        monkeypatch.setattr(PositionStore, "need_reconciles", original)
        epoch = stored(client, names)["epoch"]
        async with running_replica(settings):
            await asyncio.to_thread(routes.wait_until_equal)
            await eventually(lambda: not needs(stored(client, names)), 90)
        done = [job["route"] for job in client[names.state_database].jobs.find({"kind": "reconcile"})]
        assert done.count("beside") == 1, "at the first start"
        assert done.count("renamed") >= 2
        assert stored(client, names)["epoch"] == epoch
