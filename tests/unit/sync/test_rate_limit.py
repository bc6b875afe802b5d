"""While a rate is set, a batch is sent in portions, in time; nothing is forgotten, and no lane looks stuck."""

import asyncio
from collections import Counter

import pytest
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tests.support import lanes
from tests.support.waiting import HANG_S
from tests.unit.sync.test_remaining import failure, items, keys
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.core import clock
from tsync_stream.core.model import Entry, Operation
from tsync_stream.core.pacer import MaxRates
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.stalls import BOUND_S
from tsync_stream.sink.load_control import LoadControl
from tsync_stream.sync.batch import PartsFailed, SyncBatch, SyncResult
from tsync_stream.sync.portion import Portion
from tsync_stream.sync.rate_limit import PORTION_S, RateLimit
from tsync_stream.sync.remaining import Remaining


def limited(rates: MaxRates, held: list[str] | None = None, partitions: int = 1, lanes_: int = 1) -> RateLimit:
    names = ["partition:0"] if held is None else held
    return RateLimit(rates, lambda: names, partitions, lanes_, Metrics(), LoadControl(1, 5.0))


def entry_of(key: object, route: str = "listings") -> tuple[int, Entry]:
    return 0, Entry(route, key, Operation.UPDATE, Timestamp(7, 1))


# Portions


def test_entries_of_one_document_are_one_write_and_stay_together() -> None:
    entries = [entry_of(key) for key in ("a", 1, "a", 1.0, "b", "a")]
    assert Portion(2).of(entries, range(6)) == ([0, 1, 2, 3, 5], {"listings": 2})


def test_routes_without_a_limit_of_their_own_come_first() -> None:
    entries = [entry_of(number, route) for number, route in enumerate(["slow", "fast", "slow", "slow", "fast"])]
    portion = Portion(None, {"slow": 2})
    assert portion.of(entries, range(5)) == ([1, 4], {"fast": 2})
    assert portion.of(entries, [0, 2, 3]) == ([0, 2], {"slow": 2})
    assert Portion(1, {"slow": 2}).of(entries, [0, 2, 3]) == ([0], {"slow": 1})


ROUTE = st.sampled_from(["listings", "orders", "users"])


@given(
    routes=st.lists(ROUTE, max_size=30),
    most=st.none() | st.integers(1, 5),
    most_of=st.dictionaries(ROUTE, st.integers(1, 3)),
    outcomes=st.lists(st.sampled_from(["synced", "failed", "route failed", "in doubt"]), max_size=40),
)
def test_every_entry_is_synced_once_in_portions(
    routes: list[str], most: int | None, most_of: dict[str, int], outcomes: list[str]
) -> None:
    entries = items(*routes)
    left, synced, waiting = Remaining(entries), Counter[int](), iter(outcomes)
    portion = Portion(most, most_of)
    while piece := left.piece(portion):
        counts = Counter(entry.route for _, entry in piece)
        assert left.documents == counts
        assert most is None or len(piece) <= most
        assert all(counts[route] <= limit for route, limit in most_of.items())
        outcome, failed = next(waiting, "synced"), set[str]()
        if outcome == "synced":
            left.synced()
        elif outcome == "route failed":
            failed = {piece[0][1].route}
            left.failed(PartsFailed({piece[0][1].route: failure()}))
        else:
            left.failed(failure(in_doubt=outcome == "in doubt"))
            continue
        synced.update(entry.key for _, entry in piece if entry.route not in failed)
    assert synced == Counter(keys(entries))


# Rates


async def test_without_a_rate_nothing_is_cut_and_nothing_waits() -> None:
    limit = limited(MaxRates())
    assert (limit.portion, limit.most_in_hand, limit.slowing, repr(limit)) == (None, None, [], "RateLimit(none)")
    assert await limit.turn({"a": 10**9}, lambda: False)


async def test_a_replica_has_the_share_of_its_partitions() -> None:
    limit = limited(MaxRates(400.0), [CAPTURE, "partition:0", "partition:3"], partitions=8, lanes_=2)
    assert limit.portion == Portion(int(100 * PORTION_S), {})
    assert limit.most_in_hand == 500
    assert "25%" in repr(limit)
    assert limited(MaxRates(8.0), [], partitions=8).portion == Portion(1, {}), "a batch in hand can still end"


async def test_a_rate_may_be_set_changed_and_lifted_while_it_runs() -> None:
    rates = MaxRates()
    limit = limited(rates)
    rates.per_s, rates.by_route = 10.0, {"a": 4.0}
    assert limit.portion == Portion(2, {"a": 1})
    assert await limit.turn({"b": 1_000}, lambda: True)
    waiting = asyncio.create_task(limit.turn({"b": 1}, lambda: True))
    await asyncio.sleep(0)
    assert limit.slowing == ["limited by TYPESENSE_MAX_RATE"]
    rates.per_s = None
    async with asyncio.timeout(HANG_S):
        assert await waiting
    assert limit.portion == Portion(None, {"a": 1})


async def test_a_limit_that_made_nobody_wait_slows_nothing_and_one_of_a_route_is_named() -> None:
    limit = limited(MaxRates(1_000.0, {"a": 100.0}))
    assert await limit.turn({"a": 5}, lambda: True)
    assert limit.slowing == []
    assert await limit.turn({"a": 1}, lambda: True)
    assert limit.slowing == ["limited by `max_rate` of route a"]


async def test_a_wait_ends_when_the_batch_has_to_be_let_go() -> None:
    limit = limited(MaxRates(1.0))
    assert await limit.turn({"a": 1_000_000}, lambda: False)
    async with asyncio.timeout(HANG_S):
        assert not await limit.turn({"a": 1}, lambda: False)


# A lane


async def test_a_paced_lane_sends_portions_and_acks_the_whole_batch() -> None:
    bench = lanes.Bench()
    bench.rates.per_s = 40.0  # of two partitions, the lane holds one
    bench.leases.give(0, 7)
    bench.tier.put(0, *range(7))
    began_s = clock.now_s()
    done = await bench.steps(2)
    assert [len(event[1]) for event in done if event[0] == "sync"] == [7] or len(done) > 2
    sent = [event[1] for event in done if event[0] == "sync"]
    assert [key for some in sent for key in some] == list(range(7))
    assert done[-1] == ("ack", 0, [*range(1, 8)])
    assert clock.now_s() - began_s < 2.0


async def test_a_lane_that_waits_for_the_rate_is_not_stuck_and_lets_go_when_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = lanes.Bench()
    bench.rates.per_s = 2.0  # a document a second is ours
    bench.leases.give(0, 7)
    bench.tier.put(0, *range(10))
    running = asyncio.create_task(bench.lane.run())
    while not any(event[0] == "sync" for event in bench.events):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    real_s = clock.now_s
    monkeypatch.setattr(clock, "now_s", lambda: real_s() + BOUND_S)
    assert clock.now_s() - bench.lane.moved_s < BOUND_S / 2
    leaving = bench.leases.give_back(0)
    bench.rates.per_s = 1e-6
    async with asyncio.timeout(HANG_S):
        assert await bench.lane.released(0, leaving), "nothing is in doubt"
    bench.lane.stop()
    async with asyncio.timeout(HANG_S):
        await running
    assert not any(event[0] == "ack" for event in bench.events)
    assert not bench.health.problems, "a limit is no fault"


async def test_a_batch_whose_ack_fails_again_and_again_is_stuck_whatever_the_rate() -> None:
    bench = lanes.Bench()
    bench.rates.per_s = 1_000.0
    bench.leases.give(0, 7)
    moved_s = bench.lane.moved_s

    async def refused(batch: SyncBatch) -> None:
        batch.result.set_result(SyncResult())
        bench.leases.take(0)
        bench.leases.give(0, 8)
        raise_on_ack()

    def raise_on_ack() -> None:
        async def ack(*_: object) -> list[int]:
            raise TimeoutError

        bench.tier.ack = ack  # type: ignore[assignment,method-assign]

    bench.sync = refused
    bench.tier.put(0, *range(3))
    with pytest.raises(TimeoutError):
        await bench.steps()
    assert bench.lane.moved_s == pytest.approx(moved_s, abs=0.5)
