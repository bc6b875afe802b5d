"""When the watch of a target ends a term: if it is another collection, and one that can be written to."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tsync_stream.capture import target_watch
from tsync_stream.capture.handover import TermEnd
from tsync_stream.capture.target_watch import LOOKS_PER_CHECK, TargetWatch
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.model import EpochRef, Head, Position, Route
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.preparation import ComesLater
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.route_state import RouteState

START = Position({"_data": "00"}, Timestamp(1, 0))
ROUTE = Route("listings", "shop", "listings", "window")
GONE = "the Typesense collection is gone"


class Ended(Exception):
    """A test has seen enough."""


class World:
    """A watch, and what it finds at each check; the last finding is repeated, `most_looks` times in all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *findings: str | TsyncError, most_looks: int = 20) -> None:
        monkeypatch.setattr(target_watch, "LOOK_INTERVAL_S", 0.0)
        self.findings = list(findings)
        self.checks = self.prepared = self.looks = 0
        self.most_looks = most_looks
        self.prepare_fails: TsyncError | None = None
        nothing = cast("Any", None)
        self.health = Health()
        self.watch = TargetWatch(nothing, ROUTE, "target", nothing, self.health, self._prepare, lambda: 60.0)
        monkeypatch.setattr(self.watch, "difference", self._difference)
        monkeypatch.setattr(self.watch, "note_synced", self._note_synced)
        pipeline = Pipeline(EpochRef("d", 1, "n", "primary"), 7, 1, START, START, {ROUTE.name: RouteState({})})
        table = RouteTable([Declaration(ROUTE)])
        self.current: Pipeline | None = pipeline
        self.term = CaptureTerm(pipeline, cast("Tier", None), table, [Head(0, 0, START.token)], START)

    async def _prepare(self) -> None:
        if self.prepare_fails is not None:
            raise self.prepare_fails
        self.prepared += 1

    async def _note_synced(self, stored: Pipeline, synced: Timestamp) -> None:
        self.looks += 1
        if self.looks > self.most_looks:
            raise Ended

    async def _difference(self, stored: RouteState) -> str:
        self.checks += 1
        found = self.findings.pop(0) if len(self.findings) > 1 else self.findings[0]
        if isinstance(found, TsyncError):
            raise found
        return found

    async def run(self) -> TermEnd:
        return await self.watch.run(self.term, lambda: self.current)


Make = Callable[..., World]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda *findings: World(monkeypatch, *findings)


async def test_another_collection_ends_the_term_without_a_fault_once_it_exists(world: Make) -> None:
    made = world("", GONE)
    assert await made.run() == TermEnd(f"{GONE}; a new term begins with a reconcile", for_a_route=True)
    assert (made.looks, made.prepared) == (2 * LOOKS_PER_CHECK, 1)


async def test_the_next_beginning_need_not_look_again(world: Make) -> None:
    made = world(GONE, "")
    await made.run()
    assert (await made.watch.replaced(RouteState({})), made.checks) == (GONE, 1)
    assert (await made.watch.replaced(RouteState({})), made.checks) == ("", 2), "but every later one does"


async def test_what_another_replica_captured_since_is_looked_at_again(world: Make) -> None:
    made = world(GONE, "")
    await made.run()
    made.watch.forget()
    assert await made.watch.replaced(RouteState({})) == ""


async def test_an_outage_of_typesense_does_not_end_the_term(world: Make) -> None:
    made = world(DependencyUnavailable("Typesense: no answer"))
    with pytest.raises(Ended):
        await made.run()
    assert made.checks == made.most_looks // LOOKS_PER_CHECK


async def test_a_collection_that_cannot_be_created_does_not_end_one_term_after_another(world: Make) -> None:
    made = world(GONE)
    made.prepare_fails = ConfigurationError("TYPESENSE_API_KEY: it may not create collections")
    with pytest.raises(Ended):
        await made.run()


@pytest.mark.parametrize("error", [ConfigurationError("the schema is refused"), ComesLater("a refers to b")])
async def test_why_a_collection_cannot_be_created_is_told_until_it_is(world: Make, error: TsyncError) -> None:
    made = world(GONE)
    made.prepare_fails = error
    assert await made.watch.replaced(RouteState({})) == ""
    problem = made.health.problems["target"]
    assert str(error) in problem.text
    assert problem.needs_person == isinstance(error, ConfigurationError)
    made.prepare_fails = None
    assert await made.watch.replaced(RouteState({})) == GONE
    assert made.health.status == "green"


async def test_an_outage_while_it_is_created_is_told_by_others(world: Make) -> None:
    made = world(GONE)
    made.prepare_fails = DependencyUnavailable("Typesense: no answer")
    assert await made.watch.replaced(RouteState({})) == ""
    assert made.health.status == "green"


async def test_nothing_is_judged_by_the_document_of_another_term(world: Make) -> None:
    made = world(GONE)
    seen = []

    def current() -> Pipeline | None:
        seen.append(1)
        if len(seen) > 3:
            raise Ended
        return None

    with pytest.raises(Ended):
        await made.watch.run(made.term, current)
    assert made.checks == 0
