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
