"""The log under a lasting fault: logged at once, repeated ever more rarely, and its last line is true."""

import asyncio
import logging

import pytest

from tests.support.waiting import HANG_S
from tsync_stream.core import quiet
from tsync_stream.core.health import Health
from tsync_stream.core.quiet import INTERVAL_S, MOST_SUBJECTS, Quiet, about, keep_quiet


class Lines(logging.Handler):
    """What a terminal would show."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.shown.append(record.getMessage())


class Filtered:
    """A logger behind a filter whose clock the test moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.lines = Lines()
        self.quiet = Quiet(self.lines.emit, lambda: self.now_s)
        self.lines.addFilter(self.quiet)
        self.log = logging.Logger("test")  # noqa: LOG001 - shared with no other test
        self.log.addHandler(self.lines)

    @property
    def shown(self) -> list[str]:
        return self.lines.shown


def test_a_fault_of_an_hour_that_is_logged_every_second_is_nine_lines() -> None:
    filtered = Filtered()
    logged_s: list[int] = []
    for second in range(3_601):
        filtered.now_s = float(second)
        filtered.log.warning("leases: %s; leases last %.1f s more", "MongoDB is away", 100 - second / 41)
        logged_s += [second] * (len(filtered.shown) - len(logged_s))
    assert logged_s == [0, 60, 180, 420, 900, 1500, 2100, 2700, 3300]
    assert filtered.shown[0] == "leases: MongoDB is away; leases last 100.0 s more"
    assert filtered.shown[1] == "leases: MongoDB is away; leases last 98.6 s more (59 repetitions suppressed)"


def test_a_check_whose_reason_alternates_is_as_quiet_as_one_reason() -> None:
    """Under one outage a client sees resets, time-outs, half answers: ten minutes of them are four lines a check."""
    filtered = Filtered()
    filtered.log.name = "tsync_stream.core.health"
    health = Health()
    for second in range(601):
        filtered.now_s = float(second)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("tsync_stream.core.health.log", filtered.log)
            health.red("server typesense", ("connection reset", "no answer in time", "half an answer")[second % 3])
            health.degraded("tier", ("slow", "away")[second % 2])
    assert len(filtered.shown) == 8


def test_a_check_that_is_healthy_again_is_logged_at_once_and_last() -> None:
    filtered = Filtered()
    for second in range(30):
        filtered.now_s = float(second)
        filtered.log.warning("Typesense: away for %s", "abc"[second % 3], extra=about("Typesense", "wrong"))
    filtered.log.info("Typesense: healthy again", extra=about("Typesense", "healthy"))
    filtered.now_s = 1_000.0
    filtered.quiet.flush()
    assert filtered.shown == [
        "Typesense: away for a",
        "Typesense: away for c (29 repetitions suppressed)",
        "Typesense: healthy again",
    ]


def test_a_check_that_changes_its_state_after_long_repetition_is_logged_within_a_minute() -> None:
    filtered = Filtered()
    for second in range(500):
        filtered.now_s = float(second)
        filtered.log.warning("away", extra=about("Typesense", "wrong"))
    filtered.log.info("healthy again", extra=about("Typesense", "healthy"))
    filtered.now_s = 505.0
    filtered.log.warning("away", extra=about("Typesense", "wrong"))
    assert filtered.shown[-1] == "healthy again"
    filtered.now_s = 499.0 + INTERVAL_S
    filtered.quiet.flush()
    assert filtered.shown[-1] == "away (1 repetition suppressed)"


def test_lines_that_differ_in_more_than_numbers_and_ids_are_all_logged() -> None:
    filtered = Filtered()
    for text in ("primary: refused", "backup: refused", "primary: reset", "deadbeef is no id here", "cafe", "a-b"):
        filtered.log.warning(text)
        filtered.log.error(text)
    assert len(filtered.shown) == 12


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("replica 64f0c2a1b3d4e5f60718293a is gone", "replica 64f0c2a1b3d4e5f60718293b is gone"),
        ("partition 3: a new owner", "partition 12: a new owner"),
        ("again in 0.25 s", "again in 7 s"),
    ],
)
def test_lines_that_differ_only_in_numbers_and_ids_are_repetitions(one: str, other: str) -> None:
    filtered = Filtered()
    filtered.log.info(one)
    filtered.log.info(other)
    assert filtered.shown == [one]


def test_the_last_line_about_a_check_that_flaps_is_true() -> None:
    """Each state is logged at once, then the last of each in the order in which they came."""
    filtered = Filtered()
    for second in range(0, 58, 2):
        filtered.now_s = float(second)
        filtered.log.warning("away", extra=about("Typesense", "wrong"))
        filtered.now_s += 1
        filtered.log.info("healthy again", extra=about("Typesense", "healthy"))
    filtered.now_s = 59.0
    filtered.log.warning("away", extra=about("Typesense", "wrong"))
    assert filtered.shown == ["away", "healthy again"]
    filtered.now_s = INTERVAL_S
    filtered.quiet.flush()
    assert filtered.shown[2:] == [
        "healthy again (28 repetitions suppressed)",
        "away (29 repetitions suppressed)",
    ]


def test_a_critical_line_is_never_suppressed() -> None:
    filtered = Filtered()
    filtered.log.critical("unforeseen")
    filtered.log.critical("unforeseen")
    assert filtered.shown == ["unforeseen", "unforeseen"]


def test_a_line_whose_arguments_do_not_fit_is_no_error() -> None:
    filtered = Filtered()
    record = logging.LogRecord("test", logging.WARNING, "x.py", 1, "%d things", ("many",), None)
    assert filtered.quiet.filter(record)
    assert not filtered.quiet.filter(record)


def test_the_memory_for_lines_is_bounded() -> None:
    filtered = Filtered()
    for number in range(3 * MOST_SUBJECTS):
        filtered.log.warning("-".join(chr(ord("g") + int(digit)) for digit in str(number)))
    assert len(filtered.shown) == 3 * MOST_SUBJECTS
    assert len(filtered.quiet._subjects) == MOST_SUBJECTS


async def test_a_suppressed_line_is_logged_although_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "INTERVAL_S", 0.05)
    lines = Lines()
    keep_quiet(lines)
    log = logging.Logger("test")  # noqa: LOG001 - shared with no other test
    log.addHandler(lines)
    log.warning("away")
    log.warning("away")
    assert lines.shown == ["away"]
    async with asyncio.timeout(HANG_S):
        while len(lines.shown) == 1:
            await asyncio.sleep(0.01)
    assert lines.shown == ["away", "away (1 repetition suppressed)"]
