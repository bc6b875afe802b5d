"""The loop of the commands that keep looking: it survives outages, rests after slow looks, and knows when to stop."""

import asyncio
import io
import sys
import time
from collections.abc import Iterator

import pytest

from tsync_stream.cli.following import (
    LOOK_INTERVAL_S,
    NO_REPLICA_S,
    PROGRESS_INTERVAL_S,
    REST_FACTOR,
    Follower,
    News,
    NoReplica,
)
from tsync_stream.cli.progress import Measured, progress
from tsync_stream.core.errors import DependencyUnavailable

AWAY = DependencyUnavailable("MongoDB is away")


class World:
    """A clock that stands still but for sleeps, and for what a look takes."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.rests_s: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.rests_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(time, "monotonic", lambda: made.now_s)
    monkeypatch.setattr(asyncio, "sleep", made.sleep)
    return made


async def test_it_looks_until_a_look_says_that_it_has_ended(world: World) -> None:
    outcomes = iter([False, False, True])

    async def look() -> bool:
        return next(outcomes)

    await Follower().follow(look)
    assert world.rests_s == [LOOK_INTERVAL_S, LOOK_INTERVAL_S]


async def test_it_rests_after_a_slow_look_but_not_after_an_outage(world: World) -> None:
    outcomes: Iterator[bool | Exception] = iter([False, AWAY, True])

    async def look() -> bool:
        world.now_s += 3.0
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    await Follower().follow(look, 2.0)
    assert world.rests_s == [REST_FACTOR * 3.0, 2.0]


def test_a_command_stops_waiting_when_no_replica_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    follower = Follower()
    looks = [(0.0, 0), (NO_REPLICA_S - 1, 0), (NO_REPLICA_S, 1), (NO_REPLICA_S + 1, 0), (2 * NO_REPLICA_S, 0)]
    for now_s, live in looks:  # noqa: B007
        follower.note_live(live, "The reconcile")
    now_s = 2 * NO_REPLICA_S + 1
    with pytest.raises(NoReplica, match=r"No replica has been live for 20 s.*The reconcile stays filed"):
        follower.note_live(0, "The reconcile")


async def test_a_lasting_trouble_is_printed_once_and_a_missing_replica_ends_the_wait(
    capsys: pytest.CaptureFixture[str],
) -> None:
    follower = Follower()
    away = DependencyUnavailable("MongoDB is away")
    outcomes: Iterator[bool | Exception] = iter([away, away, away, True, away])

    async def look() -> bool:
        outcome = next(outcomes, NoReplica("nobody"))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert [await follower.try_to(look) for _ in range(5)] == [False, False, False, True, False]
    assert capsys.readouterr().err == "MongoDB is away\n" * 2
    with pytest.raises(NoReplica):
        await follower.try_to(look)


def test_news_are_printed_at_once_and_numbers_now_and_then(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    news = News()
    for second in range(int(2 * PROGRESS_INTERVAL_S)):
        news.show("scan", f"{second}")
        world.now_s += 1.0
    news.show("sweep", "the next phase")
    assert capsys.readouterr().out.split("\n") == ["0", f"{PROGRESS_INTERVAL_S:g}", "the next phase", ""]


# ---- progress ----


class Terminal(io.StringIO):
    """A stream that says of itself that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_progress_is_bars_on_a_terminal_and_lines_elsewhere(
    monkeypatch: pytest.MonkeyPatch, kind: type[io.StringIO], as_json: bool
) -> None:
    """With --json on stderr, because stdout is for the result alone."""
    out, err = kind(), kind()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with progress(as_json=as_json) as show:
        show("job", "scan", "half", Measured(5, 10, "; 5 left"))
        show("job", "sweep", "all", Measured(10, 10, "; 0 left"))
    used, unused = (err, out) if as_json else (out, err)
    assert unused.getvalue() == ""
    if kind is Terminal:
        assert "10/10" in used.getvalue()
        assert "━" in used.getvalue()
    else:
        assert used.getvalue() == "half; 5 left\nall; 0 left\n"
