"""The command `reindex`: its options, what a person agrees to, and what it says. Without servers."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click
import pytest

from tsync_stream.cli import reindex
from tsync_stream.cli.commands import reindex as _declared  # noqa: F401 - importing it declares it
from tsync_stream.cli.declaring import DECLARED
from tsync_stream.cli.reindex import (
    Wanted,
    chosen_route,
    is_settled,
    outcome,
    wanted,
    what_was_filed,
    what_will_happen,
)
from tsync_stream.core.model import Route
from tsync_stream.jobs.reindex.wishes import ReindexRefused
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.generations import Generation, Generations, LastReindex, Phase, Reindex, ReindexOptions, Wish

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def typed(*words: str) -> Wanted:
    """What the command makes of its arguments."""
    command = DECLARED["reindex"]
    asked = command.make_context("reindex", list(words)).params
    del asked["as_json"]
    return wanted(**asked)


def document(phase: Phase | None = "building", wish: Wish | None = None) -> Generations:
    """Route c, whose alias c shows c_1."""
    both = (Generation(1, "c_1"), Generation(2, "c_2"))
    opened = None if phase is None else Reindex("1f2e", 2, 1, phase, NOW, NOW, wish=wish)
    return Generations("c", "c", 1, 3, both, reindex=opened)


def table(*names: str) -> RouteTable:
    """A table of routes with these names."""
    return RouteTable(Declaration(Route(name, "shop", name, name)) for name in names)


def test_the_options_have_defaults_and_forms() -> None:
    assert typed() == Wanted(None, ReindexOptions(600.0, 86_400.0, 0), None, yes=False, follow=True)
    options = ReindexOptions(1.0, 0.0, 50, accept_refused=True, accept_gap=True)
    words = ["c", "--yes", "--watch=1s", "--keep=0s", "--rate=50", "--accept-refused", "--accept-gap", "--no-follow"]
    assert typed(*words) == Wanted("c", options, None, yes=True, follow=False)


@pytest.mark.parametrize("wish", ["cancel", "rollback", "finish", "retry"])
def test_a_wish_is_an_option(wish: Wish) -> None:
    assert typed("c", f"--{wish}").wish == wish


def test_wishes_exclude_each_other() -> None:
    with pytest.raises(click.UsageError, match="--cancel and --retry exclude each other"):
        typed("c", "--retry", "--cancel")


@pytest.mark.parametrize("words", [["--watch", "soon"], ["--keep", "x"], ["--rate", "0"]])
def test_a_wrong_value_is_refused(words: list[str]) -> None:
    with pytest.raises(click.BadParameter):
        typed("c", *words)


def test_the_only_route_needs_no_name() -> None:
    assert chosen_route(table("c"), None).route.name == "c"
    assert chosen_route(table("c", "d"), "d").route.name == "d"


@pytest.mark.parametrize(
    ("name", "words"),
    [(None, "Name one of the routes: c, d"), ("e", "There is no route e"), ("c@2", "what is reindexed is c")],
)
def test_a_route_that_is_not_clear_is_asked_for(name: str | None, words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        chosen_route(table("c", "d"), name)


def test_a_person_is_told_what_it_takes() -> None:
    text = what_will_happen(document(None), ReindexOptions(), 200_000)
    assert "beside c_1 with about 200000 documents" in text
    assert "kept up to date for 24 h" in text
    at_once = what_will_happen(document(None), ReindexOptions(watch_s=60, keep_s=0), None)
    assert "with all documents" in at_once
    assert "c_1 is deleted after" in at_once
    real = replace(document(None), generations=(Generation(1, "c"),))
    assert "there is no way back" in what_will_happen(real, ReindexOptions(accept_gap=True), 1)


def test_what_was_filed_is_told_and_so_is_what_was_open() -> None:
    assert "is filed: c_2 is being filled" in what_was_filed(document(), filed=True, live=1)
    assert "begins when a worker is started" in what_was_filed(document(), filed=True, live=0)
    assert "is open already: c_2 is being filled" in what_was_filed(document(), filed=False, live=1)


def test_nothing_is_done_before_somebody_has_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    reindex._require_consent("text", yes=True)
    monkeypatch.setattr("sys.stdin", Stdin(tty=False))
    with pytest.raises(click.UsageError, match="--yes"):
        reindex._require_consent("text", yes=False)
    monkeypatch.setattr("sys.stdin", Stdin(tty=True))
    monkeypatch.setattr(click, "confirm", lambda *_args, **_how: False)
    with pytest.raises(ReindexRefused, match="Nothing was filed"):
        reindex._require_consent("text", yes=False)
    monkeypatch.setattr(click, "confirm", lambda *_args, **_how: True)
    reindex._require_consent("text", yes=False)


class Stdin:
    """A terminal, or none."""

    def __init__(self, *, tty: bool) -> None:
        self.isatty = lambda: tty


ENDED = LastReindex("1f2e", 2, "rolled back", "", NOW, NOW)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (document("building"), "open"),
        (document("kept"), "kept"),
        (document("kept", "rollback"), "open"),
        (document("failed"), "failed"),
        (document("failed", "cancel"), "open"),
        (replace(document(None), last=ENDED), "rolled back"),
        (document(None), "open"),
    ],
)
def test_how_it_stands_decides_when_the_command_ends(found: Generations, expected: Any) -> None:
    assert outcome(found) == expected
    if found.reindex is not None:
        assert is_settled(found.reindex) == (expected in ("kept", "failed"))
