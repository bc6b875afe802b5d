"""A replica in the test's own process, its agents joined by queues instead of Faust's channels."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tsync_stream.capture.agent import capture_agent
from tsync_stream.capture.persist import persist_agent
from tsync_stream.composition import Channels
from tsync_stream.core.health import Health
from tsync_stream.core.tasks import end_tasks
from tsync_stream.observe.metrics import Metrics
from tsync_stream.replica import Replica
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.generations import effective
from tsync_stream.settings.in_force import InForce
from tsync_stream.settings.load import Settings
from tsync_stream.sync.agent import sync_agent


@asynccontextmanager
async def running_replica(settings: Settings, health: Health | None = None) -> AsyncIterator[Metrics]:
    """What it counts. At the end the replica is stopped as a worker stops it; an unforeseen error fails the test."""
    changes: asyncio.Queue[Any] = asyncio.Queue(1)
    entries: asyncio.Queue[Any] = asyncio.Queue(1)
    batches: asyncio.Queue[Any] = asyncio.Queue()
    metrics = Metrics()
    channels = Channels(changes.put, entries.put, batches.put)
    table = effective(declared_routes(settings), {})
    replica = Replica(InForce.at_start(settings), table, channels, health or Health(), metrics)

    async def capture() -> None:
        agent = capture_agent(lambda: replica.dead_letters, lambda: replica.positions, lambda: replica.fan_out, metrics)
        async for batch in agent(_values(changes)):
            await entries.put(batch)

    async def persist() -> None:
        await persist_agent(metrics)(_values(entries))

    async def sync() -> None:
        await sync_agent(lambda: replica.sync)(_values(batches))

    agents = [asyncio.create_task(agent()) for agent in (capture, persist, *[sync] * settings.sync_lanes)]
    crashes: list[BaseException] = []
    await replica.start(crashes.append)
    try:
        yield metrics
    finally:
        await replica.stop()
        await end_tasks(agents)
    assert crashes == []


def _values(queue: "asyncio.Queue[Any]") -> Any:
    """What an agent iterates over instead of a Faust stream."""

    async def values() -> AsyncIterator[Any]:
        while True:
            yield await queue.get()

    return values()
