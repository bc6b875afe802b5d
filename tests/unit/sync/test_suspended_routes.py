"""A route that only a person can repair is suspended, and the others go on; what is dropped, a reconcile makes good."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.lanes import DEADLINE_S, TABLE, Bench, entry, synced
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.core.model import RecordBatch, Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.sink.live_schema import NoCollection
from tsync_stream.state.rechecks import Recheck
from tsync_stream.state.route_state import suspended_state
from tsync_stream.sync.batch import PartsFailed, SyncBatch, SyncFailed

REFUSED = ConfigurationError("TYPESENSE_API_KEY (route orders): refused")
TWO = RouteTable([*TABLE.values(), Declaration(Route("orders", "shop", "orders", "orders"))])
BOTH = [("listings", "a"), ("orders", "b")]


@pytest.fixture
def bench() -> Bench:
    """A lane with partition 0, of the routes `listings` and `orders`, whose entries wait for it."""
    return bench_of_both()


def bench_of_both(deadline_s: float = DEADLINE_S) -> Bench:
    """See the fixture."""
    bench = Bench(deadline_s=deadline_s, table=TWO)
    bench.leases.give(0, 7)
    put(bench, *BOTH)
    return bench


def put(bench: Bench, *changes: tuple[str, Any]) -> None:
    """Append entries of partition 0 as one record batch: routes with their keys."""
    first = bench.tier.last.get(0, 0) + 1
    last = bench.tier.last[0] = first + len(changes) - 1
    items = [entry(key, route) for route, key in changes]
    bench.tier.streams.setdefault(0, []).append(RecordBatch(f"{last}-1".encode(), first, items))


def failing(bench: Bench, causes: Mapping[str, TsyncError], *, times: int = 99, in_doubt: bool = False) -> None:
    """From now on these routes' parts fail, so many times."""
    left = [times]

    async def sync(batch: SyncBatch) -> None:
        routes = {entry.route for entry in batch.entries} & causes.keys()
        if not routes or not left[0]:
            await synced(batch)
            return
        left[0] -= 1
        failed = {route: SyncFailed(causes[route], in_doubt=in_doubt) for route in routes}
        batch.result.set_exception(PartsFailed(failed))

    bench.sync = sync


async def test_a_failure_is_retried_for_its_own_route_alone(bench: Bench) -> None:
    failing(bench, {"orders": DependencyUnavailable("away")}, times=2)
    assert await bench.steps(3) == [("sync", ["a", "b"]), ("sync", ["b"]), ("sync", ["b"]), ("ack", 0, [2])]


async def test_a_write_in_doubt_of_one_route_is_rechecked_alone(bench: Bench) -> None:
    failing(bench, {"orders": DependencyUnavailable("slow", in_doubt=True)}, times=1, in_doubt=True)
    assert await bench.steps(3) == [("sync", ["a", "b"]), ("sync", ["b"]), ("doubt", ["b"]), ("ack", 0, [2])]


@pytest.mark.parametrize("cause", [REFUSED, NoCollection("Typesense has no collection orders")])
async def test_a_route_that_a_person_must_repair_is_suspended_and_its_entries_are_dropped(
    bench: Bench, cause: TsyncError
) -> None:
    failing(bench, {"orders": cause})
    assert await bench.steps(3) == [("sync", ["a", "b"]), ("suspend", "orders"), ("confirm", "orders"), ("ack", 0, [2])]
    suspended = bench.positions.of("orders").suspended
    assert suspended is not None
    assert suspended.reason == str(cause)
    assert bench.health.status == "green", "the lane itself works"
    put(bench, *BOTH)
    assert await bench.steps(3) == [("confirm", "orders"), ("sync", ["a"]), ("ack", 0, [4])]
    counted = bench.metrics.registry.get_sample_value
    assert counted("tsync_entries_dropped_total", {"route": "orders"}) == 2
    assert counted("tsync_entries_acked_total", {"route": "listings"}) == 2
    assert counted("tsync_entries_acked_total", {"route": "orders"}) == 0


async def test_a_batch_of_the_broken_route_alone_suspends_it_too(bench: Bench) -> None:
    await bench.steps(3)
    put(bench, ("orders", "c"))
    failing(bench, {"orders": REFUSED})
    assert ("suspend", "orders") in await bench.steps(3)


@pytest.mark.parametrize(
    "cause",
    [DependencyUnavailable("Typesense: 503"), DependencyUnavailable("slow", in_doubt=True, timed_out=True)],
    ids=["an outage", "a time-out"],
)
async def test_an_outage_suspends_nothing(cause: TsyncError) -> None:
    bench = bench_of_both(deadline_s=0.01)  # after a time-out, a lane pauses for as long
    failing(bench, {"orders": cause}, times=5)
    assert await bench.steps(3) == [("sync", ["a", "b"]), *[("sync", ["b"])] * 5, ("ack", 0, [2])]


async def test_what_ails_every_route_suspends_none(bench: Bench) -> None:
    """A wrong API key, say: the entries wait in the queue, which costs less than a reconcile of everything."""
    bench.usability.broken = {"listings", "orders"}
    failing(bench, {"listings": REFUSED, "orders": REFUSED}, times=3)
    assert await bench.steps(3) == [*[("sync", ["a", "b"])] * 4, ("ack", 0, [2])]


async def test_a_route_that_is_alone_is_never_suspended() -> None:
    bench = Bench()
    bench.leases.give(0, 7)
    bench.tier.put(0, "a")
    failing(bench, {"listings": REFUSED}, times=3)
    assert await bench.steps(3) == [*[("sync", ["a"])] * 4, ("ack", 0, [1])]


async def test_the_last_good_route_waits_for_no_suspended_one(bench: Bench) -> None:
    """Both were broken; once one of them is repaired, the other does not hold it up."""
    bench.usability.broken = {"listings", "orders"}
    failing(bench, {"orders": REFUSED})

    async def repaired(batch: SyncBatch) -> None:
        failing(bench, {"orders": REFUSED})
        bench.usability.broken = {"orders"}
        batch.result.set_exception(
            PartsFailed({route: SyncFailed(REFUSED, in_doubt=False) for route in ("listings", "orders")})
        )

    bench.sync = repaired
    events = await bench.steps(3)
    assert ("suspend", "listings") not in events
    assert events[-1] == ("ack", 0, [2])


async def test_a_suspension_that_has_ended_drops_nothing_whatever_the_lane_remembers(bench: Bench) -> None:
    """The scan that follows its end may be over before the lane looks at the epoch document again."""
    before = bench.positions.of("orders")
    bench.positions.current = (
        None
        if bench.positions.current is None
        else bench.positions.current.with_route("orders", **_fields(suspended_state(before, "refused")))
    )
    bench.positions.store("orders", before)
    assert await bench.steps(3) == [("confirm", "orders"), ("sync", ["a", "b"]), ("ack", 0, [2])]


async def test_a_suspension_that_another_one_followed_is_confirmed_as_that_one(bench: Bench) -> None:
    before = bench.positions.of("orders")
    assert bench.positions.current is not None
    bench.positions.current = bench.positions.current.with_route("orders", **_fields(suspended_state(before, "old")))
    bench.positions.store("orders", suspended_state(before, "new"))
    failing(bench, {"orders": REFUSED})
    assert await bench.steps(3) == [
        ("confirm", "orders"),  # not the old one
        ("sync", ["a", "b"]),
        ("confirm", "orders"),  # the new one is in force already
        ("ack", 0, [2]),
    ]


async def test_a_suspension_that_another_replica_made_is_taken_over(bench: Bench) -> None:
    bench.positions.store("orders", suspended_state(bench.positions.of("orders"), "seen by another replica"))
    failing(bench, {"orders": REFUSED})
    assert await bench.steps(3) == [("sync", ["a", "b"]), ("confirm", "orders"), ("ack", 0, [2])]


async def test_what_cannot_be_confirmed_is_not_dropped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(bench, {"orders": REFUSED})
    confirm, failures = bench.positions.confirm_suspended, iter([DependencyUnavailable("MongoDB: away")] * 2)

    async def away_twice(route: str, nonce: str) -> bool:
        for failure in failures:
            bench.events.append(("away",))
            raise failure
        return await confirm(route, nonce)

    monkeypatch.setattr(bench.positions, "confirm_suspended", away_twice)
    assert await bench.steps(3) == [
        ("sync", ["a", "b"]),
        ("suspend", "orders"),
        ("away",),
        ("away",),
        ("confirm", "orders"),
        ("ack", 0, [2]),
    ]


async def test_a_dropped_entry_whose_write_is_in_doubt_is_rechecked(bench: Bench) -> None:
    """The old request may come after what the reconcile writes."""
    causes = iter([DependencyUnavailable("slow", in_doubt=True), REFUSED])

    async def sync(batch: SyncBatch) -> None:
        cause = next(causes)
        failure = SyncFailed(cause, in_doubt=isinstance(cause, DependencyUnavailable))
        batch.result.set_exception(PartsFailed({"orders": failure}))

    bench.sync = sync
    assert (await bench.steps(3))[-2:] == [("doubt", ["b"]), ("ack", 0, [2])]


def look_again(bench: Bench) -> None:
    """It is time again to look for rechecks."""
    bench.lane_steps._turns._looked_s = float("-inf")


async def test_rechecks_of_a_suspended_route_wait(bench: Bench) -> None:
    await bench.steps(3)
    bench.rechecks.waiting = [
        Recheck({"key": key}, "1", 0, route, key, 0) for route, key in [("listings", "x"), ("orders", "y")]
    ]
    failing(bench, {"orders": REFUSED})
    look_again(bench)
    assert await bench.steps(10) == [("sync", ["x", "y"]), ("suspend", "orders"), ("confirm", "orders")]
    assert [recheck.key for recheck in bench.rechecks.waiting] == ["y"], "it was not synced"
    look_again(bench)
    assert await bench.steps(10) == [], "and it is not even read"


async def test_a_lane_that_loses_its_lease_leaves_a_route_that_it_suspends(bench: Bench) -> None:
    async def fails(batch: SyncBatch) -> None:
        bench.leases.take(0)
        batch.result.set_exception(PartsFailed({"orders": SyncFailed(REFUSED, in_doubt=True)}))

    bench.sync = fails
    with pytest.raises(DependencyUnavailable, match="next owner"):
        await bench.steps(3)
    assert bench.events[-1] == ("doubt", ["b"])


async def test_without_an_epoch_nothing_is_suspended(bench: Bench) -> None:
    bench.positions.current = None
    assert await bench.lane_steps.dispatch.suspended.suspend({"orders": REFUSED}) == set()
    assert bench.events == []


def _fields(state: Any) -> dict[str, Any]:
    return {"suspended": state.suspended, "reconcile": state.reconcile}
