"""From a batch of changes to the queue: what the agents capture and persist do with a change that brings a need."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from bson.timestamp import Timestamp

from tsync_stream.capture.agent import capture_agent
from tsync_stream.capture.fan_out import FanOut
from tsync_stream.capture.persist import append_batch
from tsync_stream.capture.term import CapturedChanges, CaptureTerm
from tsync_stream.core.model import Barrier, EpochRef, Head, Position, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.tier import Append, Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.change_stream import ChangeBatch
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.pipeline import Pipeline, PositionStore

PARTITIONS = 3
START = Position({"_data": "01"}, Timestamp(1, 0))
TABLE = RouteTable([Declaration(Route(name, "shop", name, name)) for name in ("listings", "sellers")])


class Appending:
    """A tier that takes everything."""

    def __init__(self) -> None:
        self.calls: list[tuple[Mapping[str, Any], Sequence[Append]]] = []

    async def append(self, _epoch: EpochRef, _fence: int, token: Mapping[str, Any], appends: Sequence[Append]) -> None:
        self.calls.append((token, appends))


class Needs:
    """Stores every need."""

    def __init__(self) -> None:
        self.stored: list[Mapping[str, str]] = []

    async def need_reconciles(self, _pipeline: Pipeline, reasons: Mapping[str, str]) -> bool:
        self.stored.append(reasons)
        return True


class NoLookups:
    any = False


async def test_the_token_of_a_dropped_collection_is_behind_every_head_once_its_need_is_stored() -> None:
    """The need ends the term. The next one begins at the oldest head, and must not read the drop again, forever."""
    tier, needs = Appending(), Needs()
    pipeline = Pipeline(EpochRef("d", 1, "n", "primary"), 1, PARTITIONS, START, START)
    term = CaptureTerm(pipeline, cast("Tier", tier), TABLE, [Head(0, 0, START.token)] * PARTITIONS, START)
    drop = {"operation": "drop", "namespace": "shop.listings", "time": Timestamp(3, 0), "_id": {"_data": "03"}}
    reads: list[list[dict[str, Any]]] = [[], [drop]]

    async def batches() -> AsyncIterator[CapturedChanges]:
        token = START.token
        for number, changes in enumerate(reads, 2):
            with term.sending() as delivery:
                batch = ChangeBatch(changes, {"_data": f"0{number}"}, Timestamp(number, 0))
                yield CapturedChanges(delivery, token, batch)
            token = batch.token

    agent = capture_agent(
        lambda: cast("DeadLetters", None),
        lambda: cast("PositionStore", needs),
        lambda: cast("FanOut", NoLookups()),
        Metrics(),
    )
    async for entries in agent(cast("Any", batches())):
        await append_batch(entries)
        entries.delivery.settle()
    assert [list(each) for each in needs.stored] == [["listings"]]
    token, appends = tier.calls[-1]
    assert token == {"_data": "03"}
    assert [append.partition for append in appends] == list(range(PARTITIONS))
    assert all(isinstance(append.items[-1], Barrier) for append in appends)
