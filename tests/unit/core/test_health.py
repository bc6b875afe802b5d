"""Health: the worst level counts, a check is logged when it changes, and it is known since when it is as it is."""

import logging

import pytest

from tsync_stream.core import clock
from tsync_stream.core.health import MOST_OVER, Health


def test_the_worst_check_decides_the_status() -> None:
    health = Health()
    assert health.status == "green"
    health.degraded("backup Redis", "out of reach")
    assert health.status == "degraded"
    health.red("Typesense", "out of reach")
    assert health.status == "red"
    health.green("Typesense")
    since = health.since("backup Redis").at
    assert health.report() == {
        "status": "degraded",
        "problems": [
            {
                "check": "backup Redis",
                "level": "degraded",
                "kind": "notice",
                "text": "out of reach",
                "needs_person": False,
                "since": since,
            },
        ],
    }
    health.green("backup Redis")
    assert health.report() == {"status": "green", "problems": []}


@pytest.mark.parametrize(("needs_person", "level"), [(False, "degraded"), (True, "red")])
def test_a_fault_is_red_only_if_a_person_must_act(needs_person: bool, level: str) -> None:
    health = Health()
    health.fault("Typesense", "out of reach", needs_person=needs_person)
    (problem,) = health.problems.values()
    assert (health.status, problem.kind) == (level, "fault")


def test_a_check_is_logged_when_its_level_or_text_changes_and_not_again(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    with caplog.at_level(logging.INFO):
        health.degraded("a", "one")
        health.degraded("a", "one")
        health.red("a", "one")
        health.red("a", "one", needs_person=True)
        health.green("a")
        health.green("a")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "a: one"),
        ("WARNING", "a: one"),
        ("ERROR", "a: one"),
        ("INFO", "a: healthy again"),
    ]


def test_a_check_and_the_status_know_since_when_they_are_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "now_s", lambda: now_s)
    health = Health()
    health.degraded("tier", "slow")
    now_s = 107.0
    health.degraded("tier", "away")
    assert health.since("tier").for_s() == 7.0, "another text is not another level"
    health.red("tier", "away")
    health.degraded("oplog", "short")
    now_s = 110.0
    assert [health.since(check).for_s() for check in ("tier", "oplog")] == [3.0, 3.0]
    assert health.status_since.for_s() == 3.0
    health.green("tier")
    now_s = 111.0
    assert (health.status, health.status_since.for_s(), health.since("oplog").for_s()) == ("degraded", 1.0, 4.0)


def test_what_is_over_is_remembered_until_it_comes_back() -> None:
    health = Health()
    health.green("tier")
    assert health.over == {}
    health.red("tier", "away")
    health.red("tier", "refused")
    health.green("tier")
    assert health.over["tier"].text == "refused"
    health.red("tier", "away")
    assert health.over == {}


def test_only_the_newest_recoveries_are_remembered() -> None:
    health = Health()
    for number in range(2 * MOST_OVER):
        health.red(f"route {number}", "suspended")
        health.green(f"route {number}")
    assert list(health.over) == [f"route {number}" for number in range(MOST_OVER, 2 * MOST_OVER)]


def test_its_representation_names_checks_and_levels_and_no_text() -> None:
    health = Health()
    assert repr(health) == "Health(green)"
    health.red("Typesense", "out of reach at https://search.example")
    health.degraded("backup Redis", "out of reach")
    assert repr(health) == "Health(Typesense: red, backup Redis: degraded)"


def test_what_those_who_follow_do_not_report_again_is_over() -> None:
    health = Health()
    health.red("route gone", "no such source")
    health.degraded("server primary", "no answer")
    health.degraded("reload", "a bad file")
    since = health.since("server primary")
    health.begin_anew(but=("reload",))
    assert health.status == "red", "nothing is forgotten at once"
    health.degraded("server primary", "no answer")
    health.settle()
    assert set(health.problems) == {"server primary", "reload"}
    assert health.since("server primary") == since
    health.settle()
    assert set(health.problems) == {"server primary", "reload"}
