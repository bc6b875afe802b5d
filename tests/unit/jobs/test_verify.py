"""What a verification counts as a difference, with both sides in memory, and how it reports that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from bson.timestamp import Timestamp

from tests.support.schemas import live_schema
from tests.support.waiting import eventually
from tsync_stream.capture.term import CaptureTerm, EntryBatch, JobProgress
from tsync_stream.cli.verify import how_it_ended
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.model import BEGINNING_OF_TIME, Position, Reason, Route
from tsync_stream.jobs import compare, comparing, judge, verify
from tsync_stream.jobs.compare import (
    MOST_EXAMPLES,
    Comparison,
    Difference,
    Findings,
    Kind,
    Tally,
    difference,
    digest,
)
from tsync_stream.jobs.judge import Judge
from tsync_stream.jobs.producer import Producer, Room
from tsync_stream.jobs.scan import Sides
from tsync_stream.jobs.verify import Verify
from tsync_stream.observe.status_view import show_job
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.documents import DocumentReader
from tsync_stream.state.dead_letters import DeadLetters, record_id
from tsync_stream.state.jobs import DONE, TIME_LEFT, VERIFY, Job

ROUTE = Route("listings", "shop", "listings", "listings")
FILED_AT = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job("ab12", VERIFY, ROUTE.name, {"repair": False, "documents": 30}, "open", FILED_AT, {}, None)
NOW = Timestamp(77, 1)
PAGE = 3


@pytest.mark.parametrize(
    ("expected", "actual", "kind"),
    [
        (b"a", b"a", None),
        (None, None, None),
        (b"a", b"b", "different"),
        (b"a", None, "missing"),
        (None, b"a", "extra"),
        (b"", b"a", "different"),  # the document exists and cannot be written
        (b"", None, "missing"),
    ],
)
def test_kinds_of_differences(expected: bytes | None, actual: bytes | None, kind: Kind | None) -> None:
    assert difference(expected, actual) == kind


@pytest.mark.parametrize(
    "export", [b'{"number":1,"id":"001"}', b'{"id":"001","number":1.0}', b'{"id": "001","number":1}']
)
async def test_equal_documents_in_other_bytes_are_equal(export: bytes) -> None:
    world = World(count=4)
    world.target.lines["001"] = export
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 4}


@pytest.mark.parametrize(
    "export",
    [b'{"id":"001","number":2}', b'{"id":"001","number":1,"other":1}', b'{"id":"001"}', b'{"id":"002","number":1}'],
)
async def test_other_bytes_are_a_difference_if_they_mean_something_else(export: bytes) -> None:
    world = World(count=4)
    world.target.lines["001"] = export
    await world.job.run()
    assert world.found()["phase"] == DONE
    assert world.job.progress()["examples"][0]["key"] == "001"


async def test_where_most_documents_have_other_bytes_each_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "UNLIKE_AT_FIRST", PAGE)
    world = World(count=20 * PAGE)
    world.target.lines = {name: orjson.dumps({**each, "id": name}) for name, each in world.source.documents.items()}
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 20 * PAGE}
    assert len(world.target.asked) < 20 + 2 * verify.PAGES_AT_ONCE


async def test_where_documents_have_the_same_bytes_each_is_asked_for_once() -> None:
    world = World(count=20 * PAGE)
    await world.job.run()
    assert len(world.target.asked) == 20


def test_documents_are_compared_as_json() -> None:
    assert digest({"a": 1, "b": {"c": [1, 2], "d": "x"}}) == digest({"b": {"d": "x", "c": [1, 2]}, "a": 1})
    documents: list[Any] = [{"a": 1}, {"a": True}, {"a": "1"}, {"a": [1]}, {"a": 1, "b": 1}, {}, {"a": [2, 1]}]
    assert len({digest(document) for document in documents}) == len(documents)


# Both sides in memory


class Source:
    """MongoDB: documents by key, which are strings here."""

    def __init__(self, documents: Mapping[str, dict[str, Any]]) -> None:
        self.documents = dict(documents)
        self.operation_time = NOW
        self._passed = 0
        self.breaks_at: int | None = None  # once, when so many keys were scanned
        self.scanned: list[str] = []

    def pass_time(self) -> Timestamp:
        """Let some time pass; the next read is at its end."""
        self._passed += 1
        return Timestamp(NOW.time + self._passed, 1)

    def filters(self, route: Route) -> bool:
        return False

    async def scan_keys(self, route: Route, after: Mapping[str, Any] | None, not_before: Any, count: int) -> list[str]:
        if self.breaks_at == len(self.scanned):
            self.breaks_at = None
            raise DependencyUnavailable("MongoDB: AutoReconnect")
        found = sorted(key for key in self.documents if after is None or key > after["_id"])[:count]
        self.scanned += found
        return found

    async def existing_ids(self, route: Route, keys: Iterable[Any], not_before: Any) -> set[str]:
        return {key for key in keys if isinstance(key, str) and key in self.documents}

    async def read(
        self, route: Route, groups: Sequence[Sequence[Any]], not_before: Any
    ) -> AsyncIterator[list[dict[str, Any]]]:
        self.operation_time = Timestamp(NOW.time + self._passed, 1)
        keys = [key for group in groups for key in group if isinstance(key, str)]
        yield [{"_id": key, **self.documents[key]} for key in keys if key in self.documents]

    async def close(self) -> None: ...


class Target:
    """Typesense: documents by id. `before_look` is called before every look at some of them."""

    def __init__(self, documents: Mapping[str, dict[str, Any]]) -> None:
        self.documents = dict(documents)
        self.before_look: Callable[[Sequence[str]], None] = lambda ids: None
        self.before_export: Callable[[], None] = lambda: None
        # The first ids of the looks so far, and of those that are answered only once they may be.
        self.asked: list[str] = []
        self.held: dict[str, asyncio.Event] = {}
        self.looking: set[str] = set()
        # Lines of exports that are not those that we would write.
        self.lines: dict[str, bytes] = {}

    def hold(self, first_id: str) -> asyncio.Event:
        """Do not answer a look that begins with this id before the event is set."""
        return self.held.setdefault(first_id, asyncio.Event())

    async def settled(self) -> bool:
        return True

    async def collection(self, name: str) -> dict[str, Any]:
        return {"num_documents": len(self.documents), "fields": []}

    async def documents_of(self, collection: str, ids: Sequence[str]) -> AsyncIterator[bytes]:
        self.before_look(ids)
        self.asked.append(ids[0])
        self.looking.add(ids[0])
        try:
            if (held := self.held.get(ids[0])) is not None:
                await held.wait()
        finally:
            self.looking.discard(ids[0])
        for document_id in ids:
            if document_id in self.lines:
                yield self.lines[document_id]
            elif document_id in self.documents:
                yield orjson.dumps({"id": document_id, **self.documents[document_id]})

    async def export_ids(self, collection: str, size: int) -> AsyncIterator[list[str]]:
        self.before_export()
        ids = list(self.documents)
        for first in range(0, len(ids), size):
            yield ids[first : first + size]


class World:
    """Both sides, and a verification of them."""

    def __init__(self, *, count: int = 10, letters: Sequence[str] = (), repair: bool = False) -> None:
        documents = {f"{number:03}": {"number": number} for number in range(count)}
        self.source, self.target = Source(documents), Target(documents)
        self.waited_for: list[Timestamp] = []
        self.sent: list[EntryBatch] = []
        self.wanted = True
        # What is written during the first wait, the second, ...: one is before the first look, the others after each.
        self.written: list[set[str]] = []
        self._watched: dict[str, Timestamp] = {}
        self._letters = {record_id("listings", key) for key in letters}
        self._repair = repair
        self.synced_up_to: Callable[[Timestamp], Awaitable[None]] = self._synced_up_to
        self.job = self.make()

    def make(self, cursor: Mapping[str, Any] | None = None) -> Verify:
        """A verification as a new term makes it."""
        cursors = {} if cursor is None else {JOB.id: cursor}
        fake = SimpleNamespace(
            route=ROUTE,
            partitions=1,
            appended=Position({}, BEGINNING_OF_TIME, cursors),
            in_flight=0,
            pipeline=SimpleNamespace(epoch=None),
            tier=SimpleNamespace(backlog=_empty),
            sending=_in_flight,
            watching=self._watching,
        )
        term = cast("CaptureTerm", fake)
        target = SimpleNamespace(
            settled=self.target.settled,
            collection=self.target.collection,
            documents=self.target.documents_of,
            export_ids=self.target.export_ids,
        )
        sides = self.sides = Sides(ROUTE, cast("DocumentReader", self.source), cast("TypesenseTarget", target), PAGE)
        letters = cast("DeadLetters", SimpleNamespace(open_among=self._open_among))

        def producer_of(route: Route, job: str, reason: str, *, quietly: bool = False) -> Producer:
            assert quietly
            return Producer(route, job, reason, term, self._send, Room(term, most_waiting=0))

        self.producer = producer_of

        def judge_without(fields: frozenset[str], wanted: Callable[[], bool] = lambda: self.wanted) -> Judge:
            comparison = Comparison(sides, live_schema(), fields)
            return Judge(term, comparison, letters, self.synced_up_to, wanted, asyncio.Lock())

        self.judge_without = judge_without
        job = replace(JOB, arguments={"repair": self._repair, "documents": 1})
        producer = Producer(ROUTE, JOB.id, Reason.VERIFY, term, self._send, Room(term, most_waiting=0))
        self.job = Verify(job, producer, sides, judge_without, 0.2, lambda: self.wanted, lambda: self.wanted)
        return self.job

    def found(self) -> dict[str, Any]:
        """The numbers that are not zero."""
        return {name: value for name, value in self.job.progress().items() if value and name != "examples"}

    def cursors(self) -> list[Mapping[str, Any]]:
        return [cast("JobProgress", batch.progress).cursor for batch in self.sent]

    def queued(self) -> list[Any]:
        return [entry.key for batch in self.sent for entries in batch.entries.values() for entry in entries]

    async def _open_among(self, route: str, keys: Iterable[str]) -> set[str]:
        return {record_id(route, key) for key in keys} & self._letters

    @contextmanager
    def _watching(self, _route: str, document_ids: Iterable[str]) -> Iterator[dict[str, Timestamp]]:
        self._watched = {}
        yield self._watched

    async def _synced_up_to(self, cluster_time: Timestamp) -> None:
        self.waited_for.append(cluster_time)
        now = self.source.pass_time()
        if self.written:
            self._watched.update(dict.fromkeys(self.written.pop(0), now))

    async def _send(self, batch: EntryBatch) -> None:
        self.sent.append(batch)


async def passed_turns() -> None:
    """Let everything happen that can happen now."""
    for _ in range(50):
        await asyncio.sleep(0)


@contextmanager
def _in_flight() -> Iterator[None]:
    yield


async def _empty(epoch: Any, partitions: int) -> list[int]:
    return [0] * partitions


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "PAUSES_S", (0.0, 0.0))


async def test_equal_sides_need_no_waiting() -> None:
    world = World(count=10)
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 10}
    assert world.waited_for == []


async def test_differences_are_counted_by_kind() -> None:
    world = World(count=10)
    del world.target.documents["001"]
    world.target.documents["005"] = {"number": "5"}
    world.target.documents["nobody"] = {"number": 1}
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 10, "missing": 1, "different": 1, "extra": 1}
    assert [tuple(example.values()) for example in world.job.progress()["examples"]] == [
        ("missing", "001"),
        ("different", "005"),
        ("extra", "nobody"),
    ]
    assert world.queued() == []


def arrives_at_look(world: World, key: str, look: int) -> None:
    """Let a document arrive only at the given look at it."""
    missing, looks = world.target.documents.pop(key), []

    def before_look(ids: Sequence[str]) -> None:
        if key in ids:
            looks.append(ids)
            # A look at what differs asks twice: byte for byte, and by what the fields mean.
            if len(looks) == 2 * look - 1:
                world.target.documents[key] = missing

    world.target.before_look = before_look


@pytest.mark.parametrize(("look", "waits"), [(2, 0), (3, 0), (4, 2)])
async def test_a_change_that_arrives_is_not_a_difference(look: int, waits: int) -> None:
    world = World(count=10)
    arrives_at_look(world, "004", look)
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 10}
    assert len(world.waited_for) == waits


@pytest.mark.parametrize("often", [0, 1, 2])
async def test_a_document_that_is_written_during_the_wait_is_looked_at_again(often: int) -> None:
    world = World(count=4)
    del world.target.documents["002"]
    world.written = [{"002"}] * often
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 4, "missing": 1}
    assert len(world.waited_for) == 1 + 1 + often, "before the first look, and after each one"


async def test_a_write_after_a_look_is_synced_before_the_next_look_counts() -> None:
    world = World(count=4)
    arrives_at_look(world, "002", 1 + len(judge.PAUSES_S) + 3)
    # After the first decisive look: at the second one it is on its way, at the third it is there.
    world.written = [{"002"}, {"002"}]
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 4}


async def test_a_document_that_is_written_all_the_time_stays_unsettled() -> None:
    world = World(count=4)
    del world.target.documents["002"]
    world.written = [{"002"}] * (1 + judge.MOST_LOOKS)
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 4, "unsettled": 1}


async def test_one_wait_serves_the_differences_of_many_pages() -> None:
    world = World(count=10 * PAGE)
    world.target.documents.clear()
    await world.job.run()
    assert world.found()["missing"] == 10 * PAGE
    assert len(world.waited_for) == 2


async def test_a_window_of_pages_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "MOST_PAGES", 2)
    world = World(count=6 * PAGE)
    world.target.documents.clear()
    await world.job.run()
    assert len(world.waited_for) == 3 * 2


async def test_open_dead_letters_are_excepted_and_not_waited_for() -> None:
    world = World(count=10, letters=["001", "extra"])
    del world.target.documents["001"]
    world.target.documents["extra"] = {"number": 1}
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 10, "excepted": 2}
    assert world.waited_for == []


async def test_keys_that_cannot_be_a_typesense_id_are_excepted() -> None:
    world = World(count=2)
    world.source.documents["x" * 5_000] = {"number": 1}
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 3, "excepted": 1}


async def test_ids_that_no_key_of_the_source_can_have_are_counted_apart() -> None:
    world = World(count=2, repair=True)
    world.target.documents["x" * 5_000] = {"number": 1}
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 2, "foreign": 1}
    assert world.queued() == []


# What is queued


async def test_differences_are_queued_if_a_repair_was_requested() -> None:
    world = World(count=20, repair=True)
    del world.target.documents["001"]
    world.target.documents["005"] = {"number": "5"}
    world.target.documents |= {name: {"number": 1} for name in ("extra 1", "extra 2", "extra 3", "extra 4")}
    await world.job.run()
    assert world.queued() == ["001", "005", "extra 1", "extra 2", "extra 3", "extra 4"]
    assert (world.found()["queued"], world.found().get("left")) == (6, None)


async def test_nothing_is_deleted_where_too_much_would_be() -> None:
    world = World(count=20, repair=True)
    del world.target.documents["001"]
    world.target.documents |= {f"extra {number}": {"number": 1} for number in range(5)}
    await world.job.run()
    assert world.queued() == ["001"]
    assert (world.found()["extra"], world.found()["queued"], world.found()["left"]) == (5, 1, 5)


async def test_a_sweep_that_finds_far_too_much_does_not_look_at_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MOST_SUSPECTS", 2 * PAGE)
    world = World(count=100, repair=True)
    world.target.documents |= {f"extra {number}": {"number": 1} for number in range(4 * PAGE)}
    await world.job.run()
    found = world.found()
    assert (found["extra"], found["left"], found["unseen"]) == (2 * PAGE, 2 * PAGE, True)
    assert world.queued() == []


# Pages side by side


def first_of_page(number: int) -> str:
    return f"{number * PAGE:03}"


async def test_the_cursor_passes_no_page_before_those_in_front_of_it() -> None:
    world = World(count=6 * PAGE)
    first = world.target.hold(first_of_page(0))
    running = asyncio.create_task(world.job.run())
    await eventually(lambda: first_of_page(verify.PAGES_AT_ONCE - 1) in world.target.asked)
    await passed_turns()
    assert world.cursors() == [], "a later page was done first"
    first.set()
    await running
    keys = [cursor["_id"] for cursor in world.cursors() if cursor["phase"] == "scan"]
    assert keys == [f"{PAGE * (number + 1) - 1:03}" for number in range(6)]
    compared = [cursor["tally"]["compared"] for cursor in world.cursors() if cursor["phase"] == "scan"]
    assert compared == [PAGE * (number + 1) for number in range(6)]


async def test_a_page_that_fails_is_compared_again_with_those_behind_it() -> None:
    world = World(count=6 * PAGE)
    del world.target.documents[first_of_page(2)]
    first = world.target.hold(first_of_page(0))
    running = asyncio.create_task(world.job.run())
    await eventually(lambda: first_of_page(2) in world.target.asked)
    running.cancel()  # the process ends, and the first page was never answered
    await asyncio.wait([running])
    assert world.cursors() == []
    first.set()
    await world.make().run()
    assert world.found() == {"phase": DONE, "compared": 6 * PAGE, "missing": 1}


async def test_no_more_pages_are_looked_at_than_may_be_in_memory() -> None:
    world = World(count=20 * PAGE)
    first = world.target.hold(first_of_page(0))
    running = asyncio.create_task(world.job.run())
    await eventually(lambda: len(world.target.asked) >= verify.PAGES_AT_ONCE)
    await passed_turns()
    assert world.target.asked == [first_of_page(number) for number in range(verify.PAGES_AT_ONCE)]
    assert len(world.source.scanned) == verify.PAGES_AT_ONCE * PAGE
    first.set()
    await running
    assert world.found() == {"phase": DONE, "compared": 20 * PAGE}


async def test_who_is_not_wanted_any_more_leaves_no_look_behind() -> None:
    world = World(count=20 * PAGE)
    for number in range(1, 20):
        world.target.hold(first_of_page(number))
    first = world.target.hold(first_of_page(0))
    running = asyncio.create_task(world.job.run())
    await eventually(lambda: len(world.target.asked) == verify.PAGES_AT_ONCE)
    world.wanted = False
    first.set()
    await running  # although nobody ever answers the others
    assert (world.cursors(), world.target.looking) == ([], set())


# Interruptions


async def test_after_an_outage_it_resumes_and_counts_nothing_twice() -> None:
    world = World(count=5 * PAGE)
    for key in ("001", "013"):
        del world.target.documents[key]
    world.source.breaks_at = 3 * PAGE
    with pytest.raises(DependencyUnavailable):
        await world.job.run()
    await world.job.run()
    assert world.found() == {"phase": DONE, "compared": 5 * PAGE, "missing": 2}
    assert [example["key"] for example in world.job.progress()["examples"]] == ["001", "013"]


async def test_a_new_term_resumes_at_any_cursor() -> None:
    world = World(count=4 * PAGE)
    for key in ("007", "010"):
        del world.target.documents[key]
    world.target.documents["extra"] = {"number": 1}
    await world.job.run()
    expected = world.found()
    cursors = world.cursors()
    assert len({cursor["phase"] for cursor in cursors}) == 3
    for cursor in [None, *cursors]:
        await world.make(cursor).run()
        assert world.found() == expected
        assert len(world.job.progress()["examples"]) == 3


async def test_a_sweep_that_begins_again_counts_nothing_twice() -> None:
    world = World(count=20, repair=True)
    world.target.documents |= {f"extra {number}": {"number": 1} for number in range(4)}
    await world.job.run()
    (cursor,) = [cursor for cursor, batch in zip(world.cursors(), world.sent, strict=True) if batch.count][:1]
    await world.make(cursor).run()
    assert (world.found()["extra"], world.found()["queued"]) == (4, 4)


async def test_a_cancelled_verification_queues_nothing_more() -> None:
    world = World(count=5 * PAGE, repair=True)
    del world.target.documents["001"]

    def cancel(ids: Sequence[str]) -> None:
        world.wanted = False

    world.target.before_look = cancel
    await world.job.run()
    assert world.sent == []
    assert len(world.source.scanned) <= verify.PAGES_AT_ONCE * PAGE
    world.target.before_look = lambda ids: None
    await world.job.run()
    assert world.sent == []


# The numbers


def test_only_a_few_examples_are_kept() -> None:
    many = [Difference("missing", f"{number}", f"{number}") for number in range(MOST_EXAMPLES + 5)]
    tally = Tally().plus(Findings(many[:2])).plus(Findings(many[2:]))
    assert [example["key"] for example in tally.examples] == [item.key for item in many[:MOST_EXAMPLES]]
    assert Tally(**tally.to_bson()) == tally


# What people read

FOUR = [{"reason": "id collision", "count": 4}]
FOUND = {**dict.fromkeys(Tally.__dataclass_fields__, 0), "compared": 30, "examples": [], "refused": []}


@pytest.mark.parametrize(
    ("found", "repair", "words", "well"),
    [
        ({}, False, "Done: 0 documents are refused.\n30 documents were compared; none differs", True),
        (
            {"missing": 1, "different": 2, "extra": 3},
            False,
            "lacks 1, shows 2 differently, and has 3",
            False,
        ),
        ({"missing": 1, "examples": [{"kind": "missing", "key": "a\x1b"}]}, False, 'missing  "a\\u001b"', False),
        ({"missing": 3}, False, "verify --repair", False),
        ({"missing": 3, "queued": 3}, True, "3 were queued; they are now synced, or among the refused", True),
        ({"extra": 3, "queued": 1, "left": 2}, True, "2 remain in Typesense", False),
        ({"unsettled": 1}, False, "1 changed every time", False),
        ({"foreign": 2}, True, "delete them yourself", False),
        ({"unseen": True, "extra": 9, "left": 9}, True, "a reconcile sweeps them all", False),
        (
            {"excepted": 4, "refused": FOUR},
            False,
            "Done: 4 documents are refused (id collision: 4); Typesense does not show them as they are",
            False,
        ),
        ({"excepted": 4, "refused": FOUR}, False, "30 documents were compared; none of the others differs", False),
        ({"missing": 9, "queued": 9, "refused": FOUR}, True, "Done: 4 documents are refused", False),
    ],
)
def test_the_final_report_says_what_was_found(found: dict[str, Any], repair: bool, words: str, well: bool) -> None:
    job = replace(JOB, status="done", arguments={"repair": repair}, result={**FOUND, **found})
    text, is_well = how_it_ended(job)
    assert words in text
    assert is_well is well


@pytest.mark.parametrize(
    ("status", "result", "words"), [("cancelled", None, "cancelled"), ("failed", {"error": "because"}, "because")]
)
def test_a_cancelled_or_failed_verification_is_not_reported_as_well(status: str, result: Any, words: str) -> None:
    text, well = how_it_ended(replace(JOB, status=status, result=result))
    assert words in text
    assert not well
    assert how_it_ended(None)[1] is False


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("scan", "10 of about 30 documents are compared (33 %)"),
        ("sweep", "10 documents are compared; looking in Typesense for ids that the source lacks"),
        ("done", "everything is compared; the last entries are being synced"),
    ],
)
def test_an_open_verification_shows_its_progress(phase: str, words: str) -> None:
    numbers = {"compared": 10, "excepted": 2, "missing": 1, "different": 1, "extra": 1}
    line = show_job(replace(JOB, progress={"phase": phase, **numbers, TIME_LEFT: 120}), live=True)
    assert line == f"verify ab12: {words}; 2 are refused, 3 of the others differ, about 2 min left"
