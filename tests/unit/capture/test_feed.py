"""The change feed, over a change stream in memory: no batch skipped, pauses that let barriers through, its state."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.support.waiting import HANG_S, eventually
from tsync_stream.capture import feed as feed_module
from tsync_stream.capture.backlog import Backlog
from tsync_stream.capture.feed import ChangeStreams, Feed, describe_opening
from tsync_stream.capture.handover import TermEnd
from tsync_stream.capture.term import CapturedChanges, CaptureTerm
from tsync_stream.core.linger import PAUSE_PER_CHANGE_S, SyncPace, linger_s
from tsync_stream.core.model import EpochRef, Head, Position, Route, Token
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.change_stream import ChangeBatch, ChangeStream
from tsync_stream.state.pipeline import Pipeline

START = Position({"_data": "00"}, Timestamp(1, 0))
ROUTE = Route("listings", "shop", "listings", "listings")
TABLE = RouteTable([Declaration(ROUTE)])
READ_SIZE = 10
SHORT_READ_S = 0.001


def batch(number: int, changes: int) -> ChangeBatch:
    return ChangeBatch([{}] * changes, {"_data": f"{number:02}"}, Timestamp(number, 0))


class World:
    """A feed over these batches; behind them the stream is idle."""

    def __init__(self, *batches: ChangeBatch, longest_linger_s: float = 5.0) -> None:
        self.batches = list(batches)
        self.reads = 0
        self.stopping = False
        self.opens = asyncio.Event()
        self.opens.set()
        self.sent: list[CapturedChanges] = []
        self.backlog = SimpleNamespace(full=False)
        pipeline = Pipeline(EpochRef("d", 1, "n", "primary"), 1, 1, START, START)
        self.term = CaptureTerm(pipeline, cast("Tier", None), TABLE, [Head(0, 0, START.token)], START)
        streams, backlog = cast("ChangeStreams", self), cast("Backlog", self.backlog)
        self.feed = Feed(streams, self._send, READ_SIZE, longest_linger_s, SyncPace(), backlog)

    @asynccontextmanager
    async def opened(self, after: Token, since: Timestamp, stopping: Callable[[], bool]) -> AsyncIterator[Any]:
        await self.opens.wait()
        yield None if stopping() else cast("ChangeStream", self)

    async def next_batch(self, size: int, wait_s: float) -> ChangeBatch:
        assert (size, wait_s) == (READ_SIZE, SHORT_READ_S), "no setting shortens a read"
        self.reads += 1
        await asyncio.sleep(0)
        return self.batches.pop(0) if self.batches else batch(99, 0)

    async def _send(self, changes: CapturedChanges) -> None:
        self.sent.append(changes)
        changes.delivery.settle()

    def run(self) -> "asyncio.Task[TermEnd]":
        return asyncio.create_task(self.feed.run(self.term, lambda: self.stopping))

    async def stop(self, task: "asyncio.Task[TermEnd]") -> None:
        self.stopping = True
        assert await asyncio.wait_for(task, HANG_S) == TermEnd("this replica stops")


@pytest.fixture(autouse=True)
def short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "LONGEST_READ_S", SHORT_READ_S)


async def test_every_batch_is_sent_with_the_token_it_starts_from() -> None:
    world = World(batch(1, 3), batch(2, READ_SIZE), batch(3, 1))
    task = world.run()
    await eventually(lambda: len(world.sent) >= 3)
    await world.stop(task)
    found = [(changes.from_token["_data"], changes.batch.token["_data"]) for changes in world.sent[:3]]
    assert found == [("00", "01"), ("01", "02"), ("02", "03")]
    assert world.term.in_flight == 0


@pytest.mark.parametrize(("longest_linger_s", "lingered_s"), [(5.0, 3 * PAUSE_PER_CHANGE_S), (0.001, 0.001)])
async def test_a_feed_lingers_no_longer_than_the_settings_allow(
    monkeypatch: pytest.MonkeyPatch, longest_linger_s: float, lingered_s: float
) -> None:
    lingered: list[float] = []

    def recorded(*arguments: Any) -> float:
        lingered.append(linger_s(*arguments))
        return lingered[-1]

    monkeypatch.setattr(feed_module, "linger_s", recorded)
    world = World(batch(1, 3), batch(2, 1), longest_linger_s=longest_linger_s)
    task = world.run()
    await eventually(lambda: len(lingered) >= 2)
    await world.stop(task)
    assert lingered[:2] == [lingered_s, 0.0], "a single change never lingers"


async def test_an_empty_batch_is_sent_only_when_a_barrier_is_due() -> None:
    world = World()
    world.term.done([], START, world.term.barrier_due(START, 0), 0)
    task = world.run()
    await eventually(lambda: world.reads > 20)
    await world.stop(task)
    assert world.sent == []


@pytest.mark.parametrize("reason", ["backlog", "term"])
async def test_a_paused_feed_reads_nothing_and_sends_empty_batches(reason: str) -> None:
    world = World(batch(1, 3))
    if reason == "backlog":
        world.backlog.full = True
    else:
        world.term.paused = True
    task = world.run()
    await eventually(lambda: len(world.sent) > 2)
    assert repr(world.feed) == "<Feed paused>"
    assert world.reads == 0
    assert all(not changes.batch.changes and changes.batch.token == START.token for changes in world.sent)
    world.backlog.full = world.term.paused = False
    await eventually(lambda: any(changes.batch.changes for changes in world.sent))
    assert repr(world.feed) == "<Feed reading>"
    await world.stop(task)


async def test_a_stop_while_the_stream_opens_ends_the_term() -> None:
    world = World()
    world.opens.clear()
    task = world.run()
    await asyncio.sleep(0)
    assert repr(world.feed) == "<Feed opening>"
    world.stopping = True
    world.opens.set()
    await world.stop(task)
    assert repr(world.feed) == "<Feed closed>"
    assert world.reads == 0


def test_the_message_while_the_stream_opens_says_since_when_and_what_follows() -> None:
    text = describe_opening(Timestamp(0, 1), 65.4)
    assert "scanning the oplog since 1970-01-01 00:00:00 UTC has taken 65 s so far" in text
    assert "nothing is lost" in text
    assert "a reconcile replaces the scan" in text
