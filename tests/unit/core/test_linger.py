"""Changes gather before the next read only where nobody loses by it: not while little happens, and not behind."""

import pytest

from tsync_stream.core.linger import (
    LONGEST_PAUSE_S,
    LONGEST_PAUSE_WHEN_SLOW_S,
    PAUSE_OF_A_BATCH,
    PAUSE_PER_CHANGE_S,
    SyncPace,
    gathering_pause_s,
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
def test_only_several_gather_and_not_when_a_read_was_full(found: int, pause_s: float) -> None:
    assert gathering_pause_s(found, 1000, 5.0) == pause_s


def test_nobody_waits_longer_than_the_settings_allow() -> None:
    assert gathering_pause_s(900, 1000, 0.001) == 0.001


@pytest.mark.parametrize(
    ("batch_s", "pause_s"),
    [
        (0.0, LONGEST_PAUSE_S),
        (LONGEST_PAUSE_S, LONGEST_PAUSE_S),
        (0.2, 0.2 * PAUSE_OF_A_BATCH),
        (60.0, LONGEST_PAUSE_WHEN_SLOW_S),
    ],
)
def test_where_a_batch_takes_long_more_changes_gather(batch_s: float, pause_s: float) -> None:
    assert gathering_pause_s(900, 1000, 5.0, batch_s) == pause_s
    assert gathering_pause_s(2, 1000, 5.0, batch_s) == 2 * PAUSE_PER_CHANGE_S
    for found in (0, 1, 1000):
        assert gathering_pause_s(found, 1000, 5.0, batch_s) == 0.0, (
            "one change alone waits for nobody, a full read neither"
        )


def test_the_pace_is_that_of_the_last_batches() -> None:
    pace = SyncPace()
    assert pace.batch_s == 0.0
    for _ in range(20):
        pace.note(0.2)
    assert pace.batch_s == pytest.approx(0.2, rel=0.01)
    pace.note(10.0)
    assert pace.batch_s < 3.0, "one batch alone does not decide"
    for _ in range(30):
        pace.note(0.01)
    assert pace.batch_s == pytest.approx(0.01, rel=0.1)
