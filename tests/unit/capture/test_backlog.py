"""Lag of a route: of what is not synced, or of the oldest change whose refresh is open."""

import time
from collections.abc import Mapping
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tsync_stream.capture import backlog as backlogs
from tsync_stream.capture.backlog import Backlog
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core.health import Health
from tsync_stream.core.model import EpochRef, Head, Position, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.pipeline import Pipeline


class IdleTier:
    """Has no entries."""

    async def backlog(self, epoch: EpochRef, partitions: int) -> list[int]:
        return [0] * partitions


async def test_an_open_refresh_counts_into_the_lag_of_its_route(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_oplog(_: Any) -> None:
        return None

    async def since() -> Mapping[str, Timestamp]:
        return {"listings": Timestamp(int(time.time()) - 60, 1)}

    monkeypatch.setattr(backlogs, "read_oplog", no_oplog)
    start = Position({"_data": "00"}, Timestamp(int(time.time()), 0))
    table = RouteTable(Declaration(Route(name, "shop", name, name)) for name in ("listings", "posts"))
    pipeline = Pipeline(EpochRef("d", 1, "n", "primary"), 1, 2, start, start)
    term = CaptureTerm(pipeline, cast("Tier", IdleTier()), table, [Head(0, 0, start.token)] * 2, start)
    metrics = Metrics()
    await Backlog(cast("Any", None), ["primary"], 1_000, Health(), metrics, since).measure(term)
    lags = {name: metrics.registry.get_sample_value("tsync_route_lag_seconds", {"route": name}) for name in table}
    assert lags["posts"] == 0.0
    assert lags["listings"] is not None
    assert 59.0 <= lags["listings"] < 90.0
