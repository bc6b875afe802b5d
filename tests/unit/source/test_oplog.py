"""How long the oplog lasts, and how that is reported."""

import pytest
from bson.timestamp import Timestamp

from tsync_stream.capture.backlog import describe_left
from tsync_stream.source.oplog import Oplog

FULL = Oplog(Timestamp(1_000, 1), Timestamp(11_000, 1), 990, 990)


@pytest.mark.parametrize(
    ("synced", "left_s"),
    [
        (Timestamp(11_000, 1), 10_000.0),
        (Timestamp(6_000, 1), 5_000.0),
        (Timestamp(1_000, 1), 0.0),
        (Timestamp(999, 1), -1.0),
    ],
)
def test_a_full_oplog_lasts_as_long_as_it_reaches_back(synced: Timestamp, left_s: float) -> None:
    assert FULL.left_s(synced) == left_s


def test_a_young_oplog_lasts_until_it_is_full() -> None:
    young = Oplog(Timestamp(1_000, 1), Timestamp(1_100, 1), 10, 100)
    assert young.capacity_s == pytest.approx(1_000.0)
    assert young.left_s(Timestamp(1_050, 1)) == pytest.approx(950.0)


def test_an_oplog_may_hold_more_than_its_limit_for_a_while() -> None:
    assert Oplog(Timestamp(1_000, 1), Timestamp(1_100, 1), 200, 100).capacity_s == 100.0


def test_how_long_a_new_oplog_lasts_is_unknown() -> None:
    assert Oplog(Timestamp(1_000, 1), Timestamp(1_000, 2), 0, 100).capacity_s == 0.0


@pytest.mark.parametrize(
    ("left_s", "words"),
    [
        (None, "cannot be seen"),
        (-1.0, "a reconcile will repair"),
        (30.0, "less than two minutes"),
        (600.0, "10 minutes"),
        (10_000.0, "3 hours"),
        (1_000_000.0, "12 days"),
    ],
)
def test_what_is_left_is_reported_in_steps(left_s: float | None, words: str) -> None:
    assert words in describe_left(left_s)
