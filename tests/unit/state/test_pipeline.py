"""The synced position: the smallest barrier that every partition has passed in the present term, and nothing later."""

from dataclasses import replace

import pytest
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.model import BarrierOrder, EpochRef, Position
from tsync_stream.state.pipeline import (
    BarrierRecord,
    Pipeline,
    TierSuspect,
    new_nonce,
    synced_position,
)
from tsync_stream.state.route_state import ReconcileNeed, RouteState

EPOCH, FENCE, PARTITIONS = 7, 30, 3
BEGAN = Position({"_data": "began"}, Timestamp(100, 0), {"job": {"phase": "scan"}})


def pipeline(partitions: int = PARTITIONS) -> Pipeline:
    return Pipeline(
        epoch=EpochRef("deployment", EPOCH, "nonce", "primary"),
        capture_fence=FENCE,
        partitions=partitions,
        began=BEGAN,
        captured=Position({"_data": "captured"}, Timestamp(999, 0)),
    )


def record(counter: int, *, epoch: int = EPOCH, fence: int = FENCE) -> BarrierRecord:
    """The record of a barrier; within the term, later barriers have later positions."""
    position = Position({"_data": f"{epoch}.{fence}.{counter}"}, Timestamp(100 + counter, 0))
    return BarrierRecord(BarrierOrder(epoch, fence, counter), counter, position)


def test_synced_is_the_smallest_record_when_every_partition_has_one() -> None:
    records = {0: record(5), 1: record(3), 2: record(9)}
    assert synced_position(pipeline(), records) == records[1].position


def test_synced_carries_the_cursors_of_the_smallest_record() -> None:
    records = {0: record(5), 1: record(3), 2: record(9)}
    slowest = replace(records[1].position, cursors={"job": {"phase": "sweep"}})
    records[1] = replace(records[1], position=slowest)
    assert synced_position(pipeline(), records).cursors == {"job": {"phase": "sweep"}}


@pytest.mark.parametrize(
    ("case", "records"),
    {
        "none has a record": {},
        "one has no record": {0: record(5), 2: record(9)},
        "one has only an older fence's": {0: record(5), 1: record(8, fence=FENCE - 1), 2: record(9)},
        "one has only a newer fence's": {0: record(5), 1: record(8, fence=FENCE + 1), 2: record(9)},
        "one has only an older epoch's": {0: record(5), 1: record(8, epoch=EPOCH - 1), 2: record(9)},
        "one has only a newer epoch's": {0: record(5), 1: record(8, epoch=EPOCH + 1), 2: record(9)},
        "an older epoch has the same fence and all partitions": dict.fromkeys(range(3), record(8, epoch=EPOCH - 1)),
        "a record beyond the last partition stands in for none": {0: record(5), 1: record(3), 3: record(9)},
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_synced_stays_where_the_term_began_while(case: str, records: dict[int, BarrierRecord]) -> None:
    assert synced_position(pipeline(), records) == BEGAN, case


def test_records_beyond_the_last_partition_are_ignored() -> None:
    records = {0: record(5), 1: record(4), 2: record(9), 3: record(1), 8: record(2)}
    assert synced_position(pipeline(), records) == records[1].position


some_record = st.builds(
    record,
    st.integers(1, 20),
    epoch=st.sampled_from([EPOCH - 1, EPOCH, EPOCH, EPOCH, EPOCH + 1]),
    fence=st.sampled_from([FENCE - 1, FENCE, FENCE, FENCE, FENCE + 1]),
)


@given(partitions=st.integers(1, 4), records=st.dictionaries(st.integers(0, 5), some_record))
def test_synced_is_never_later_than_what_a_partition_recorded_in_this_term(
    partitions: int, records: dict[int, BarrierRecord]
) -> None:
    of_term = {
        partition: entry.position
        for partition, entry in records.items()
        if entry.order.epoch == EPOCH and entry.order.fence == FENCE
    }
    synced = synced_position(pipeline(partitions), records)
    for partition in range(partitions):
        own = of_term.get(partition, BEGAN)
        assert synced.cluster_time <= own.cluster_time
    if all(partition in of_term for partition in range(partitions)):
        assert synced in of_term.values(), "and it does move on"


def test_barriers_are_ordered_by_epoch_then_fence_then_count() -> None:
    ordered = [(1, 9, 9), (2, 1, 9), (2, 2, 1), (2, 2, 2), (3, 0, 0)]
    assert sorted(BarrierOrder(*order) for order in reversed(ordered)) == [BarrierOrder(*order) for order in ordered]


def test_the_next_epoch_begins_where_it_is_told_and_suspects_nothing() -> None:
    state = RouteState({"source": "a.b"}, ReconcileNeed("job", "asked for"), Timestamp(5, 1))
    old = replace(pipeline(), tier_suspect=TierSuspect(EPOCH, "entries are gone"), routes={"a": state})
    new = old.next_epoch(FENCE + 2, "backup", BEGAN, old.routes)
    assert (new.epoch.deployment, new.epoch.epoch, new.epoch.tier) == ("deployment", EPOCH + 1, "backup")
    assert new.epoch.nonce != old.epoch.nonce
    assert (new.capture_fence, new.began, new.captured) == (FENCE + 2, BEGAN, BEGAN)
    assert new.tier_suspect is None
    assert (new.routes, new.partitions) == (old.routes, old.partitions)


def test_a_route_has_a_reconcile_of_its_own() -> None:
    need = ReconcileNeed("job", "asked for")
    both = replace(pipeline(), routes={"a": RouteState({}, need), "b": RouteState({})})
    assert (both.need("a"), both.need("b"), both.need("unknown")) == (need, None, None)
    assert both.reconciles() == {"a": "job"}
    assert both.with_route("a", reconcile=None).reconciles() == {}
    assert both.with_route("b", reconcile=need).reconciles() == {"a": "job", "b": "job"}


def test_two_attempts_at_an_epoch_have_two_names() -> None:
    assert len({new_nonce() for _ in range(100)}) == 100
