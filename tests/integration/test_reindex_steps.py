"""The steps of a reindex on real servers, interrupted before and after each of them, and by other people.

The pipeline around it is a stand-in: every collection counts as filled, and every verification finds it equal.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.integration.conftest import Database
from tests.support.stack import Names, typesense_settings
from tsync_stream.core.health import Health
from tsync_stream.core.model import DeadLetter, EpochRef, Position, Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.jobs.reindex import acting, look
from tsync_stream.jobs.reindex.acting import Acting
from tsync_stream.jobs.reindex.controller import Reindexes
from tsync_stream.jobs.reindex.filing import Filing
from tsync_stream.jobs.reindex.further_aliases import FurtherAliases
from tsync_stream.jobs.reindex.look import Look, OnlyNew
from tsync_stream.jobs.reindex.wishes import ReindexRefused, wished
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.generations import effective, generation_name
from tsync_stream.routes.table import RouteTable
from tsync_stream.sink.aliases import Shown, show, shown_by
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.state.artefacts import ArtefactMemory
from tsync_stream.state.dead_letter_search import DeadLetterRecords
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations, ReindexOptions, Wish
from tsync_stream.state.jobs import JobStore
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.remains import Remains
from tsync_stream.state.route_state import ReconcileNeed, RouteState, Suspension

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NOW = Position({"_data": "token"}, Timestamp(1_700_000_000, 1), {})
AT_ONCE = ReindexOptions(watch_s=0, keep_s=0)
TO_KEEP = ReindexOptions(watch_s=0)
EQUAL: dict[str, Any] = {
    **dict.fromkeys(("compared", "missing", "different", "extra", "excepted", "unsettled", "foreign", "left"), 0),
    "unseen": False,
}


class Killed(BaseException):
    """The process ends here."""


class Fuse:
    """Ends the process before or after a certain one of the writes; `passed` counts those that were made."""

    def __init__(self, at: int = 0, *, before: bool = False) -> None:
        self.passed = 0
        self._at = at
        self._before = before

    def __call__(self, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def guarded(*given: Any, **more: Any) -> Any:
            self.passed += 1
            here = self.passed == self._at
            if here and self._before:
                raise Killed
            made = await write(*given, **more)
            if here:
                raise Killed
            return made

        return guarded


class Deployment:
    """One declared route, c, and what stands for the rest of the pipeline around its reindex."""

    def __init__(self, state: Database, target: TypesenseTarget, names: Names) -> None:
        self.alias = names.typesense_collection
        self.target = target
        self.store = GenerationStore(state)
        self.jobs = JobStore(state)
        self.health = Health()
        self.metrics = Metrics()
        self.lease_left_s = 60.0
        self.routes: dict[str, RouteState] = {}  # those that are not simply filled
        self.result = dict(EQUAL)
        self._state = state
        self._declared = RouteTable([Declaration(Route("c", names.database, names.collection, self.alias))])

    @property
    def first(self) -> str:
        return f"{self.alias}_1"

    @property
    def second(self) -> str:
        return f"{self.alias}_2"

    async def create(self, name: str) -> None:
        """An empty collection."""
        await self.target.create_collection({"name": name, "fields": [{"name": ".*", "type": "auto"}]})

    async def file(self, options: ReindexOptions = AT_ONCE) -> Generations:
        """File a reindex, whose collection is there at once."""
        declaration = self._declared["c"]
        filed = await Filing(self.store, self.target).file(
            declaration, options, "a test", datetime.now(UTC).replace(microsecond=0)
        )
        if filed.filed:
            await self.create(filed.document.generations[-1].collection)
        return filed.document

    async def stored(self) -> Generations:
        """The document of the route."""
        found = await self.store.load("c")
        assert found is not None
        return found

    async def phase(self) -> str:
        """The phase of the open reindex; "" if none is open."""
        reindex = (await self.stored()).reindex
        return "" if reindex is None else reindex.phase

    async def wish(self, wish: Wish) -> None:
        """A person asks for something."""
        await self.store.update("c", lambda document: wished(document, wish))

    async def refuse(self, route: str, key: int) -> None:
        """Typesense refuses a document of a route."""
        await DeadLetters(self._state).add([DeadLetter(route, key, "refused", "400")])

    async def went_back(self, reason: str) -> None:
        """It ended with the old collection, and says why."""
        assert await self.shown() == Shown(self.first, is_alias=True)
        last = (await self.stored()).last
        assert last is not None
        assert last.result == "rolled back"
        assert reason in last.reason

    async def term(self, fuse: Fuse | None = None) -> Reindexes:
        """Another capture term, by the table as it is stored now."""
        guard = fuse or Fuse()
        table = effective(self._declared, await self.store.all())
        routes = {name: self.routes.get(name, RouteState({"target_name": name})) for name in table}
        pipeline = Pipeline(EpochRef("d", 1, "n", "mongo"), 1, 1, NOW, NOW, routes=routes)
        positions = PositionStore(self._state)
        await self._state.pipeline.delete_many({})
        await positions.create(pipeline)
        capture = SimpleNamespace(pipeline=pipeline, fence=1, table=table, appended=NOW, await_barrier=lambda _: None)
        job_term = cast("Any", SimpleNamespace(capture=capture, synced=NOW))
        records = DeadLetterRecords(self._state)
        only_new = OnlyNew(job_term, records, DeadLetters(self._state))
        looks = Look(job_term, positions, self.jobs, records, only_new, self.target, lambda: self.lease_left_s)
        store, jobs, remains = GenerationStore(self._state), JobStore(self._state), Remains(self._state)
        for each, name in ((store, "replace"), (jobs, "file"), (remains, "delete")):
            setattr(each, name, guard(getattr(each, name)))
        count: Any = no_documents
        further = FurtherAliases(self.target, ArtefactMemory(self._state))
        carries: Any = guard(nothing_carried)
        acts = Acting(store, positions, jobs, remains, self.target, further, carries, count, looks.lease_lasts)
        return Reindexes(store, looks, acts, table, self.health, self.metrics)

    async def verified(self) -> None:
        """What runs jobs has compared everything."""
        for job in await self.jobs.open():
            await self.jobs.end(job.id, "done", self.result)

    async def run(self, *until: str, fuse: Fuse | None = None, terms: int = 20) -> None:
        """Terms that follow each other, until a phase is reached; searches find one of the collections at any time."""
        for _ in range(terms):
            reindexes = await self.term(fuse)
            for _ in range(4):
                await reindexes.look()
                await self.verified()
                assert (await self.shown()).exists
                if await self.phase() in until:
                    return
        raise AssertionError(f"not in {until}: {await self.stored()}")

    async def shown(self) -> Shown:
        """What searches find."""
        return await shown_by(self.target, self.alias)

    async def exist(self) -> set[str]:
        """Which of the first three collections exist."""
        names = [f"{self.alias}_{number}" for number in (1, 2, 3)]
        return {name for name in names if await self.target.collection(name) is not None}


async def no_documents(route: str) -> int:
    """How many there are."""
    return 0


async def nothing_carried(target: TypesenseTarget, source: str, to: str, before: Any) -> dict[str, Any]:
    """What is carried over."""
    return {"synonyms": []}


@pytest.fixture
async def deployment(
    stack: EmbeddedStack, names: Names, state: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Deployment]:
    """The route c, whose alias shows c_1."""
    monkeypatch.setattr(look, "LATE_IN_DEADLINES", 0)
    target = TypesenseTarget(typesense_settings(stack.typesense.port, stack.typesense.api_key))
    made = Deployment(state, target, names)
    await made.create(made.first)
    await show(target, made.alias, made.first)
    yield made
    await target.close()


def guarded(monkeypatch: pytest.MonkeyPatch, fuse: Fuse) -> None:
    """The fuse is at the requests that change Typesense, too."""
    for name in ("show", "show_instead", "delete_collection"):
        monkeypatch.setattr(acting, name, fuse(getattr(acting, name)))


async def test_it_goes_all_the_way(deployment: Deployment) -> None:
    await deployment.file()
    await deployment.run("")
    assert await deployment.shown() == Shown(deployment.second, is_alias=True)
    assert await deployment.exist() == {deployment.second}
    last = (await deployment.stored()).last
    assert last is not None
    assert last.result == "done"
    assert deployment.metrics.by_route("reindexes") == {"c": 1}


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 14))
async def test_killed_at_any_write_it_goes_on(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, at: int, before: bool
) -> None:
    fuse = Fuse(at, before=before)
    guarded(monkeypatch, fuse)
    await deployment.file()
    with pytest.raises(Killed):
        await deployment.run("", fuse=fuse)
    assert (await deployment.shown()).exists
    await deployment.run("", fuse=fuse)
    assert fuse.passed >= 13
    assert await deployment.shown() == Shown(deployment.second, is_alias=True)
    assert await deployment.exist() == {deployment.second}
    assert await deployment.jobs.open() == []


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_killed_on_the_way_back_it_goes_on(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, at: int, before: bool
) -> None:
    await deployment.file(TO_KEEP)
    await deployment.run("kept")
    await deployment.run("kept")
    fuse = Fuse(at, before=before)
    guarded(monkeypatch, fuse)
    await deployment.wish("rollback")
    with pytest.raises(Killed):
        await deployment.run("", fuse=fuse)
    await deployment.run("", fuse=fuse)
    assert await deployment.shown() == Shown(deployment.first, is_alias=True)
    assert await deployment.exist() == {deployment.first}


@pytest.mark.parametrize("phase", ["building", "verifying", "failed"])
async def test_it_can_be_cancelled_before_anything_is_shown(deployment: Deployment, phase: str) -> None:
    if phase == "building":
        deployment.routes["c@2"] = RouteState({}, reconcile=ReconcileNeed("job", "a new route"))
    deployment.result["left" if phase == "failed" else "missing"] = 1
    await deployment.file()
    await deployment.run(phase)
    await deployment.wish("cancel")
    await deployment.run("")
    assert await deployment.shown() == Shown(deployment.first, is_alias=True)
    assert await deployment.exist() == {deployment.first}
    last = (await deployment.stored()).last
    assert last is not None
    assert last.result == ("failed" if phase == "failed" else "cancelled")


async def test_what_is_shown_cannot_be_cancelled(deployment: Deployment) -> None:
    await deployment.file(TO_KEEP)
    await deployment.run("kept")
    with pytest.raises(ReindexRefused, match="--rollback"):
        await deployment.wish("cancel")
    phases = [line for line in deployment.metrics.exposition().decode().splitlines() if "reindex_phase{" in line]
    assert phases == ['tsync_reindex_phase{phase="kept",route="c"} 1.0']
    await deployment.wish("finish")
    await deployment.run("")
    assert await deployment.exist() == {deployment.second}


async def test_a_suspended_one_says_why_and_goes_on_once_it_is_repaired(deployment: Deployment) -> None:
    deployment.routes["c@2"] = RouteState({}, suspended=Suspension("n", "its schema is refused"))
    await deployment.file()
    reindexes = await deployment.term()
    await reindexes.look()
    assert "its schema is refused" in deployment.health.problems["reindex c"].text
    deployment.routes.clear()
    await deployment.run("")
    assert deployment.health.problems == {}


async def test_what_differs_again_and_again_is_not_shown(deployment: Deployment) -> None:
    deployment.result["different"] = 2
    await deployment.file()
    await deployment.run("failed")
    problem = deployment.health.problems["reindex c"]
    assert (problem.level, problem.needs_person) == ("red", True)
    assert "2 documents differed again" in problem.text
    assert await deployment.shown() == Shown(deployment.first, is_alias=True)
    deployment.result["different"] = 0
    await deployment.wish("retry")
    await deployment.run("")
    assert await deployment.shown() == Shown(deployment.second, is_alias=True)


async def test_documents_that_only_the_new_one_refuses_fail_it(deployment: Deployment) -> None:
    await deployment.refuse("c", 1)
    await deployment.refuse("c@2", 1)
    await deployment.refuse("c@2", 2)
    await deployment.file()
    await deployment.run("failed")
    assert "refuses 1 documents" in deployment.health.problems["reindex c"].text
    await deployment.refuse("c", 2)
    await deployment.wish("retry")
    await deployment.run("")
    assert (await deployment.shown()).collection == deployment.second


WATCHED = ReindexOptions(watch_s=3600)


async def test_it_goes_back_by_itself_if_only_the_new_one_refuses_a_change(deployment: Deployment) -> None:
    await deployment.file(WATCHED)
    await deployment.run("watching")
    await deployment.refuse("c", 1)
    await deployment.refuse("c@2", 1)
    await deployment.run("watching")
    await deployment.refuse("c@2", 2)
    await deployment.run("")
    await deployment.went_back("refuses 1 documents")


async def test_it_goes_back_by_itself_if_the_new_one_is_gone(deployment: Deployment) -> None:
    await deployment.file(WATCHED)
    await deployment.run("watching")
    await deployment.target.ask("DELETE", f"/collections/{deployment.second}")
    reindexes = await deployment.term()
    await reindexes.look()
    assert await deployment.shown() == Shown(deployment.first, is_alias=True)
    await deployment.run("")
    await deployment.went_back("is gone")


async def test_an_alias_that_somebody_else_has_moved_is_left_to_them(deployment: Deployment) -> None:
    deployment.routes["c@2"] = RouteState({}, reconcile=ReconcileNeed("job", "a new route"))
    await deployment.file()
    await deployment.create(f"{deployment.alias}_theirs")
    await show(deployment.target, deployment.alias, f"{deployment.alias}_theirs")
    deployment.routes.clear()
    await deployment.run("failed")
    assert "somebody else has changed it" in deployment.health.problems["reindex c"].text
    assert (await deployment.shown()).collection == f"{deployment.alias}_theirs"
    await show(deployment.target, deployment.alias, deployment.first)
    await deployment.wish("retry")
    await deployment.run("")
    assert (await deployment.shown()).collection == deployment.second


async def test_nothing_is_shown_or_deleted_while_the_lease_may_end(deployment: Deployment) -> None:
    await deployment.file()
    deployment.lease_left_s = 1.0
    await deployment.run("swapping")
    reindexes = await deployment.term()
    for _ in range(3):
        await reindexes.look()
    assert await deployment.shown() == Shown(deployment.first, is_alias=True)
    deployment.lease_left_s = 60.0
    await deployment.run("")


async def test_a_replica_that_captures_no_more_changes_nothing(deployment: Deployment) -> None:
    await deployment.file(TO_KEEP)
    stale = await deployment.term()
    await deployment._state.pipeline.update_one({"_id": "pipeline"}, {"$set": {"capture_fence": 2}})
    await stale.look()
    assert await deployment.phase() == "building"


async def test_what_another_alias_shows_is_not_deleted(deployment: Deployment) -> None:
    await show(deployment.target, f"{deployment.alias}_extra", deployment.first)
    await deployment.file()
    await deployment.run("")
    assert await deployment.exist() == {deployment.first, deployment.second}


async def test_what_is_left_of_a_generation_is_deleted_with_it(deployment: Deployment) -> None:
    await deployment.jobs.file("verify", "c", {"repair": False, "documents": 0})
    await deployment.file()
    await deployment.run("")
    for name in ("dead_letters", "rechecks", "refreshes", "jobs"):
        assert await deployment._state[name].count_documents({"route": "c"}) == 0


async def test_the_next_one_takes_the_next_number_that_is_free(deployment: Deployment) -> None:
    await deployment.create(deployment.second)  # somebody else's
    document = await deployment.file()
    assert document.generations[-1].collection == f"{deployment.alias}_3"
    assert generation_name("c", document.generations[-1].number) == "c@3"
    again = await deployment.file()
    assert again == document, "one is open at a time"


async def test_a_real_collection_is_refused_unless_a_gap_is_accepted(deployment: Deployment) -> None:
    await make_real(deployment)
    with pytest.raises(ReindexRefused, match="--accept-gap"):
        await deployment.file()
    assert await deployment.store.load("c") is None


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", range(8, 13))
async def test_killed_while_a_real_collection_gives_way_it_goes_on(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, at: int, before: bool
) -> None:
    await make_real(deployment)
    fuse = Fuse(at, before=before)
    guarded(monkeypatch, fuse)
    await deployment.file(replace(AT_ONCE, accept_gap=True))
    with pytest.raises(Killed):
        await deployment.run("", fuse=fuse)
    await deployment.run("", fuse=fuse)
    assert await deployment.shown() == Shown(deployment.second, is_alias=True)
    assert await deployment.exist() == {deployment.second}


async def make_real(deployment: Deployment) -> None:
    """The target is a collection of its own name, and no alias."""
    await deployment.target.ask("DELETE", f"/aliases/{deployment.alias}")
    await deployment.target.ask("DELETE", f"/collections/{deployment.first}")
    await deployment.create(deployment.alias)
