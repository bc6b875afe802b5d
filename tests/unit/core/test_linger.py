"""Reads linger only between the extremes: not for a single change, and not behind a backlog."""

import pytest

from tsync_stream.core.linger import (
    LONGEST_PAUSE_S,
    LONGEST_PAUSE_WHEN_SLOW_S,
    PAUSE_OF_A_BATCH,
    PAUSE_PER_CHANGE_S,
    SyncPace,
    linger_s,
)
from tsync_stream.settings.load import BufferSettings


@pytest.mark.parametrize(
    ("found", "pause_s"),
    [
        (0, 0.0),
        (1, 0.0),
        (2, 2 * PAUSE_PER_CHANGE_S),
        (5, 5 * PAUSE_PER_CHANGE_S),
        (999, LONGEST_PAUSE_S),
        (1000, 0.0),
        (1001, 0.0),
    ],
)
def test_a_read_of_several_lingers_and_a_full_one_does_not(found: int, pause_s: float) -> None:
    assert linger_s(found, 1000, 5.0) == pause_s


def test_the_longest_pause_is_the_settings() -> None:
    assert linger_s(900, 1000, 0.001) == 0.001


@pytest.mark.parametrize(
    ("batch_s", "pause_s"),
    [
        (0.0, LONGEST_PAUSE_S),
        (LONGEST_PAUSE_S, LONGEST_PAUSE_S),
        (0.2, 0.2 * PAUSE_OF_A_BATCH),
        (60.0, LONGEST_PAUSE_WHEN_SLOW_S),
    ],
)
def test_slow_batches_make_reads_linger_longer(batch_s: float, pause_s: float) -> None:
    assert linger_s(900, 1000, 5.0, batch_s) == pause_s
    assert linger_s(2, 1000, 5.0, batch_s) == 2 * PAUSE_PER_CHANGE_S
    for found in (0, 1, 1000):
        assert linger_s(found, 1000, 5.0, batch_s) == 0.0, "neither one change alone nor a full read lingers"


def longest_lingers_s(flush_interval_s: float) -> tuple[float, float]:
    """The longest pauses that FLUSH_INTERVAL allows: of capture, and of a lane."""
    longest_s = BufferSettings(1000, 100, flush_interval_s).longest_linger_s
    return linger_s(900, 1000, longest_s, 60.0), linger_s(900, 1000, longest_s)


@pytest.mark.parametrize("flush_interval_s", [0.001, 0.01, 0.05, 0.2, 5.0, 3600.0])
def test_both_stages_together_linger_no_longer_than_the_flush_interval(flush_interval_s: float) -> None:
    assert sum(longest_lingers_s(flush_interval_s)) <= flush_interval_s


def test_a_flush_interval_of_more_than_a_fifth_of_a_second_changes_nothing() -> None:
    longest = longest_lingers_s(3600.0)
    assert longest == (LONGEST_PAUSE_WHEN_SLOW_S, LONGEST_PAUSE_S)
    assert longest_lingers_s(0.2) == longest
    assert longest_lingers_s(0.1) < longest


def test_the_pace_is_that_of_the_last_batches() -> None:
    pace = SyncPace()
    assert pace.batch_s == 0.0
    for _ in range(20):
        pace.note(0.2)
    assert pace.batch_s == pytest.approx(0.2, rel=0.01)
    pace.note(10.0)
    assert pace.batch_s < 3.0, "a single batch does not decide"
    for _ in range(30):
        pace.note(0.01)
    assert pace.batch_s == pytest.approx(0.01, rel=0.1)
