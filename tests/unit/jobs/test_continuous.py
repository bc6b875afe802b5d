"""The background verification of one route, with both sides in memory: its passes, its repairs, and what pauses it."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.support.waiting import eventually
from tests.unit.jobs.test_verify import NOW, PAGE, ROUTE, World
from tsync_stream.capture.term import BatchLost
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.pacer import Pacer
from tsync_stream.core.quiet import Quiet
from tsync_stream.jobs import continuous, judge
from tsync_stream.jobs.continuous import RouteVerification, is_repair
from tsync_stream.jobs.kinds import JobKinds
from tsync_stream.jobs.term import JobTerm
from tsync_stream.observe.metrics import Metrics
from tsync_stream.state import verifications
from tsync_stream.state.jobs import DONE
from tsync_stream.state.verifications import Verification, VerificationStore


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "PAUSES_S", (0.0, 0.0))
    for name in ("LOOK_INTERVAL_S", "JOB_RETRY_S", "SAVE_INTERVAL_S"):
        monkeypatch.setattr(continuous, name, 0.0)


class Background:
    """A route, its store, and its verification under one term after another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.saved: list[Verification] = []
        self.may_run = True
        self.synced = asyncio.Event()
        self.synced.set()
        self.metrics = Metrics()
        self.forgotten: list[str] = []
        self.fails: Exception | None = None
        self.wanted: Callable[[], bool] = lambda: True

    def made(self, stored: Verification | None = None) -> RouteVerification:
        world = self.world
        capture = SimpleNamespace(
            appended=SimpleNamespace(cluster_time=NOW, cursors={}), forget_job=self.forgotten.append
        )
        term = SimpleNamespace(
            capture=capture, producer=world.producer, until_synced=self._until_synced, is_synced=lambda job: True
        )
        kinds = SimpleNamespace(
            open_sides=lambda: world.sides,
            count_documents=self._count,
            judge=self._judge,
            mass_delete_share=0.2,
        )
        return RouteVerification(
            stored or Verification(ROUTE.name, "made from this"),
            cast("JobTerm", term),
            cast("JobKinds", kinds),
            cast("VerificationStore", SimpleNamespace(save=self._save)),
            Pacer(lambda: 100_000),
            self.metrics,
            lambda: self.may_run and world.wanted,
        )

    async def until(self, holds: Callable[[], bool], stored: Verification | None = None) -> None:
        """Run until something holds."""
        task = asyncio.create_task(self.made(stored).run())
        try:
            await eventually(lambda: task.done() or holds())
            if task.done():
                task.result()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, BatchLost):
                await task

    def is_complete(self) -> bool:
        return any(each.complete for each in self.saved)

    def whole(self) -> Verification:
        """The first complete pass: another one begins at once."""
        return next(each for each in self.saved if each.complete)

    def counted(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"tsync_{name}", {"route": ROUTE.name, **labels})

    def _judge(self, term: object, sides: object, wanted: Callable[[], bool], left_out: frozenset[str]) -> judge.Judge:
        self.wanted = wanted
        return self.world.judge_without(left_out, wanted)

    async def _count(self) -> int:
        if self.fails is not None:
            raise self.fails
        return len(self.world.source.documents)

    async def _save(self, verification: Verification) -> None:
        self.saved.append(verification)

    async def _until_synced(self, running: Any, ended: Callable[[], bool]) -> None:
        await self.synced.wait()
        assert ended()


async def test_a_pass_over_equal_sides_reports_nothing(caplog: pytest.LogCaptureFixture) -> None:
    background = Background(World(count=10))
    await background.until(background.is_complete)
    done = background.whole()
    assert (done.tally["compared"], done.documents, done.began, done.latest) == (10, 10, NOW, NOW)
    assert background.counted("documents_verified_total") == 10
    assert background.world.sent == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_what_differs_is_reported_once_and_repaired(caplog: pytest.LogCaptureFixture) -> None:
    background = Background(World(count=20))
    world = background.world
    del world.target.documents["001"]
    world.target.documents["005"] = {"number": "5"}
    world.target.documents["nobody"] = {"number": 1}
    await background.until(background.is_complete)
    assert sorted(world.queued()) == ["001", "005", "nobody"]
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert sorted(text.split(": ")[1].split(" in ")[0] for text in errors) == [
        "the document 001 is missing",
        "the document 005 is different",
        "the document nobody is extra",
    ]
    assert background.counted("documents_drifted_total", kind="missing") == 1
    jobs = [cast("Any", batch.progress).job for batch in world.sent]
    assert len(set(jobs)) == len(jobs)
    assert all(map(is_repair, jobs))
    assert background.forgotten == jobs


async def test_each_document_that_differs_has_its_line_at_once(caplog: pytest.LogCaptureFixture) -> None:
    shown: list[logging.LogRecord] = []
    quiet = Quiet(shown.append)
    background = Background(World(count=20))
    for key in ("001", "005", "011"):
        background.world.target.documents[key] = {"number": 100}
    await background.until(background.is_complete)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 3
    assert [quiet.filter(record) for record in errors] == [True] * 3


async def test_the_cursor_does_not_pass_a_difference_before_its_repair_is_synced() -> None:
    background = Background(World(count=3 * PAGE))
    del background.world.target.documents["001"]
    background.synced.clear()
    await background.until(lambda: bool(background.world.sent))
    assert [each.tally for each in background.saved if each.tally.get("missing")] == []
    background.synced.set()
    await background.until(background.is_complete)
    assert background.whole().tally["missing"] == 1


async def test_an_interrupted_pass_goes_on_from_its_cursor() -> None:
    background = Background(World(count=4 * PAGE))
    await background.until(lambda: any(each.cursor for each in background.saved))
    halfway = next(each for each in background.saved if each.cursor)
    background.saved.clear()
    background.world.source.scanned.clear()
    await background.until(background.is_complete, halfway)
    assert background.world.source.scanned[0] > "000"
    assert background.whole().tally["compared"] == 4 * PAGE
    assert background.whole().began == halfway.began


async def test_a_complete_pass_becomes_the_last_one() -> None:
    background = Background(World(count=2))
    stored = Verification(
        ROUTE.name,
        "f",
        began=Timestamp(1, 1),
        latest=Timestamp(2, 1),
        cursor={"phase": DONE, "tally": {"compared": 2, "missing": 0}},
    )
    await background.until(background.is_complete, stored)
    last = background.whole().last
    assert last is not None
    assert (last.began, last.ended) == (Timestamp(1, 1), Timestamp(2, 1))


async def test_nothing_runs_while_it_may_not() -> None:
    background = Background(World(count=2))
    background.may_run = False
    looks = 0

    def looked() -> bool:
        nonlocal looks
        looks += 1
        return looks > 20

    await background.until(looked)
    assert (background.saved, background.world.source.scanned) == ([], [])


async def test_what_a_pause_cut_short_is_no_difference() -> None:
    """A job that is filed ends the judge's wait early; it is done a moment later, and nothing was waited for."""
    background = Background(World(count=PAGE))
    del background.world.target.documents["001"]
    waits = 0

    async def cut_short(cluster_time: Timestamp) -> None:
        nonlocal waits
        waits += 1
        background.may_run = False
        assert not background.wanted()
        background.may_run = True
        background.world.target.documents["001"] = background.world.source.documents["001"]

    background.world.synced_up_to = cut_short
    await background.until(background.is_complete)
    assert (waits, background.whole().tally["missing"], background.world.sent) == (1, 0, [])


@pytest.mark.parametrize(
    ("error", "text"),
    [(DependencyUnavailable("Typesense: connection refused"), "connection refused"), (KeyError("secret"), "KeyError")],
)
async def test_an_outage_or_a_bug_pauses_it_and_is_said(
    error: Exception, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuous, "UNFORESEEN_PAUSE_S", 0.0)
    background = Background(World(count=2))
    background.fails = error
    await background.until(lambda: bool(background.saved))
    assert text in background.saved[-1].paused
    assert "secret" not in background.saved[-1].paused
    background.fails = None
    await background.until(background.is_complete, background.saved[-1])
    assert background.whole().paused == ""


async def test_a_lost_batch_ends_the_term() -> None:
    background = Background(World(count=2))
    background.fails = BatchLost("lost")
    with pytest.raises(BatchLost):
        await background.until(lambda: False)


async def test_too_many_to_delete_are_reported_and_left(caplog: pytest.LogCaptureFixture) -> None:
    background = Background(World(count=20))
    background.world.target.documents |= {f"extra {number}": {"number": 1} for number in range(30)}
    await background.until(background.is_complete)
    assert (background.world.queued(), background.whole().tally["left"]) == ([], 30)
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == continuous.MOST_LINES + 1
    assert "MASS_DELETE_SHARE" in errors[0]


def test_a_stored_verification_is_as_it_was() -> None:
    whole = Verification(
        "a", "f", 3, Timestamp(1, 1), {"phase": DONE, "tally": {"compared": 3}}, Timestamp(2, 1), None, "why"
    )
    for one in (whole, whole.next_pass(), replace(whole, cursor=None, latest=None)):
        assert verifications.from_bson(verifications.to_bson(one)) == one
