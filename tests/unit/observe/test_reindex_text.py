"""A reindex in words. Pure."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from tsync_stream.observe.reindex_text import describe_last, describe_reindex, needs_person, reindex_json
from tsync_stream.state.generations import (
    Generation,
    Generations,
    LastReindex,
    Leaving,
    Phase,
    Reindex,
    ReindexOptions,
    Result,
)

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def document(phase: Phase, error: str = "") -> Generations:
    """Route c, whose new collection is c_2."""
    options = ReindexOptions(watch_s=60, keep_s=3600)
    reindex = Reindex("1f2e", 2, 1, phase, NOW, NOW, options=options, error=error, rounds=2)
    return Generations("c", "c", 1, 3, (Generation(1, "c_1"), Generation(2, "c_2")), reindex=reindex)


SAYS: dict[Phase, str] = {
    "building": "searches find c_1 meanwhile",
    "verifying": "for the second time",
    "carrying": "carried over to c_2",
    "swapping": "c is about to show c_2 instead of c_1",
    "watching": "until 2026-11-30 12:01:00 UTC it goes back to c_1 by itself",
    "kept": "until 2026-11-30 13:00:00 UTC: `tsync reindex c --rollback`",
    "rolling back": "c is about to show c_1 again: it refuses 3",
    "cleaning": "nothing is about to be deleted; c shows c_1",
    "failed": "c_2 is not shown: it refuses 3. `tsync reindex c --retry`",
}


@pytest.mark.parametrize("phase", get_args(Phase))
def test_each_phase_says_what_happens_next(phase: Phase) -> None:
    found = document(phase, "it refuses 3" if phase in ("failed", "rolling back") else "")
    assert SAYS[phase] in describe_reindex(found)
    assert reindex_json(found)["reindex"]["text"] == describe_reindex(found)


def test_what_is_deleted_is_named() -> None:
    found = document("cleaning").without(2)
    assert found.removing == (Leaving(2, "c_2"),)
    assert describe_reindex(found) == "c_2 is about to be deleted; c shows c_1"
    assert reindex_json(found)["reindex"]["collection"] == "c_2"


def test_without_an_open_one_there_is_nothing_to_describe() -> None:
    over = replace(document("kept"), reindex=None)
    with pytest.raises(ValueError, match="no reindex"):
        describe_reindex(over)
    assert reindex_json(over)["reindex"] is None
    assert describe_last(over) == ""


@pytest.mark.parametrize("result", get_args(Result))
def test_the_end_is_told_with_its_numbers(result: Result) -> None:
    ended = datetime(2026, 11, 30, 12, 0, 42, tzinfo=UTC)
    last = LastReindex("1f2e", 2, result, "why", NOW, ended, documents=7, refused=2)
    text = describe_last(replace(document("kept"), reindex=None, last=last))
    assert text.startswith(f"{result} after 42 s (why): ")
    assert text.endswith("; 2 documents are refused")


def test_a_failed_one_needs_a_person_until_one_has_decided() -> None:
    failed = document("failed").reindex
    assert failed is not None
    assert needs_person(failed)
    assert not needs_person(replace(failed, wish="retry"))
