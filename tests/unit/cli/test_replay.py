"""What `replay` and `status` say about a replay, from facts alone."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click
import pytest
from bson.objectid import ObjectId

from tsync_stream.cli.parameters import Age
from tsync_stream.cli.replay import chosen, how_it_ended, what_is_chosen
from tsync_stream.core.key_text import show_key
from tsync_stream.core.terminal import printable
from tsync_stream.observe.status_view import show_job
from tsync_stream.state.dead_letter_search import ReasonCount
from tsync_stream.state.jobs import Job

JOB = Job("ab12", "replay", "listings", {"chosen": 30}, "open", datetime(2026, 1, 1, tzinfo=UTC), {}, None)


@pytest.mark.parametrize(
    ("progress", "live", "line"),
    [
        ({}, True, "replay ab12: waiting for its turn"),
        ({}, False, "replay ab12: waiting for a replica"),
        ({"phase": "queueing", "queued": 10}, True, "replay ab12: 10 of 30 are queued (33 %)"),
        ({"phase": "queueing", "queued": 40}, True, "replay ab12: 40 of 40 are queued (100 %)"),
        ({"phase": "done", "queued": 40}, True, "replay ab12: all 40 are queued; the last ones are being synced"),
    ],
)
def test_an_open_job_shows_its_progress(progress: dict[str, Any], live: bool, line: str) -> None:
    assert show_job(replace(JOB, progress=progress), live=live) == line


def test_more_may_fail_after_a_replay_was_filed() -> None:
    assert chosen(JOB) == 30
    assert chosen(replace(JOB, progress={"phase": "queueing", "queued": 40})) == 40


def test_the_chosen_records_are_counted_by_reason_with_those_that_a_replay_cannot_help() -> None:
    counts = [ReasonCount("listings", "id collision", 2), ReasonCount("listings", "unusable id", 1)]
    text = what_is_chosen(counts, 2)
    assert text.startswith("3 open dead letters are chosen:\n  2  listings: id collision\n  1  listings: unusable id\n")
    assert "1 of them cannot be queued" in text
    assert "cannot be queued" not in what_is_chosen(counts, 3)
    assert "nothing to replay" in what_is_chosen([], 0)


@pytest.mark.parametrize(
    ("status", "result", "words", "well"),
    [
        ("done", {"queued": 3, "resolved": 3, "pending": 0, "failed": []}, "3 resolved, 0 failed again", True),
        (
            "done",
            {"queued": 5, "resolved": 2, "pending": 0, "failed": [{"reason": "id collision", "count": 1}]},
            "1 failed again.\n  1  id collision\n2 were taken over by a later replay",
            False,
        ),
        (
            "done",
            {
                "queued": 3,
                "resolved": 3,
                "pending": 0,
                "failed": [],
                "refused": [{"reason": "unusable id", "count": 2}],
            },
            "0 failed again.\nIn all, 2 documents are refused now (unusable id: 2).",
            True,
        ),
        ("cancelled", None, "was cancelled", False),
        ("failed", {"error": "no such kind"}, "failed: no such kind", False),
    ],
)
def test_the_result_of_a_replay(status: str, result: Any, words: str, well: bool) -> None:
    text, is_well = how_it_ended(replace(JOB, status=status, result=result))
    assert words in text
    assert is_well is well


def test_a_job_that_is_no_longer_stored_is_a_failure() -> None:
    assert how_it_ended(None)[1] is False


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800), ("1.5d", 129_600)]
)
def test_an_age_has_a_unit(text: str, seconds: float) -> None:
    assert Age().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["soon", "d", "-1h", "1h30m", "1w", ""])
def test_an_invalid_age_is_an_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="90s, 15m, 1h or 7d"):
        Age().convert(text, None, None)


def test_keys_are_shown_about_as_in_a_query() -> None:
    assert show_key("a", 40) == '"a"'
    assert show_key(12, 40) == "12"
    assert show_key({"a": 1}, 40) == '{"a": 1}'
    key = ObjectId("65a000000000000000000001")
    assert show_key(key, 40) == 'ObjectId("65a000000000000000000001")'
    assert show_key("x" * 100, 10) == '"xxxxxxxx…'


def test_control_sequences_are_escaped() -> None:
    assert printable("a\x1b[2J\x9bé☃\n") == "a\\x1b[2J\\x9bé☃\\n"
