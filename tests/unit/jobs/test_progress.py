"""How far a long job is, and how long it will take."""

import logging
import time

import pytest

from tsync_stream.jobs.progress_log import LOG_INTERVAL_S, ProgressLog
from tsync_stream.observe.progress import Pace, percent, show_left


@pytest.mark.parametrize(
    ("done", "total", "shown"), [(0, 10, 0), (1, 3, 33), (9_999, 10_000, 99), (10, 10, 100), (11, 10, 100), (0, 0, 100)]
)
def test_only_everything_is_a_hundred_percent(done: int, total: int, shown: int) -> None:
    assert percent(done, total) == shown


def test_the_time_left_follows_from_the_pace_so_far_and_is_never_guessed() -> None:
    pace = Pace(100, 50.0)
    assert pace.left_s(200, 500, 60.0) == 30.0
    assert pace.left_s(150, 500, 50.5) is None, "too soon to tell"
    assert pace.left_s(100, 500, 90.0) is None, "no progress"
    assert pace.left_s(50, 500, 90.0) is None, "it went back"
    assert pace.left_s(500, 500, 90.0) is None
    assert show_left(None) == ""
    assert show_left(200.0) == ", about 3 min left"


def test_the_log_has_a_line_now_and_then_and_none_for_a_short_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    caplog.set_level(logging.INFO)
    progress = ProgressLog()
    for second in range(int(3 * LOG_INTERVAL_S)):
        now_s = float(second)
        progress.note("r1", "reconcile", 10 * second, 2_000, "documents are synced")
    assert [record.getMessage() for record in caplog.records] == [
        "reconcile: 15 %, 300 of about 2000 documents are synced, about 3 min left",
        "reconcile: 30 %, 600 of about 2000 documents are synced, about 2 min left",
    ]
    progress.forget("r1")
    caplog.clear()
    for done, total in ((0, 0), (7, 7)):
        for _ in range(3):
            now_s += LOG_INTERVAL_S
            progress.note(f"of {total}", "reconcile", done, total, "documents are synced")
    assert caplog.records == []
