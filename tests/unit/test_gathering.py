"""Changes gather before the next read only where nobody loses by it: not while little happens, and not behind."""

import pytest

from tsync_stream.replica.gathering import LONGEST_PAUSE_S, PAUSE_PER_CHANGE_S, gathering_pause_s


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
