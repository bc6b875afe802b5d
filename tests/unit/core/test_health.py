"""Health: the worst level counts, and a check is logged when it changes."""

import logging

import pytest

from tsync_stream.core.health import Health


def test_the_worst_check_decides_the_status() -> None:
    health = Health()
    assert health.status == "green"
    health.degraded("backup Redis", "out of reach")
    assert health.status == "degraded"
    health.red("Typesense", "out of reach")
    assert health.status == "red"
    health.green("Typesense")
    assert health.report() == {
        "status": "degraded",
        "problems": [
            {"check": "backup Redis", "level": "degraded", "text": "out of reach", "needs_person": False},
        ],
    }
    health.green("backup Redis")
    assert health.report() == {"status": "green", "problems": []}


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


def test_its_representation_names_checks_and_levels_and_no_text() -> None:
    health = Health()
    assert repr(health) == "Health(green)"
    health.red("Typesense", "out of reach at https://search.example")
    health.degraded("backup Redis", "out of reach")
    assert repr(health) == "Health(Typesense: red, backup Redis: degraded)"
