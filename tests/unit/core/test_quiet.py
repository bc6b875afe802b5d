"""The log under a lasting fault: logged at once, repeated ever more rarely, and its last line is true."""

import asyncio
import logging

import pytest

from tsync_stream.core import quiet
from tsync_stream.core.health import Health
from tsync_stream.core.quiet import INTERVAL_S, MOST_SUBJECTS, Quiet, about, keep_quiet


class Lines(logging.Handler):
    """What a terminal would show."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


class Told:
    """A logger behind a filter whose clock the test moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.lines = Lines()
        self.quiet = Quiet(self.lines.emit, lambda: self.now_s)
        self.lines.addFilter(self.quiet)
        self.log = logging.Logger("test")  # noqa: LOG001 - none that others share
        self.log.addHandler(self.lines)

    @property
    def told(self) -> list[str]:
        return self.lines.told


def test_a_fault_of_an_hour_that_is_logged_every_second_is_nine_lines() -> None:
    told = Told()
    logged_s: list[int] = []
    for second in range(3_601):
        told.now_s = float(second)
        told.log.warning("leases: %s; leases last %.1f s more", "MongoDB is away", 100 - second / 41)
        logged_s += [second] * (len(told.told) - len(logged_s))
    assert logged_s == [0, 60, 180, 420, 900, 1500, 2100, 2700, 3300]
    assert told.told[0] == "leases: MongoDB is away; leases last 100.0 s more"
    assert told.told[1] == "leases: MongoDB is away; leases last 98.6 s more (such a line came 59 times more meanwhile)"


def test_a_check_whose_reason_alternates_is_as_quiet_as_one_reason() -> None:
    """Under one outage a client sees resets, time-outs, half answers: ten minutes of them are four lines a check."""
    told = Told()
    told.log.name = "tsync_stream.core.health"
    health = Health()
    for second in range(601):
        told.now_s = float(second)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("tsync_stream.core.health.log", told.log)
            health.red("server typesense", ("connection reset", "no answer in time", "half an answer")[second % 3])
            health.degraded("tier", ("slow", "away")[second % 2])
    assert len(told.told) == 8


def test_a_check_that_is_healthy_again_is_logged_at_once_and_last() -> None:
    told = Told()
    for second in range(30):
        told.now_s = float(second)
        told.log.warning("Typesense: away for %s", "abc"[second % 3], extra=about("Typesense", "wrong"))
    told.log.info("Typesense: healthy again", extra=about("Typesense", "healthy"))
    told.now_s = 1_000.0
    told.quiet.flush()
    assert told.told == [
        "Typesense: away for a",
        "Typesense: away for c (such a line came 29 times more meanwhile)",
        "Typesense: healthy again",
    ]


def test_a_check_that_changes_its_state_after_long_repetition_is_logged_within_a_minute() -> None:
    told = Told()
    for second in range(500):
        told.now_s = float(second)
        told.log.warning("away", extra=about("Typesense", "wrong"))
    told.log.info("healthy again", extra=about("Typesense", "healthy"))
    told.now_s = 505.0
    told.log.warning("away", extra=about("Typesense", "wrong"))
    assert told.told[-1] == "healthy again"
    told.now_s = 499.0 + INTERVAL_S
    told.quiet.flush()
    assert told.told[-1] == "away (such a line came once more meanwhile)"


def test_lines_that_differ_in_more_than_numbers_and_ids_are_all_told() -> None:
    told = Told()
    for text in ("primary: refused", "backup: refused", "primary: reset", "deadbeef is no id here", "cafe", "a-b"):
        told.log.warning(text)
        told.log.error(text)
    assert len(told.told) == 12


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("replica 64f0c2a1b3d4e5f60718293a is gone", "replica 64f0c2a1b3d4e5f60718293b is gone"),
        ("partition 3: a new owner", "partition 12: a new owner"),
        ("again in 0.25 s", "again in 7 s"),
    ],
)
def test_lines_that_differ_in_numbers_and_ids_say_the_same(one: str, other: str) -> None:
    told = Told()
    told.log.info(one)
    told.log.info(other)
    assert told.told == [one]


def test_the_last_line_about_a_check_that_flaps_is_true() -> None:
    """Each state is logged at once, then the last of each in the order in which they came."""
    told = Told()
    for second in range(0, 58, 2):
        told.now_s = float(second)
        told.log.warning("away", extra=about("Typesense", "wrong"))
        told.now_s += 1
        told.log.info("healthy again", extra=about("Typesense", "healthy"))
    told.now_s = 59.0
    told.log.warning("away", extra=about("Typesense", "wrong"))
    assert told.told == ["away", "healthy again"]
    told.now_s = INTERVAL_S
    told.quiet.flush()
    assert told.told[2:] == [
        "healthy again (such a line came 28 times more meanwhile)",
        "away (such a line came 29 times more meanwhile)",
    ]


def test_what_may_be_the_last_line_is_told_always() -> None:
    told = Told()
    told.log.critical("unforeseen")
    told.log.critical("unforeseen")
    assert told.told == ["unforeseen", "unforeseen"]


def test_a_line_whose_arguments_do_not_fit_stops_nobody() -> None:
    told = Told()
    record = logging.LogRecord("test", logging.WARNING, "x.py", 1, "%d things", ("many",), None)
    assert told.quiet.filter(record)
    assert not told.quiet.filter(record)


def test_the_memory_for_lines_is_bounded() -> None:
    told = Told()
    for number in range(3 * MOST_SUBJECTS):
        told.log.warning("-".join(chr(ord("g") + int(digit)) for digit in str(number)))
    assert len(told.told) == 3 * MOST_SUBJECTS
    assert len(told.quiet._subjects) == MOST_SUBJECTS


async def test_what_was_held_back_is_told_though_nothing_more_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "INTERVAL_S", 0.05)
    lines = Lines()
    keep_quiet(lines)
    log = logging.Logger("test")  # noqa: LOG001 - none that others share
    log.addHandler(lines)
    log.warning("away")
    log.warning("away")
    assert lines.told == ["away"]
    async with asyncio.timeout(5):
        while len(lines.told) == 1:
            await asyncio.sleep(0.01)
    assert lines.told == ["away", "away (such a line came once more meanwhile)"]
