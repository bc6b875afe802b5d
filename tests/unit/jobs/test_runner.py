"""The jobs of a capture term, with everything around them in memory: order, cursors, endings, outages; no server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn, cast

import pytest
from bson.timestamp import Timestamp

from tests.support.waiting import HANG_S, eventually
from tsync_stream.capture.persist import append_batch
from tsync_stream.capture.term import BatchLost, CaptureTerm, EntryBatch
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, Fenced
from tsync_stream.core.health import Health
from tsync_stream.core.model import EpochRef, Head, Position, Reason, Route
from tsync_stream.jobs import need as need_of
from tsync_stream.jobs import producer, runner
from tsync_stream.jobs import term as job_terms
from tsync_stream.jobs.kinds import JobKinds
from tsync_stream.jobs.ledger import JobLedger, describe_outcome
from tsync_stream.jobs.need import NeededReconcile
from tsync_stream.jobs.runner import FiledJobs, TermJobs
from tsync_stream.jobs.scan import Sides
from tsync_stream.jobs.term import SURELY_CAPTURED_S, JobTerm
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.tier import Append, Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Outcome, Page, ReasonCount, Selection
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.job_keys import JobKeys
from tsync_stream.state.jobs import DONE, RECONCILE, REPLAY, TIME_LEFT, VERIFY, Job, JobStore
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.route_state import ReconcileNeed, RouteState, Suspension

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = Timestamp(77, 1)
ROUTE = Route("listings", "shop", "listings", "listings")
PARTITIONS = 2
PAGE = 3


async def no_refreshes() -> Sequence[str]:
    return ()


@dataclass
class MemoryTier:
    """The writer's side of a tier."""

    waiting: int = 0
    looks: int = 0
    appended: list[Append] = field(default_factory=list)

    async def append(self, epoch: EpochRef, fence: int, token: Any, appends: Sequence[Append]) -> None:
        self.appended += appends
        self.waiting += sum(len(append.items) for append in appends)

    async def backlog(self, epoch: EpochRef, partitions: int) -> list[int]:
        self.looks += 1
        await asyncio.sleep(0)  # a server takes its time, in which others work
        return [self.waiting, 0]


@dataclass
class MemoryRecords:
    """Open dead letters with the ids `00`, `01`, … and the same numbers as keys."""

    count: int
    marked: dict[str, list[str]] = field(default_factory=dict)
    outages: int = 0
    away_for: str = ""  # a route whose pages cannot be read
    refused: Mapping[str, int] = field(default_factory=dict)

    async def page(self, selection: Selection, route: str, after: str, limit: int) -> Page:
        if self.outages or route == self.away_for:
            self.outages = max(0, self.outages - 1)
            raise DependencyUnavailable("MongoDB: AutoReconnect")
        first = 0 if after == "" else int(after) + 1
        numbers = range(first, min(first + limit, self.count))
        return Page([f"{number:02}" for number in numbers], list(numbers), AS_OF)

    async def mark_unqueueable(self, route: str, job: str) -> None: ...

    async def close_marked(self, route: str, job: str) -> None: ...

    async def mark(self, job: str, ids: Sequence[str]) -> None:
        self.marked.setdefault(job, []).extend(ids)

    async def count_by_reason(self, selection: Selection, status: str) -> list[ReasonCount]:
        assert status == "open"
        assert selection.route is not None
        return [ReasonCount(selection.route, reason, count) for reason, count in self.refused.items()]

    async def outcome(self, job: str) -> Outcome:
        return Outcome(resolved=len(self.marked.get(job, ())))


@dataclass
class MemoryKeys:
    """The lists of keys, by job."""

    lists: dict[str, list[Any]] = field(default_factory=dict)
    unowned: list[set[str]] = field(default_factory=list)

    async def page(self, job: str, number: int) -> list[Any] | None:
        return self.lists.get(job) if number == 0 else None

    async def remove(self, jobs: Iterable[str]) -> None:
        for job in jobs:
            self.lists.pop(job, None)

    async def remove_unowned(self, open_jobs: Iterable[str]) -> None:
        self.unowned.append(set(open_jobs))


@dataclass
class MemoryJobs:
    """The collection of jobs."""

    keys: MemoryKeys = field(default_factory=MemoryKeys)
    jobs: list[Job] = field(default_factory=list)
    ended: dict[str, tuple[str, Any]] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    slow: asyncio.Event | None = None  # an answer about open jobs is held back until it is set

    def file(self, name: str, kind: str = REPLAY, route: str = ROUTE.name, **arguments: Any) -> None:
        chosen = arguments or {"selection": {}, "chosen": 0}
        self.jobs.append(Job(name, kind, route, chosen, "open", NOW, {}, None))

    def wish(self, name: str, **wanted: Any) -> None:
        """What a person wants of it."""
        self.jobs = [replace(job, **wanted) if job.id == name else job for job in self.jobs]

    async def open(self) -> list[Job]:
        found = [job for job in self.jobs if job.id not in self.ended]
        if self.slow is not None:
            await self.slow.wait()
        return found

    async def keep_result(
        self, job: str, kind: str, route: str, arguments: Mapping[str, Any], result: Mapping[str, Any]
    ) -> None:
        self.ended[job] = (kind, result)

    async def end(self, job: str, ending: str, result: Mapping[str, Any] | None = None) -> bool:
        self.ended.setdefault(job, (ending, result))
        return True

    async def save_progress(self, job: str, progress: Mapping[str, Any]) -> None:
        self.progress[job] = progress


class World:
    """A term, its jobs, and what happens to their batches."""

    MOST_HELD = 2

    def __init__(
        self,
        records: int = 10,
        cursors: Mapping[str, Mapping[str, Any]] | None = None,
        routes: Sequence[Route] = (ROUTE,),
        needs: Mapping[str, ReconcileNeed] = MappingProxyType({}),
    ) -> None:
        start = Position({"_data": "00"}, Timestamp(1, 0), cursors or {})
        states = {route.name: RouteState({}, needs.get(route.name)) for route in routes}
        self.pipeline = Pipeline(EpochRef("d", 1, "n", "memory"), 9, PARTITIONS, start, start, states)
        self.tier = MemoryTier()
        heads = [Head(0, 0, start.token)] * PARTITIONS
        self.term = CaptureTerm(self.pipeline, cast("Tier", self.tier), RouteTable([Declaration(ROUTE)]), heads, start)
        self.records, self.jobs, self.health = MemoryRecords(records), MemoryJobs(), Health()
        self.synced = start
        self.held: list[EntryBatch] | None = None  # instead of being appended, while it is a list
        self.go_on = asyncio.Event()
        self.lose = False
        self.reasons: set[str] = set()
        self.scans: list[tuple[str, Timestamp]] = []
        self.broken: set[str] = set()  # routes that cannot be synced
        self.resumed: list[tuple[str, str]] = []
        self.resumed_at: Timestamp | None = Timestamp(900, 1)
        self.metrics = Metrics()
        self.job_term = JobTerm(self.term, self._send, batch_size=5, health=self.health, open_refreshes=no_refreshes)
        unused, letters = cast("Any", None), cast("DeadLetterRecords", self.records)
        kinds = {
            route.name: JobKinds(
                partial(_open_sides, self, route),
                partial(self._require_usable, route),
                self._count_documents,
                unused,
                cast("DeadLetters", self.records),
                letters,
                cast("JobKeys", self.jobs.keys),
                mass_delete_share=0.2,
            )
            for route in routes
        }
        table = RouteTable(map(Declaration, routes))
        ledger = JobLedger(cast("JobStore", self.jobs), letters, table, self.health)
        self.filed = FiledJobs(self.job_term, kinds, ledger)
        positions = cast("PositionStore", self)
        needed = [
            NeededReconcile(name, self.job_term, made, ledger, positions, self.health) for name, made in kinds.items()
        ]
        self.running = TermJobs(self.job_term, self.filed, needed, self.metrics)

    async def clear_reconcile(self, job: str) -> None:
        """As the epoch document's store does it."""
        assert job in self.jobs.ended, "whoever waits for the need to be cleared then looks for the result"
        (route,) = (name for name, need in self.pipeline.reconciles().items() if need == job)
        self.pipeline = self.pipeline.with_route(route, reconcile=None)

    async def note_asked(self, job: str, asked_of: int) -> None: ...

    async def resume(self, route: str, nonce: str) -> Timestamp | None:
        self.resumed.append((route, nonce))
        return self.resumed_at

    async def time_of_now(self) -> Timestamp:
        return Timestamp(950, 1)

    async def _require_usable(self, route: Route) -> None:
        if route.name in self.broken:
            raise ConfigurationError("it is still broken")

    async def _count_documents(self) -> int:
        return 7

    async def _send(self, batch: EntryBatch) -> None:
        self.reasons.add(batch.reason)
        if self.held is not None:
            self.held.append(batch)
            if len(self.held) == self.MOST_HELD:
                await self.go_on.wait()
        else:
            await self.arrive(batch)

    async def arrive(self, batch: EntryBatch) -> None:
        """What the persist agent does with a batch."""
        if not self.lose:
            await append_batch(batch)
        batch.delivery.settle()

    async def look(self, *, all_synced: bool = False) -> None:
        if all_synced:
            self.synced = self.term.appended
        await self.running.look(self.pipeline, self.synced)

    def queued(self) -> list[Any]:
        items = [item for append in self.tier.appended for item in append.items]
        return sorted(cast("Any", item).key for item in items if hasattr(item, "key"))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[asyncio.Task[None]]:
        (coroutine,) = self.running.work()
        task = asyncio.create_task(coroutine)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@dataclass
class Source:
    """MongoDB, with the keys 0 to 6 in every collection; a query names the smallest key that it matches."""

    world: World
    route: Route
    operation_time: Timestamp = AS_OF

    def filters(self, route: Route) -> bool:
        return False

    async def scan_keys(self, route: Route, after: Mapping[str, Any] | None, not_before: Timestamp, count: int) -> Any:
        self.world.scans.append((route.name, not_before))
        first = 0 if after is None else after["_id"] + 1
        return list(range(7))[first : first + count]

    async def matching_keys(self, route: Route, query: Any, keys: Sequence[Any], not_before: Timestamp) -> list[Any]:
        return [key for key in keys if key >= query["from"]]

    async def existing_ids(self, route: Route, keys: Sequence[Any], not_before: Timestamp) -> set[str]:
        return {str(key) for key in keys if key in range(7)}

    async def close(self) -> None: ...


def _open_sides(world: World, route: Route) -> Sides:
    return Sides(route, cast("DocumentReader", Source(world, route)), cast("TypesenseTarget", None), PAGE)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (runner, "LOOK_INTERVAL_S"),
        (need_of, "USABLE_INTERVAL_S"),
        (job_terms, "LOOK_INTERVAL_S"),
        (job_terms, "JOB_RETRY_S"),
        (producer, "ROOM_INTERVAL_S"),
    ):
        monkeypatch.setattr(module, name, 0.001)
    monkeypatch.setattr(need_of, "pause_before_s", lambda suspensions: 0.001)


async def test_a_replay_queues_every_chosen_key_and_is_done_when_they_are_synced() -> None:
    world = World(records=10)
    world.jobs.file("one")
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.term.appended.cursors.get("one", {}).get("phase") == DONE)
        assert world.queued() == list(range(10))
        assert world.records.marked["one"] == [f"{number:02}" for number in range(10)]
        await world.look()
        assert world.jobs.ended == {}, "queued is not synced"
        assert world.jobs.progress["one"] == {"phase": DONE, "queued": 10, TIME_LEFT: None}
        await world.look(all_synced=True)
        await eventually(lambda: "one" in world.jobs.ended and not world.term.appended.cursors)
    ending, result = world.jobs.ended["one"]
    assert ending == "done"
    assert (result["queued"], result["resolved"]) == (10, 10)
    assert world.term.appended.cursors == {}, "its cursor travels no further"


async def test_entries_carry_the_reason_and_the_time_of_the_read() -> None:
    world = World(records=1)
    world.jobs.file("one")
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.queued() == [0])
    entries = [item for append in world.tier.appended for item in append.items]
    (entry,) = [cast("Any", entry) for entry in entries if hasattr(entry, "key")]
    assert (entry.cluster_time, entry.route) == (AS_OF, "listings")
    assert world.reasons == {Reason.REPLAY}


async def test_a_replay_resumes_at_the_synced_cursor() -> None:
    world = World(records=10, cursors={"one": {"phase": "queueing", "after": "05", "queued": 6}})
    world.jobs.file("one")
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.term.appended.cursors["one"]["phase"] == DONE)
    assert world.queued() == [6, 7, 8, 9]
    assert world.term.appended.cursors["one"]["queued"] == 10


async def test_a_replay_that_an_older_term_synced_ends_without_running() -> None:
    world = World(records=10, cursors={"one": {"phase": DONE, "after": "09", "queued": 10}})
    world.jobs.file("one")
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.jobs.ended.get("one", ("",))[0] == "done")
        await eventually(lambda: "running nothing" in repr(world.filed))
    assert world.queued() == []
    assert world.term.appended.cursors == {}


async def test_the_cursor_of_a_job_that_is_not_open_is_dropped() -> None:
    world = World(cursors={"gone": {"phase": "queueing", "after": "01", "queued": 2}})
    await world.look()
    assert world.term.appended.cursors == {}


async def test_jobs_run_one_at_a_time_oldest_first() -> None:
    world = World(records=2)
    world.jobs.file("one")
    world.jobs.file("two")
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.term.appended.cursors.get("one", {}).get("phase") == DONE)
        for _ in range(50):
            await world.look()
            await asyncio.sleep(0)
        assert "two" not in world.records.marked
        await world.look(all_synced=True)
        await eventually(lambda: world.term.appended.cursors.get("two", {}).get("phase") == DONE)
        await world.look(all_synced=True)
        await eventually(lambda: list(world.jobs.ended) == ["one", "two"])


async def test_a_job_that_ends_during_a_look_does_not_begin_again() -> None:
    world = World(records=10)
    world.jobs.file("one")
    async with world.at_work() as task:
        await world.look()
        await eventually(lambda: world.term.appended.cursors.get("one", {}).get("phase") == DONE)
        world.jobs.slow = asyncio.Event()
        looking = asyncio.create_task(world.look(all_synced=True))
        await eventually(lambda: "one" in world.jobs.ended and "running nothing" in repr(world.filed))
        world.jobs.slow.set()
        await looking
        await asyncio.sleep(0.02)  # enough time for it to begin again
        world.jobs.file("two")
        await world.look()
        await eventually(lambda: "running two" in repr(world.filed))
        assert not task.done()
    assert len(world.records.marked["one"]) == 10


async def test_a_batch_that_never_arrives_ends_the_term() -> None:
    world = World(records=0)
    world.jobs.file("one")
    world.lose = True
    async with world.at_work() as task:
        await world.look()
        with pytest.raises(BatchLost):
            await asyncio.wait_for(asyncio.shield(task), HANG_S)


async def test_a_cancelled_replay_stops_and_its_cursor_is_dropped_once_its_last_batch_arrived() -> None:
    world = World(records=100)
    world.jobs.file("one")
    world.held = []
    async with world.at_work() as task:
        await world.look()
        await eventually(lambda: len(world.held or ()) == World.MOST_HELD)
        await world.arrive(world.held[0])
        await world.jobs.end("one", "cancelled")
        await world.look()
        world.go_on.set()
        await eventually(lambda: "running nothing" in repr(world.filed))
        await world.look()
        assert world.term.appended.cursors != {}, "its last batch is still on its way, and begins there"
        await world.arrive(world.held[1])
        await world.look()
        assert not task.done()
    assert len(world.held) == World.MOST_HELD
    assert world.term.appended.cursors == {}


@pytest.mark.parametrize(
    "arguments", [{"kind": "reindex"}, {"kind": "verify"}, {"other": 1}, {"selection": {"colour": "red"}, "chosen": 1}]
)
async def test_a_job_of_another_version_is_given_up_and_blocks_nothing(
    arguments: dict[str, Any],
) -> None:
    world = World(records=1)
    world.jobs.file("odd", **arguments)
    world.jobs.file("next")
    async with world.at_work():
        await world.look()
        await eventually(lambda: "next" in world.records.marked)
    ending, result = world.jobs.ended["odd"]
    assert ending == "failed"
    assert "file it again" in result["error"]


async def test_a_job_waits_out_an_outage_and_health_shows_it() -> None:
    world = World(records=10)
    world.jobs.file("one")
    world.records.outages = 1_000_000
    async with world.at_work() as task:
        await world.look()
        await eventually(lambda: REPLAY in world.health.problems)
        world.records.outages = 0
        await eventually(lambda: world.queued() == list(range(10)))
        assert not task.done()
        await eventually(lambda: not world.health.problems)


async def test_health_forgets_the_problem_of_a_job_when_the_term_ends() -> None:
    world = World()
    world.jobs.file("one")
    world.records.outages = 1_000_000
    async with world.at_work():
        await world.look()
        await eventually(lambda: REPLAY in world.health.problems)
    assert not world.health.problems, "another replica may capture now"


async def test_a_job_can_wait_until_everything_is_synced() -> None:
    world = World()
    async with world.at_work():
        wanted = True
        waiting = asyncio.create_task(world.job_term.synced_up_to(Timestamp(100, 5), lambda: wanted))
        for synced in (Timestamp(100, 5), Timestamp(100 + SURELY_CAPTURED_S, 4)):
            world.synced = replace(world.synced, cluster_time=synced)
            await world.look()
            await asyncio.sleep(0.02)
            assert not waiting.done(), "the time of an empty batch may be ahead of its token"
        world.synced = replace(world.synced, cluster_time=Timestamp(100 + SURELY_CAPTURED_S, 5))
        await world.look()
        await asyncio.wait_for(waiting, HANG_S)
        waiting = asyncio.create_task(world.job_term.synced_up_to(Timestamp(200, 5), lambda: wanted))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        wanted = False
        await asyncio.wait_for(waiting, HANG_S)


async def test_a_replay_waits_while_the_queue_is_full() -> None:
    world = World(records=10)
    world.jobs.file("one")
    world.tier.waiting = 1_000
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.tier.looks > 5)
        assert world.queued() == []
        world.tier.waiting = 0
        await eventually(lambda: world.queued() == list(range(10)))


@pytest.mark.parametrize(
    ("refused", "level", "outcome"),
    [
        ({}, logging.INFO, "40 documents queued, none refused: Typesense shows what MongoDB holds"),
        ({"id collision": 3}, logging.WARNING, "40 documents queued, 3 refused (id collision: 3)"),
    ],
)
async def test_a_finished_reconcile_counts_the_refused_documents(
    caplog: pytest.LogCaptureFixture, refused: dict[str, int], level: int, outcome: str
) -> None:
    caplog.set_level(logging.INFO)
    cursors = {"r1": {"phase": DONE, "queued": 40, "documents": 40}}
    world = World(cursors=cursors)
    world.records.refused = refused
    world.pipeline = world.pipeline.with_route(ROUTE.name, reconcile=ReconcileNeed("r1", "the first start"))
    await world.look()
    assert world.jobs.ended["r1"] == (
        RECONCILE,
        {"queued": 40, "refused": [{"reason": reason, "count": count} for reason, count in refused.items()]},
    )
    assert world.pipeline.need(ROUTE.name) is None
    (record,) = [record for record in caplog.records if "reconcile: done" in record.getMessage()]
    assert record.levelno == level
    assert outcome in record.getMessage()


@pytest.mark.parametrize(
    ("kind", "result", "text", "well"),
    [
        (
            REPLAY,
            {
                "queued": 3,
                "resolved": 1,
                "failed": [{"reason": "id collision", "count": 2}],
                "refused": [{"reason": "id collision", "count": 5}],
            },
            "5 refused (id collision: 5); queued: 3, resolved: 1, failed again: 2",
            False,
        ),
        (
            REPLAY,
            {"queued": 3, "resolved": 3, "failed": [], "refused": []},
            "none refused; queued: 3, resolved: 3, failed again: 0",
            True,
        ),
        (
            VERIFY,
            {"compared": 9, "excepted": 4, "unseen": False, "refused": [{"reason": "a", "count": 4}]},
            "4 refused (a: 4); compared: 9, excepted: 4",
            False,
        ),
    ],
)
def test_the_log_counts_refused_documents_first(kind: str, result: Any, text: str, well: bool) -> None:
    assert describe_outcome(Job("j", kind, ROUTE.name, {}, "open", NOW, {}, None), result) == (text, well)


# Many routes

SELLERS = Route("sellers", "shop", "sellers", "sellers")
REVIEWS = Route("reviews", "shop", "reviews", "reviews")


async def test_a_job_that_fails_delays_no_job_of_another_route() -> None:
    world = World(records=10, routes=(ROUTE, SELLERS))
    world.records.away_for = ROUTE.name
    world.jobs.file("one")
    world.jobs.file("two", route=SELLERS.name)
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.queued() == list(range(10)))
        assert world.health.problems.keys() == {"replay listings"}
        await world.look(all_synced=True)
        await eventually(lambda: "two" in world.jobs.ended)
    assert "one" not in world.jobs.ended


async def test_a_verification_waits_for_the_reconcile_of_its_own_route_alone() -> None:
    world = World(routes=(ROUTE, SELLERS))
    for route in (ROUTE, SELLERS):
        world.jobs.file(f"verify {route.name}", VERIFY, route.name, repair=False, documents=1)
    world.term.pipeline = world.term.pipeline.with_route(ROUTE.name, reconcile=ReconcileNeed("r1", "asked"))
    assert [world.filed._may_begin(job) for job in world.jobs.jobs] == [False, True]


async def test_a_job_of_a_route_that_was_removed_is_given_up_with_that_reason() -> None:
    world = World(routes=(ROUTE, SELLERS))
    world.jobs.file("one", route="drafts")
    async with world.at_work():
        await world.look()
        await eventually(lambda: "one" in world.jobs.ended)
    assert world.jobs.ended["one"] == ("failed", {"error": "there is no route drafts any more"})


async def test_the_cursor_of_every_open_need_is_kept() -> None:
    cursors = {name: {"phase": "scan", "_id": 1, "queued": 1, "documents": 9} for name in ("r1", "r2", "gone")}
    world = World(cursors=cursors, routes=(ROUTE, SELLERS, REVIEWS))
    for route, job in ((ROUTE, "r1"), (SELLERS, "r2")):
        world.pipeline = world.pipeline.with_route(route.name, reconcile=ReconcileNeed(job, "the first start"))
    world.term.pipeline = world.pipeline
    await world.look()
    assert world.term.appended.cursors.keys() == {"r1", "r2"}


async def test_each_need_is_met_by_its_own_job(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    done = {"phase": DONE, "queued": 40, "documents": 40}
    world = World(cursors={"r1": {**done, "phase": "scan"}, "r2": done}, routes=(ROUTE, SELLERS))
    for route, job in ((ROUTE, "r1"), (SELLERS, "r2")):
        world.pipeline = world.pipeline.with_route(route.name, reconcile=ReconcileNeed(job, "the first start"))
    world.term.pipeline = world.pipeline
    await world.look()
    assert world.pipeline.reconciles() == {ROUTE.name: "r1"}
    assert world.jobs.ended.keys() == {"r2"}
    assert "reconcile sellers: done (the first start), 40 documents queued" in caplog.text


async def load(world: World, route: Route, pages: int, size: int = 1) -> None:
    """What a reconcile does."""
    producer = world.job_term.producer(route, f"load of {route.name}", Reason.RECONCILE)
    for page in range(pages):
        async with producer.turn():
            await producer.queue(producer.entries(range(size), AS_OF), {"phase": "scan", "_id": page})


async def test_a_small_load_gets_a_turn_for_every_page_of_a_huge_one() -> None:
    world = World(routes=(ROUTE, SELLERS))
    huge = asyncio.create_task(load(world, ROUTE, 1_000))
    await eventually(lambda: len(world.queued()) > 10)
    world.tier.waiting = -10_000  # all is acked
    before = len(world.queued())
    await load(world, SELLERS, 20)
    huge.cancel()
    assert len(world.queued()) <= before + 2 * 20 + 1


async def test_what_waits_in_the_queue_bounds_all_jobs_together() -> None:
    world = World(routes=(ROUTE, SELLERS, REVIEWS))
    world.tier.waiting = 1_000
    loads = [asyncio.create_task(load(world, route, 10, size=60)) for route in (ROUTE, SELLERS, REVIEWS)]
    await eventually(lambda: world.tier.looks > 5)
    assert world.queued() == []
    world.tier.waiting = 0
    await eventually(lambda: world.tier.waiting > 0)
    world.tier.looks = 0
    await eventually(lambda: world.tier.looks > 5)
    assert len(world.queued()) == 2 * 60, "with one page more than the bound of 100, however many jobs there are"
    for task in loads:
        task.cancel()


# Suspended routes

NEEDED = ReconcileNeed("r1", "the route was suspended", suspensions=1)


def suspended_world() -> World:
    """`listings` is suspended, and both routes need a reconcile."""
    world = World(routes=(ROUTE, SELLERS))
    world.pipeline = world.pipeline.with_route(ROUTE.name, reconcile=NEEDED, suspended=Suspension("n1", "refused"))
    world.pipeline = world.pipeline.with_route(SELLERS.name, reconcile=ReconcileNeed("r2", "asked"))
    world.term.pipeline = world.pipeline
    return world


@asynccontextmanager
async def reconciling(world: World) -> AsyncIterator[list[asyncio.Task[NoReturn]]]:
    _, *reconciles = [asyncio.create_task(work) for work in world.running.work()]
    try:
        yield reconciles
    finally:
        for task in (_, *reconciles):
            task.cancel()
        await asyncio.gather(_, *reconciles, return_exceptions=True)


async def test_the_reconcile_of_a_suspended_route_waits_until_it_can_be_synced_and_delays_no_other() -> None:
    world = suspended_world()
    world.broken = {ROUTE.name}
    async with reconciling(world):
        await eventually(lambda: world.term.appended.cursors.get("r2", {}).get("phase") == "sweep")
        assert {route for route, _ in world.scans} == {SELLERS.name}
        assert world.resumed == []
        world.broken = set()
        await eventually(lambda: world.term.appended.cursors.get("r1", {}).get("phase") == "sweep")
    assert world.resumed == [(ROUTE.name, "n1")]
    assert world.term.pipeline.routes[ROUTE.name].suspended is None


async def test_nothing_is_scanned_from_before_the_suspension_ended() -> None:
    world = suspended_world()
    async with reconciling(world):
        await eventually(lambda: world.term.appended.cursors.get("r1", {}).get("phase") == "sweep")
    assert {time for route, time in world.scans if route == ROUTE.name} == {Timestamp(900, 1)}
    assert {time for route, time in world.scans if route == SELLERS.name} == {Timestamp(1, 0)}


async def test_nor_does_a_later_term_scan_from_before_that() -> None:
    world = suspended_world()
    world.term.pipeline = world.pipeline = world.pipeline.with_route(ROUTE.name, suspended=None)
    async with reconciling(world):
        await eventually(lambda: world.term.appended.cursors.get("r1", {}).get("phase") == "sweep")
    assert world.resumed == []
    assert {time for route, time in world.scans if route == ROUTE.name} == {Timestamp(950, 1)}


async def test_a_suspension_that_somebody_else_has_ended_ends_the_term() -> None:
    world = suspended_world()
    world.resumed_at = None
    async with reconciling(world) as (listings, _):
        with pytest.raises(Fenced, match="has ended already"):
            await asyncio.wait_for(asyncio.shield(listings), HANG_S)
    assert ROUTE.name not in {route for route, _ in world.scans}
