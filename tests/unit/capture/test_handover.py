"""How a term ends, what the next beginning learns from it, and what people read about it."""

import logging

import pytest

from tsync_stream.capture.handover import MOST_AT_ONCE, Handover, TermEnd, report
from tsync_stream.core.errors import (
    ConfigurationError,
    DependencyUnavailable,
    Fenced,
    PositionLost,
    TierLost,
    TierRefused,
    TierUnavailable,
    TsyncError,
)
from tsync_stream.core.health import Health

DOWN = TierUnavailable("primary: no answer")


@pytest.mark.parametrize(
    ("end", "handover", "at_once"),
    [
        (TermEnd("a reconcile was requested", for_a_route=True), Handover(), True),
        (TermEnd("this replica stops"), Handover(), False),
        (TermEnd("going back", leave_tier=True), Handover(leave_tier="going back", goes_back=True), True),
        (DOWN, Handover(unavailable="primary: no answer", times_unavailable=1), True),
        (TierRefused("NOPERM"), Handover(unavailable="NOPERM", times_unavailable=1), True),
        (TierLost("the stream is gone"), Handover(leave_tier="the stream is gone"), False),
        (PositionLost("code 286"), Handover(position_lost="code 286"), False),
        (Fenced("another term"), Handover(), False),
        (DependencyUnavailable("MongoDB: no answer"), Handover(), False),
        (ConfigurationError("MONGODB_URI"), Handover(), False),
    ],
)
def test_what_the_next_beginning_learns(end: TermEnd | TsyncError, handover: Handover, at_once: bool) -> None:
    after = Handover().after(end)
    assert after == handover
    assert after.begins_at_once(end, 1) is at_once


def test_failed_beginnings_add_to_what_the_last_term_left() -> None:
    handover = Handover().after(PositionLost("code 286")).after(TierLost("the stream is gone")).after(Fenced("other"))
    assert handover == Handover(leave_tier="the stream is gone", position_lost="code 286")


def test_only_the_first_failure_of_a_tier_is_retried_at_once() -> None:
    handover = Handover().after(DOWN).after(DOWN)
    assert (handover.times_unavailable, handover.begins_at_once(DOWN, 1)) == (2, False)


def test_a_route_that_ends_one_term_after_another_has_to_wait() -> None:
    end = TermEnd("a reconcile was requested", for_a_route=True)
    at_once = [Handover().begins_at_once(end, short_terms) for short_terms in range(MOST_AT_ONCE + 2)]
    assert at_once == [True] * (MOST_AT_ONCE + 1) + [False]


def test_a_term_that_begins_takes_everything_but_the_count() -> None:
    handover = Handover("left", "down", 2, "code 286").taken()
    assert handover == Handover(times_unavailable=2)


@pytest.mark.parametrize(
    ("end", "check", "needs_person"),
    [
        (DOWN, "tier", False),
        (TierRefused("NOPERM"), "tier", True),
        (TierLost("the stream is gone"), "tier", False),
        (PositionLost("code 286"), "position", False),
        (DependencyUnavailable("MongoDB: no answer"), "capture", False),
        (ConfigurationError("MONGODB_URI"), "capture", True),
    ],
)
def test_a_fault_is_red_only_where_a_person_must_act(end: TsyncError, check: str, needs_person: bool) -> None:
    health = Health()
    report(end, health)
    ((name, problem),) = health.problems.items()
    assert (name, problem.level, problem.needs_person) == (
        check,
        "red" if needs_person else "degraded",
        needs_person,
    )
    assert problem.text.startswith(f"{end}; ")


@pytest.mark.parametrize("end", [TermEnd("going back", leave_tier=True), Fenced("another term has begun")])
def test_an_end_without_a_fault_of_ours_is_only_logged(
    end: TermEnd | TsyncError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    health = Health()
    report(end, health)
    assert not health.problems
    assert [record.getMessage()[:9] for record in caplog.records] == ["capture: "]
