"""Leases are shared evenly, never taken from live replicas, and settle within a few rounds of any change."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.cluster.assignment import CAPTURE, Assignment, LeaseView, Seen, able_replicas, assign, partition_lease


def leases_of(**held_by: str | None) -> dict[str, LeaseView]:
    """Leases by short names: `c` is the capture lease, `p3` that of partition 3."""
    names = {short: CAPTURE if short == "c" else partition_lease(int(short[1:])) for short in held_by}
    return {names[short]: LeaseView(names[short], holder, 1) for short, holder in held_by.items()}


def taken(assignment: Assignment) -> list[str]:
    return [lease.name for lease in assignment.take]


def all_free(partitions: int) -> dict[str, LeaseView]:
    return leases_of(c=None, **{f"p{number}": None for number in range(partitions)})


def test_one_replica_takes_everything() -> None:
    assignment = assign("a", {"a"}, all_free(8))
    assert sorted(taken(assignment)) == sorted(all_free(8))
    assert assignment.give_back == []


def test_each_of_three_replicas_takes_its_share_of_eight() -> None:
    live = {"a", "b", "c"}
    shares = [sum(name != CAPTURE for name in taken(assign(me, live, all_free(8)))) for me in sorted(live)]
    assert shares == [3, 3, 2]


def test_nothing_is_taken_from_the_living() -> None:
    assert assign("a", {"a", "b"}, leases_of(c="b", p0="b", p1="b")) == Assignment([], [])


def test_what_a_dead_replica_held_is_free() -> None:
    leases = leases_of(c="dead", p0="dead", p1="b")
    assert taken(assign("a", {"a", "b"}, leases)) == [CAPTURE, partition_lease(0)]


@pytest.mark.parametrize(
    ("holder", "nobody"), [("a", False), ("b", False), ("quiet", True), ("dead", True), (None, True)]
)
def test_who_captures_is_seen_as_whoever_takes_the_lease_sees_it(holder: str | None, nobody: bool) -> None:
    live: dict[str, dict[str, object]] = {"a": {}, "b": {}, "quiet": {}}
    leases = leases_of(c=holder)
    assert Seen(leases, live, {"quiet"}).nobody_captures is nobody
    assert bool(assign("a", live, leases, quiet={"quiet"}).take) is nobody
    assert not Seen({}, live).nobody_captures, "a lease that is missing is about to be created"


def test_a_lease_is_taken_as_it_was_seen() -> None:
    seen = LeaseView(CAPTURE, "dead", 41)
    assert assign("a", {"a"}, {CAPTURE: seen}).take == [seen]


def test_the_capture_lease_does_not_count_as_a_share() -> None:
    assert taken(assign("a", {"a", "b"}, leases_of(c="a", p0=None, p1="b"))) == [partition_lease(0)]
    assert assign("a", {"a", "b"}, leases_of(c="a", p0="a", p1="b")).give_back == []


def test_only_what_exceeds_the_share_is_given_back() -> None:
    leases = leases_of(c="a", p0="a", p1="a", p2="a", p3="a")
    assignment = assign("a", {"a", "b"}, leases)
    assert (taken(assignment), len(assignment.give_back)) == ([], 2)
    assert CAPTURE not in assignment.give_back


def test_a_replica_with_its_share_takes_no_more() -> None:
    assert taken(assign("a", {"a", "b"}, leases_of(c="b", p0="a", p1=None))) == []


def test_more_replicas_than_partitions_leave_some_without_any() -> None:
    live = {"a", "b", "c"}
    assert [taken(assign(me, live, leases_of(c="a", p0=None))) for me in sorted(live)] == [[partition_lease(0)], [], []]


# Standing aside


def test_a_replica_that_is_not_able_gives_back_everything_and_takes_nothing() -> None:
    leases = leases_of(c="a", p0="a", p1=None)
    assert assign("a", {"a", "b"}, leases, able={"b"}) == Assignment([], [CAPTURE, partition_lease(0)])


def test_the_others_share_what_it_held_only_after_it_was_given_back() -> None:
    held = leases_of(c="a", p0="a", p1="b", p2="a")
    assert taken(assign("b", {"a", "b"}, held, able={"b"})) == []
    given_back = leases_of(c=None, p0=None, p1="b", p2=None)
    assert len(taken(assign("b", {"a", "b"}, given_back, able={"b"}))) == 3


def report(unreachable: str = "", reachable: str = "") -> dict[str, list[str]]:
    """What one replica says: `p` is the primary Redis, `t` is Typesense."""
    return {"unreachable": list(unreachable), "reachable": list(reachable)}


@pytest.mark.parametrize(
    ("reach", "able"),
    [
        ({"a": report("", "pt"), "b": report("", "pt")}, "ab"),
        ({"a": report("p", "t"), "b": report("", "pt")}, "b"),
        ({"a": report("p", "t"), "b": report("p", "t")}, "ab"),
        ({"a": report("p", "t"), "b": report("", "t")}, "ab"),
        ({"a": report("pt"), "b": report("p", "t")}, "b"),
        ({"a": report("p", "t"), "b": report("t", "p")}, "ab"),
        ({"a": report("p", "t"), "b": report("t", "p"), "c": report("", "pt")}, "c"),
        ({"a": report("t", "p")}, "a"),
        ({"a": {}, "b": report("", "pt")}, "ab"),
        ({}, ""),
    ],
    ids=[
        "all is well",
        "one is cut off",
        "an outage for all",
        "an outage that not all have noticed yet, or that is over for one",
        "an outage, and one is cut off besides",
        "each is cut off from something else",
        "two are, and one is not",
        "there is nobody else",
        "one of another version says nothing",
        "there is nobody",
    ],
)
def test_a_replica_that_cannot_reach_what_another_reaches_is_not_able(
    reach: dict[str, dict[str, list[str]]], able: str
) -> None:
    assert able_replicas(reach) == set(able)


# A quiet replica


def test_only_the_capture_lease_is_taken_from_a_quiet_holder() -> None:
    leases = leases_of(c="b", p0="a", p1="b")
    assert taken(assign("a", {"a", "b"}, leases, quiet={"b"})) == [CAPTURE]
    assert taken(assign("a", {"a", "b"}, leases, quiet={"a"})) == []


def play(leases: dict[str, LeaseView], me: str, live: set[str]) -> None:
    """One replica looks around, and carries out what is assigned to it."""
    assignment = assign(me, live, leases)
    for lease in assignment.take:
        assert leases[lease.name].holder not in live, "it was taken from the living"
        leases[lease.name] = replace(lease, holder=me, fence=lease.fence + 1)
    for name in assignment.give_back:
        assert leases[name].holder == me, "it was given back by somebody else"
        leases[name] = replace(leases[name], holder=None)


replica_sets = st.sets(st.sampled_from("abcdef"), min_size=1)


@given(partitions=st.integers(1, 12), comings_and_goings=st.lists(replica_sets, min_size=1, max_size=5))
def test_however_replicas_come_and_go_leases_end_up_evenly_held(
    partitions: int, comings_and_goings: list[set[str]]
) -> None:
    leases = all_free(partitions)
    for live in comings_and_goings:
        for _ in range(2):  # the first round gives back, the second takes
            for me in sorted(live):
                play(leases, me, live)
        settled = dict(leases)
        for me in sorted(live):
            play(leases, me, live)
        assert leases == settled, "leases go on changing hands"
        assert leases[CAPTURE].holder in live
        shares = Counter(lease.holder for lease in leases.values() if lease.name != CAPTURE)
        assert set(shares) <= live
        counts = [shares[me] for me in live]
        assert sum(counts) == partitions
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("partitions", [1, 7, 8, 64])
def test_a_replica_that_joins_moves_no_more_than_its_share(partitions: int) -> None:
    leases = all_free(partitions)
    for me in "ab":
        play(leases, me, {"a", "b"})
    before = dict(leases)
    for _ in range(2):
        for me in "abc":
            play(leases, me, {"a", "b", "c"})
    moved = [name for name, lease in leases.items() if lease.holder != before[name].holder]
    assert len(moved) <= partitions // 3 + 1
