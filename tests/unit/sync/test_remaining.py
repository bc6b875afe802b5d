"""What is left of a batch: nothing is forgotten, nothing is repeated that is done, and doubt stays where it is."""

from collections import Counter
from collections.abc import Sequence

import pytest
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.model import Entry, Operation
from tsync_stream.sync import remaining
from tsync_stream.sync.batch import PartsFailed, SyncFailed
from tsync_stream.sync.remaining import Item, Remaining

ROUTES = ["listings", "orders", "users"]


def items(*routes: str, operations: str = "") -> list[Item]:
    """One entry of each of these routes, with its number as key; every other one in partition 1.

    They are updates unless `operations` has a letter for each.
    """
    operations = operations or Operation.UPDATE * len(routes)
    return [
        (number % 2, Entry(route, number, operation, Timestamp(7, 1)))
        for number, (route, operation) in enumerate(zip(routes, operations, strict=True))
    ]


def failure(*, in_doubt: bool = False) -> SyncFailed:
    return SyncFailed(DependencyUnavailable("away"), in_doubt=in_doubt)


def keys(found: Sequence[Item]) -> list[int]:
    return [entry.key for _, entry in found]


def test_only_the_route_that_failed_is_left() -> None:
    left = Remaining(items("listings", "orders", "listings"))
    left.failed(PartsFailed({"listings": failure()}))
    assert keys(left.piece()) == [0, 2]
    left.synced()
    assert not left.piece()
    assert left.in_doubt == []


@pytest.mark.parametrize("in_doubt", [True, False])
def test_only_the_route_whose_write_broke_is_in_doubt(in_doubt: bool) -> None:
    left = Remaining(items("listings", "orders", "listings"))
    left.failed(PartsFailed({"listings": failure(in_doubt=in_doubt)}))
    while left.piece():
        left.synced()
    assert keys(left.in_doubt) == ([0, 2] if in_doubt else [])


def test_a_route_that_is_synced_may_be_in_doubt_all_the_same() -> None:
    left = Remaining(items("listings", "orders"))
    left.failed(PartsFailed({"listings": failure()}, ["orders"]))
    assert keys(left.piece()) == [0]
    left.synced()
    assert keys(left.in_doubt) == [1]


def test_an_agent_that_fails_with_a_batch_leaves_all_of_it() -> None:
    left = Remaining(items("listings", "orders"))
    left.failed(failure(in_doubt=True))
    assert keys(left.in_doubt) == [0, 1]
    assert keys(left.piece()) == [0], "less at once"


def test_what_was_in_doubt_stays_so_when_it_is_dropped() -> None:
    left = Remaining(items("listings", "orders", "listings"))
    left.failed(PartsFailed({"listings": failure(in_doubt=True)}))
    left.drop({"listings"})
    assert not left.piece()
    assert keys(left.in_doubt) == [0, 2]
    assert left.dropped == {"listings": 2}


def test_the_entries_of_a_lost_partition_are_in_doubt_too() -> None:
    left = Remaining(items("listings", "orders", "listings", "orders"))
    left.synced(["listings"])
    assert keys(left.in_doubt_or_of({1})) == [0, 1, 2, 3]
    assert keys(left.in_doubt_or_of({})) == [0, 2]


def test_changes_are_synced_before_what_a_job_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remaining, "MANY_OF_JOBS", 3)
    left = Remaining(items(*["listings"] * 6, operations="cucdcc"))
    assert keys(left.piece()) == [1, 3]
    left.failed(PartsFailed({"listings": failure()}))
    assert keys(left.piece()) == [1, 3], "and again, until they are"
    left.synced()
    assert keys(left.piece()) == [0, 2, 4, 5]
    left.synced()
    assert not left.piece()


@pytest.mark.parametrize("operations", ["cuc", "cccc", "uuuu"])
def test_what_takes_no_longer_together_is_one_piece(operations: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remaining, "MANY_OF_JOBS", 3)
    left = Remaining(items(*["listings"] * len(operations), operations=operations))
    assert keys(left.piece()) == list(range(len(operations)))


def test_of_changes_in_doubt_before_a_job_half_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remaining, "MANY_OF_JOBS", 2)
    left = Remaining(items(*["listings"] * 7, operations="cucuucu"))
    left.failed(failure(in_doubt=True))
    assert keys(left.piece()) == [1, 3]
    left.drop([])
    left.synced()
    assert keys(left.piece()) == [4, 6]


@given(
    routes=st.lists(st.sampled_from(ROUTES), min_size=1, max_size=30),
    data=st.data(),
    outcomes=st.lists(
        st.tuples(
            st.sampled_from(["synced", "parts", "agent", "drop"]), st.sets(st.sampled_from(ROUTES)), st.booleans()
        ),
        max_size=20,
    ),
)
def test_every_entry_is_synced_or_dropped_once(
    routes: list[str], data: st.DataObject, outcomes: list[tuple[str, set[str], bool]]
) -> None:
    operations = data.draw(st.text("cu", min_size=len(routes), max_size=len(routes)))
    entries = items(*routes, operations=operations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remaining, "MANY_OF_JOBS", 2)
        left = Remaining(entries)
    done: Counter[int] = Counter()
    doubted: set[int] = set()
    dropped = 0
    for kind, some, in_doubt in [*outcomes, *[("synced", set[str](), False)] * 200]:
        piece = list(left.piece())
        if not piece:
            break
        failed = some & {entry.route for _, entry in piece}
        if kind == "drop":
            before = len(routes) - sum(done.values()) - dropped
            left.drop(some)
            dropped = sum(left.dropped.values())
            assert before - (len(routes) - sum(done.values()) - dropped) >= 0
        elif kind == "agent":
            left.failed(failure(in_doubt=in_doubt))
            doubted.update(keys(piece) if in_doubt else ())
        elif kind == "parts" and failed:
            left.failed(PartsFailed({route: failure(in_doubt=in_doubt) for route in failed}))
            done.update(entry.key for _, entry in piece if entry.route not in failed)
            doubted.update(entry.key for _, entry in piece if entry.route in failed and in_doubt)
        else:
            left.synced()
            done.update(keys(piece))
    assert not left.piece()
    assert set(done.values()) <= {1}, "nothing that is done is repeated"
    assert sum(done.values()) + dropped == len(routes)
    assert set(keys(left.in_doubt)) == doubted
