"""A capture term: contiguous offsets, timely barriers, no skipped batch, and one reason to end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tsync_stream.capture import term as term_module
from tsync_stream.capture.term import (
    BARRIER_INTERVAL_S,
    ENTRIES_PER_BARRIER,
    IDLE_BARRIER_INTERVAL_S,
    BatchLost,
    CaptureTerm,
    ChangeProgress,
    JobProgress,
)
from tsync_stream.core.errors import Fenced, TierLost, TsyncError
from tsync_stream.core.model import Barrier, BarrierOrder, Entry, EpochRef, Head, Operation, Position, Route
from tsync_stream.queue.tier import Append, Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.pipeline import Pipeline

FENCE = 9
START = Position({"_data": "00"}, Timestamp(1, 0))
ROUTE = Route("listings", "shop", "listings", "listings")


def new_term(heads: Sequence[Head] = (Head(0, 0, START.token),) * 3) -> CaptureTerm:
    pipeline = Pipeline(EpochRef("d", 4, "n", "primary"), FENCE, len(heads), START, START)
    return CaptureTerm(pipeline, cast("Tier", None), RouteTable([Declaration(ROUTE)]), heads, START)


def at(counter: int, **cursors: Mapping[str, Any]) -> Position:
    return Position({"_data": f"{counter:02}"}, Timestamp(counter, 0), cursors)


def entries(*counts: int) -> dict[int, list[Entry]]:
    """That many entries for partition 0, 1, ..."""
    entry = Entry("listings", 1, Operation.UPDATE, START.cluster_time)
    return {partition: [entry] * count for partition, count in enumerate(counts) if count}


def take(term: CaptureTerm, entries: Mapping[int, Sequence[Entry]], barrier: Barrier | None) -> list[Append]:
    """The appends for these entries, noted as durable."""
    appends = term.appends(entries, barrier)
    count = sum(map(len, entries.values()))
    term.done(appends, term.appended if barrier is None else barrier.position, barrier, count)
    return appends


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the barriers' clock forward."""
    now_s = 1000.0

    def forward(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    class Clock:
        monotonic = staticmethod(lambda: now_s)

    monkeypatch.setattr(term_module, "time", Clock)
    return forward


# Progress


def test_a_batch_of_changes_advances_the_position() -> None:
    position = at(1, job={"phase": "scan"})
    moved = ChangeProgress({"_data": "01"}, {"_data": "05"}, Timestamp(5, 0)).advance(position)
    assert moved == at(5, job={"phase": "scan"})


def test_a_batch_that_begins_elsewhere_is_not_appended() -> None:
    with pytest.raises(BatchLost):
        ChangeProgress({"_data": "03"}, {"_data": "05"}, Timestamp(5, 0)).advance(at(1))


def test_a_batch_of_a_job_advances_only_its_own_cursor() -> None:
    position = at(1, one={"_id": 1}, other={"_id": 7})
    moved = JobProgress("one", {"_id": 1}, {"_id": 2}).advance(position)
    assert moved == at(1, one={"_id": 2}, other={"_id": 7})
    assert position.cursors == {"one": {"_id": 1}, "other": {"_id": 7}}


def test_a_new_job_has_no_cursor_yet() -> None:
    assert JobProgress("job", None, {"_id": 1}).advance(at(1)) == at(1, job={"_id": 1})


@pytest.mark.parametrize("from_cursor", [None, {"_id": 0}, {"_id": 2}])
def test_a_batch_of_a_job_that_begins_elsewhere_is_not_appended(from_cursor: dict[str, int] | None) -> None:
    with pytest.raises(BatchLost):
        JobProgress("job", from_cursor, {"_id": 9}).advance(at(1, job={"_id": 1}))


# Appends


async def test_offsets_are_contiguous_in_every_partition() -> None:
    term = new_term()
    last = ["0-0", "0-0", "0-0"]
    for counts in [(2, 0, 1), (0, 3, 0), (1, 1, 1), (5, 0, 0), (0, 0, 2)]:
        appends = take(term, entries(*counts), None)
        assert [append.partition for append in appends] == [i for i, count in enumerate(counts) if count]
        for append in appends:
            assert append.after == last[append.partition]
            assert append.after_offset == int(append.after.partition("-")[0])
            last[append.partition] = append.last_id(FENCE)
    assert last == [f"8-{FENCE}", f"4-{FENCE}", f"4-{FENCE}"]


async def test_a_term_appends_behind_the_heads_of_the_last_one() -> None:
    term = new_term([Head(5, 17, START.token), Head(7, 40, START.token)])
    first = take(term, entries(2, 0), Barrier(BarrierOrder(4, FENCE, 1), at(1)))
    assert [(append.after, len(append.items)) for append in first] == [("17-5", 3), ("40-7", 1)]
    second = take(term, entries(1, 1), None)
    assert [append.after for append in second] == [f"20-{FENCE}", f"41-{FENCE}"]


async def test_appends_that_were_not_done_stay_the_same() -> None:
    term = new_term()
    assert term.appends(entries(2, 1), None) == term.appends(entries(2, 1), None)


async def test_a_barrier_follows_the_entries_in_every_partition() -> None:
    term = new_term()
    barrier = Barrier(BarrierOrder(4, FENCE, 1), at(3))
    appends = term.appends(entries(2, 0, 1), barrier)
    assert [append.partition for append in appends] == [0, 1, 2]
    assert [len(append.items) for append in appends] == [3, 1, 2]
    assert all(append.items[-1] == barrier for append in appends)


# Barriers


async def test_a_term_begins_with_a_barrier(pass_time: Callable[[float], None]) -> None:
    barrier = new_term().barrier_due(at(2), 0)
    assert barrier == Barrier(BarrierOrder(4, FENCE, 1), at(2))


async def test_barriers_are_counted(pass_time: Callable[[float], None]) -> None:
    term = new_term()
    for counter in range(1, 4):
        barrier = term.barrier_due(at(counter), 1)
        assert barrier is not None
        assert barrier.order == BarrierOrder(4, FENCE, counter)
        take(term, entries(1), barrier)
        pass_time(BARRIER_INTERVAL_S)


async def test_a_barrier_that_was_not_appended_does_not_count(pass_time: Callable[[float], None]) -> None:
    term = new_term()
    assert term.barrier_due(at(2), 0) == term.barrier_due(at(2), 0)


async def test_after_entries_the_next_barrier_follows_within_its_interval(pass_time: Callable[[float], None]) -> None:
    term = new_term()
    take(term, {}, term.barrier_due(at(1), 0))
    pass_time(BARRIER_INTERVAL_S * 0.9)
    assert term.barrier_due(at(2), 5) is None
    take(term, entries(5), None)
    pass_time(BARRIER_INTERVAL_S * 0.2)
    assert term.barrier_due(at(3), 0) is not None, "though this batch is empty, the last one was not"


async def test_a_barrier_follows_a_stored_need_at_once(pass_time: Callable[[float], None]) -> None:
    """The need ends the term: without the barrier, the next one would read the change that brought the need again."""
    term = new_term()
    take(term, {}, term.barrier_due(at(1), 0))
    assert term.barrier_due(at(2), 0) is None
    barrier = term.barrier_due(at(2), 0, at_once=True)
    assert barrier == Barrier(BarrierOrder(4, FENCE, 2), at(2))


async def test_an_idle_source_gets_fewer_barriers(pass_time: Callable[[float], None]) -> None:
    term = new_term()
    take(term, {}, term.barrier_due(at(1), 0))
    pass_time(IDLE_BARRIER_INTERVAL_S - 0.1)
    assert term.barrier_due(at(2), 0) is None
    pass_time(0.2)
    assert term.barrier_due(at(2), 0) is not None


async def test_barriers_follow_until_one_is_past_the_awaited_time(
    pass_time: Callable[[float], None],
) -> None:
    term = new_term()
    take(term, {}, term.barrier_due(at(1), 0))
    term.await_barrier(at(3).cluster_time)
    for counter in (2, 3):
        assert term.barrier_due(at(counter), 0) is None, "no more often than under load"
        pass_time(BARRIER_INTERVAL_S)
        take(term, {}, term.barrier_due(at(counter), 0))
        assert term.announced == at(counter)
    pass_time(BARRIER_INTERVAL_S)
    assert term.barrier_due(at(4), 0) is None, "the awaited time is covered"


async def test_changes_of_watched_documents_are_noted_only_while_they_are_watched() -> None:
    term = new_term()
    term.note_written(ROUTE.name, [("a", Timestamp(1, 1))])
    with term.watching(ROUTE.name, ["a", "b"]) as written:
        for document_id, seconds in (("b", 2), ("c", 3), ("b", 4)):
            term.note_written(ROUTE.name, [(document_id, Timestamp(seconds, 1))])
        assert written == {"b": Timestamp(4, 1)}
    term.note_written(ROUTE.name, [("a", Timestamp(5, 1))])
    with term.watching(ROUTE.name, ["a"]) as written:
        assert written == {}


async def test_before_the_first_barrier_only_the_beginning_is_announced() -> None:
    term = new_term()
    assert term.announced == term.pipeline.began


async def test_the_end_of_a_job_is_not_idle(pass_time: Callable[[float], None]) -> None:
    term = new_term()
    take(term, {}, term.barrier_due(at(1), 0))
    pass_time(BARRIER_INTERVAL_S)
    assert term.barrier_due(at(1, job={"phase": "done"}), 0) is not None


async def test_many_entries_are_followed_by_a_barrier_at_once(pass_time: Callable[[float], None]) -> None:
    term = new_term()
    take(term, {}, term.barrier_due(at(1), 0))
    take(term, entries(ENTRIES_PER_BARRIER - 2), None)
    assert term.barrier_due(at(2), 1) is None
    barrier = term.barrier_due(at(2), 2)
    assert barrier is not None
    take(term, entries(2), barrier)
    assert term.barrier_due(at(3), 1) is None, "the count starts again"


async def test_a_finished_job_leaves_the_position() -> None:
    term = new_term()
    term.done([], at(1, one={"phase": "done"}, other={"_id": 1}), None, 0)
    term.forget_job("one")
    assert term.appended == at(1, other={"_id": 1})
    term.forget_job("one")


# Ends


async def test_every_waiter_gets_the_first_fault() -> None:
    term = new_term()
    waiting = asyncio.create_task(term.broken())
    await asyncio.sleep(0)
    before = term.closed
    term.fail(TierLost("first"))
    term.fail(Fenced("second"))
    assert (before, term.closed) == (False, True)
    for wait in (waiting, term.broken()):
        with pytest.raises(TierLost, match="first"):
            await wait


async def test_a_cancelled_waiter_does_not_end_the_term() -> None:
    term = new_term()
    waiting = asyncio.create_task(term.broken())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not term.closed
    term.fail(TierLost("later"))
    with pytest.raises(TierLost, match="later"):
        await term.broken()


async def test_a_batch_is_in_flight_from_sending_until_it_is_settled() -> None:
    term = new_term()
    with term.sending() as one, term.sending() as other:
        assert term.in_flight == 2
    assert term.in_flight == 2, "the persist agent settles them"
    assert repr(one) == "<Delivery in flight>"
    one.settle()
    one.settle()
    assert (term.in_flight, one.settled, other.settled) == (1, True, False)
    assert repr(one) == "<Delivery settled>"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TierLost("the stream is gone"), "the stream is gone"),
        (RuntimeError("a document's content"), r"the persist agent failed with a batch in hand \(RuntimeError\)"),
    ],
)
async def test_an_agent_that_fails_ends_the_term_and_settles_its_batch(error: Exception, reason: str) -> None:
    def work() -> None:
        raise error

    term = new_term()
    with term.sending() as delivery:
        pass
    with delivery.handled_by("persist"):
        work()
    assert delivery.settled
    with pytest.raises(TsyncError, match=f"^{reason}$"):
        await term.broken()


async def test_an_agent_that_is_cancelled_settles_its_batch_and_leaves_the_term_alone() -> None:
    term = new_term()
    with term.sending() as delivery:
        pass
    with pytest.raises(asyncio.CancelledError), delivery.handled_by("capture"):
        raise asyncio.CancelledError
    assert (delivery.settled, term.closed) == (True, False)


async def test_a_batch_that_an_agent_handled_is_still_in_flight() -> None:
    term = new_term()
    with term.sending() as delivery:
        pass
    with delivery.handled_by("capture"):
        pass
    assert not delivery.settled, "the next agent has it now"


async def test_a_batch_that_could_not_be_sent_is_not_in_flight() -> None:
    term = new_term()
    with pytest.raises(asyncio.CancelledError), term.sending():
        raise asyncio.CancelledError
    assert term.in_flight == 0


async def test_nothing_is_appended_after_a_term_was_closed() -> None:
    term = new_term()
    term.close()
    assert term.closed


async def test_a_term_shows_its_state() -> None:
    term = new_term()
    assert repr(term) == "<CaptureTerm epoch 4 on primary, fence 9, open, 0 in flight, backlog 0>"
    term.paused, term.backlog = True, 7
    with term.sending():
        assert repr(term) == "<CaptureTerm epoch 4 on primary, fence 9, open, 1 in flight, backlog 7, paused>"
    term.fail(TierLost("the stream is gone"))
    assert "failed (the stream is gone)" in repr(term)
    other = new_term()
    other.close()
    assert "fence 9, closed," in repr(other)
