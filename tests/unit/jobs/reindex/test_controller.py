"""The reindexes of a term, side by side: what goes wrong with one holds up no other."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tsync_stream.core import clock
from tsync_stream.core.health import Health
from tsync_stream.jobs.reindex.controller import UNFORESEEN_PAUSE_S, Reindexes
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.generations import Generations, Reindex

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def filed(route: str) -> Generations:
    return Generations.first(route, route, f"{route}_1").filed(
        Reindex(f"job of {route}", 2, 1, "building", NOW, NOW), {}, f"{route}_1"
    )


class World:
    """Stands for the store and the looks of a term: the first route fails in a way that nobody foresaw."""

    def __init__(self) -> None:
        self.looked_at: list[str] = []

    async def all(self) -> dict[str, Generations]:
        return {route: filed(route) for route in ("a", "b")}

    async def facts(self, document: Generations) -> None:
        self.looked_at.append(document.route)
        if document.route == "a":
            raise RuntimeError("unforeseen")


async def test_an_unforeseen_error_of_one_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world: Any = World()
    table = cast(RouteTable, {"a": None, "b": None})
    reindexes = Reindexes(world, world, cast(Any, None), table, Health(), Metrics())
    async with asyncio.timeout(UNFORESEEN_PAUSE_S / 2):
        await reindexes.look()
        await reindexes.look()
    assert world.looked_at == ["a", "b", "b"]
    later_s = clock.now_s() + UNFORESEEN_PAUSE_S
    monkeypatch.setattr(clock, "now_s", lambda: later_s)
    await reindexes.look()
    assert world.looked_at == ["a", "b", "b", "a", "b"]
