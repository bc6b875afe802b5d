"""How long a lane lingers after a read."""

from typing import cast

import pytest
from bson.timestamp import Timestamp

from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.core.linger import PAUSE_PER_CHANGE_S
from tsync_stream.core.model import BEGINNING_OF_TIME, Barrier, BarrierOrder, Entry, Position, RecordBatch
from tsync_stream.queue.tier import Read
from tsync_stream.routes.table import RouteTable
from tsync_stream.sync.current_queue import CurrentQueue, ReadLimits

BARRIER = Barrier(BarrierOrder(1, 1, 1), Position({}, BEGINNING_OF_TIME))


def record_batch(operations: str, *, barrier: bool = False) -> RecordBatch:
    """An entry for each letter, and perhaps a barrier."""
    entries = Entry.many("listings", range(len(operations)), operations, Timestamp(7, 1))
    return RecordBatch(b"3-1", 1, [*entries, BARRIER] if barrier else entries)


@pytest.mark.parametrize(
    ("found", "full", "pause_s"),
    [
        ({}, False, 0.0),
        ({0: [record_batch("u")]}, False, 0.0),
        ({0: [record_batch("uu")], 1: [record_batch("", barrier=True)]}, False, 3 * PAUSE_PER_CHANGE_S),
        ({0: [record_batch("uu")]}, True, 0.0),
        ({0: [record_batch("uu")], 1: [record_batch("cc")]}, False, 0.0),
    ],
    ids=["nothing", "one change", "several changes", "a full read", "a job queues"],
)
def test_a_lane_lingers_only_where_more_gathers(
    found: dict[int, list[RecordBatch]], full: bool, pause_s: float
) -> None:
    limits = ReadLimits(batch_size=100, buffer_size=1_000, longest_linger_s=5.0)
    queue = CurrentQueue(cast("EpochWatch", None), {}, cast("RouteTable", {}), 8, limits)
    assert queue.pause_after(Read(found, full)) == pause_s
