"""A line of the log: stable fields in JSON, one line whatever the message holds, and never the text of an exception."""

import json
import logging
import sys
from typing import Any

import pytest

from tsync_stream.core.events import OTHER, event
from tsync_stream.core.log_lines import JsonLines, TextLines, ThisReplica, part_of
from tsync_stream.core.quiet import Quiet

CONTENT = "the content of a document"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test of this process may have been a replica."""
    monkeypatch.setattr(ThisReplica, "name", None)


def record(
    message: str, *arguments: object, name: str = "tsync_stream.capture.epochs", **more: Any
) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, "", 1, message, arguments, more.pop("exc_info", None))
    made.created = 1_769_860_800.25
    made.process = 7
    made.__dict__.update(more)
    return made


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(made)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_of_ours_has_its_event_and_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThisReplica, "name", "host-1")
    made = record("capture: epoch %d", 3, **event("epoch.opened", epoch=3, tier="backup", route=None))
    assert as_json(made) == {
        "timestamp": "2026-01-31T12:00:00.250Z",
        "level": "warning",
        "message": "capture: epoch 3",
        "event": "epoch.opened",
        "logger": "tsync_stream.capture.epochs",
        "part": "capture",
        "epoch": 3,
        "tier": "backup",
        "replica": "host-1",
    }


def test_a_line_of_a_library_has_the_same_form() -> None:
    found = as_json(record("[^-App]: Starting...", name="faust.app.base"))
    assert (found["event"], found["part"], found["logger"]) == (OTHER, "faust", "faust.app.base")
    assert part_of("tsync_stream") == "tsync_stream"


def test_plain_lines_are_in_utc() -> None:
    assert TextLines().format(record("leases: %s", "all")) == "[2026-01-31T12:00:00.250Z] [7] [WARNING] leases: all"


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_a_record_is_one_line_without_control_characters(form: logging.Formatter) -> None:
    line = form.format(record("one\ntwo\r\n\x1b[31mthree"))
    assert "one two" in line
    assert line.isprintable()


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_an_exception_is_its_type_and_place_and_never_its_text(form: logging.Formatter) -> None:
    try:
        int(CONTENT)
    except ValueError:
        line = form.format(record("crashed", exc_info=sys.exc_info()))
    assert "ValueError in test_an_exception_is" in line
    assert CONTENT not in line


def test_what_was_suppressed_is_counted_in_a_field() -> None:
    now_s, shown = 0.0, []
    quiet = Quiet(lambda made: shown.append(as_json(made)), lambda: now_s)
    for _ in range(3):
        quiet.filter(record("tier: away", **event("tier.absent", tier="backup")))
    now_s = 61.0
    quiet.flush()
    (line,) = shown
    assert (line["suppressed"], line["event"], line["tier"]) == (2, "tier.absent", "backup")


def test_a_name_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(AssertionError):
        event("capture.nonsense")
