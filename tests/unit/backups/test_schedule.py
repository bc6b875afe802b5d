"""When backups are due: once for each time, and once for all that were missed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.backups.schedule import latest_due, next_due

NIGHTLY = "0 3 * * *"


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0, microsecond: int = 0) -> datetime:
    return datetime(2026, 5, day, hour, minute, second, microsecond, tzinfo=UTC)


def test_a_time_is_due_from_its_first_moment_on_and_once() -> None:
    assert latest_due(NIGHTLY, at(9), at(9, 2, 59, 59, 999_999)) is None
    assert latest_due(NIGHTLY, at(9), at(9, 3)) == at(9, 3)
    assert latest_due(NIGHTLY, at(9), at(9, 23)) == at(9, 3)
    assert latest_due(NIGHTLY, at(9, 3), at(9, 23)) is None


def test_of_missed_times_only_the_latest_is_due() -> None:
    assert latest_due(NIGHTLY, at(1), at(9, 12)) == at(9, 3)


def test_the_next_time_is_in_utc() -> None:
    assert next_due(NIGHTLY, at(9, 12)) == at(10, 3)


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=20))
def test_no_time_is_due_twice_or_passed_over_however_often_one_looks(pauses_s: list[int]) -> None:
    now = after = at(1)
    filed = []
    for pause_s in pauses_s:
        before, now = now, now + timedelta(seconds=pause_s)
        if due := latest_due(NIGHTLY, after, now):
            assert before < due <= now
            filed.append(due)
            after = due
        passed = next_due(NIGHTLY, after)
        assert passed is not None
        assert passed > now
    assert filed == sorted(set(filed))
