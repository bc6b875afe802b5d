"""How many keys of jobs may wait in the queue, where live changes wait behind them; no server."""

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tsync_stream.core.model import Reason, Route
from tsync_stream.jobs.producer import Producer, Room

MANY = 80_000
ROUTE = Route("listings", "shop", "listings", "listings")


class Tier:
    """A queue with so many unacked entries in each of two partitions."""

    def __init__(self) -> None:
        self.unacked = 0
        self.asked = 0

    async def backlog(self, _epoch: object, partitions: Collection[int]) -> list[int]:
        self.asked += 1
        return [self.unacked for _ in partitions]


@pytest.fixture
def tier() -> Tier:
    return Tier()


@pytest.fixture
def room(tier: Tier) -> Room:
    appended = SimpleNamespace(cursors={})
    pipeline = SimpleNamespace(epoch=None)
    term = SimpleNamespace(tier=tier, pipeline=pipeline, partitions=range(2), in_flight=0, appended=appended)
    return Room(cast("Any", term), MANY)


def producer(room: Room) -> Producer:
    async def send(_: object) -> None:
        raise AssertionError("nothing is sent here")

    return Producer(ROUTE, "job", Reason.RECONCILE, room._term, send, room)


async def is_free(room: Room, tier: Tier) -> bool:
    """Whether a job gets its turn, or still has none after it has asked several times."""
    asked = tier.asked

    async def take() -> None:
        async with room.turn():
            pass

    taking = asyncio.create_task(take())
    while not taking.done() and tier.asked < asked + 3:
        await asyncio.sleep(0)
    taking.cancel()
    return not taking.cancelled() and taking.done()


def test_where_few_may_wait_pages_are_small(room: Room) -> None:
    assert producer(room).page(10_000) == 10_000
    assert producer(room.less(700)).page(10_000) == 233
    assert producer(room.less(700)).page(3) == 3


@pytest.mark.parametrize(("unacked", "free", "quiet"), [(350, True, True), (351, True, False), (MANY, False, False)])
async def test_a_job_waits_for_room(tier: Tier, room: Room, unacked: int, *, free: bool, quiet: bool) -> None:
    tier.unacked = unacked
    assert await is_free(room, tier) == free
    assert await is_free(room.less(700), tier) == quiet
