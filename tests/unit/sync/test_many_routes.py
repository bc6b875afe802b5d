"""A batch of many routes: each route by itself, side by side, and a failure of one is no other's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from bson.timestamp import Timestamp

from tests.support.letters import Letters
from tests.support.schemas import CATCH_ALL, live, live_schema
from tests.support.waiting import HANG_S
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.model import BEGINNING_OF_TIME, Entry, Key, Operation, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.settings.load import load_settings
from tsync_stream.sink.gate import WriteGate
from tsync_stream.sync import agent
from tsync_stream.sync.agent import PARTS_AT_ONCE, Sync, by_route
from tsync_stream.sync.attempt import Attempt
from tsync_stream.sync.batch import PartsFailed, SyncBatch, SyncResult

# Their targets are aliases of the collections `listings_window` and so on, which requests name.
ROUTES = [Route(name, "shop", name, name) for name in ("listings", "orders", "users", "sellers", "tags")]


class Source:
    """The documents of each route by their keys. Like a session, it is for one read at a time."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, Key], dict[str, Any]] = {}
        self.reading = False

    async def read(
        self, route: Route, groups: Sequence[Sequence[Key]], _: Timestamp
    ) -> AsyncIterator[list[dict[str, Any]]]:
        assert not self.reading, "two tasks use one session at once"
        self.reading = True
        await asyncio.sleep(0)
        found = [self.documents.get((route.name, key)) for keys in groups for key in keys]
        yield [document for document in found if document is not None]
        self.reading = False


class Target:
    """Remembers what each collection shows. `failures` are raised by imports into a collection, one after the other."""

    def __init__(self) -> None:
        self.write_gate = WriteGate(1.0)
        self.accepted_import_bytes = 1 << 30
        self.shown: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, list[Exception]] = {}
        self.imports: list[str] = []
        self.bodies: list[int] = []
        self.all_under_way = asyncio.Event()
        self.wait_for = 0
        self.most_at_once = 0
        self._under_way = 0

    async def import_lines(self, collection: str, lines: Sequence[bytes], **_: object) -> list[object]:
        self.imports.append(collection)
        self.bodies.append(sum(map(len, lines)))
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        if self._under_way >= self.wait_for:
            self.all_under_way.set()
        try:
            await self.all_under_way.wait()
        finally:
            self._under_way -= 1
        if self.failures.get(collection):
            raise self.failures[collection].pop(0)
        documents = map(orjson.loads, lines)
        self.shown.setdefault(collection, {}).update({document["id"]: document for document in documents})
        return []

    async def delete(self, collection: str, ids: Sequence[str], **_: object) -> list[object]:
        for document_id in ids:
            self.shown.get(collection, {}).pop(document_id, None)
        return []


class Bench:
    """A sync agent's logic over five routes."""

    def __init__(self, directory: Path) -> None:
        self.source, self.target, self.letters, self.metrics = Source(), Target(), Letters(), Metrics()
        self.settings = load_settings(directory, {})
        attempts = {
            route.name: Attempt(
                route,
                cast("Any", self.target),
                cast("Any", self.letters),
                self.metrics,
                self.settings,
                live_schema(live(CATCH_ALL, name=f"{route.target}_window")),
            )
            for route in ROUTES
        }
        self.sync = Sync(attempts)

    def put(self, route: str, key: Key, **fields: Any) -> Entry:
        """A document of a route, and the entry that says so."""
        self.source.documents[route, key] = {"_id": key, **fields}
        return Entry(route, key, Operation.UPDATE, Timestamp(7, 1))

    async def run(self, entries: Sequence[Entry]) -> SyncResult:
        """One attempt at a batch."""
        result: asyncio.Future[SyncResult] = asyncio.get_running_loop().create_future()
        return await self.sync.run(
            SyncBatch(cast("Any", self.source), entries, BEGINNING_OF_TIME, lambda: 1000.0, result)
        )


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_key_of_one_route_is_not_the_same_key_of_another(bench: Bench) -> None:
    result = await bench.run([bench.put("listings", 12, title="a flat"), bench.put("orders", 12, total=5)])
    assert result.written == 2
    assert bench.target.shown == {
        "listings_window": {"12": {"id": "12", "title": "a flat"}},
        "orders_window": {"12": {"id": "12", "total": 5}},
    }
    assert bench.letters.written == []


async def test_a_key_that_only_another_route_has_is_deleted(bench: Bench) -> None:
    await bench.run([bench.put("listings", "a"), bench.put("orders", "a")])
    del bench.source.documents["orders", "a"]
    gone = Entry("orders", "a", Operation.UPDATE, Timestamp(8, 1))
    await bench.run([bench.put("listings", "a"), gone])
    assert bench.target.shown == {"listings_window": {"a": {"id": "a"}}, "orders_window": {}}


async def test_the_parts_of_a_batch_read_in_turns_and_write_side_by_side(bench: Bench) -> None:
    bench.target.wait_for = 3
    async with asyncio.timeout(HANG_S):  # unless all three are under way, none of them ends
        await bench.run([bench.put(route, 1) for route in ("listings", "orders", "users")])
    assert bench.target.most_at_once == 3


async def test_only_some_parts_are_under_way_at_once_and_they_share_the_bytes_of_a_request(bench: Bench) -> None:
    limit = bench.settings.import_max_bytes
    entries = [bench.put(route.name, number, text="x" * (limit // 100)) for route in ROUTES for number in range(60)]
    assert len(ROUTES) > PARTS_AT_ONCE
    result = await bench.run(entries)
    assert result.written == len(entries)
    assert bench.target.most_at_once <= PARTS_AT_ONCE
    assert max(bench.target.bodies) <= limit // PARTS_AT_ONCE


async def test_one_route_alone_has_all_the_bytes_of_a_request(bench: Bench) -> None:
    limit = bench.settings.import_max_bytes
    await bench.run([bench.put("listings", number, text="x" * (limit // 100)) for number in range(90)])
    assert len(bench.target.bodies) == 1


async def test_a_part_that_fails_leaves_the_others_done(bench: Bench) -> None:
    bench.target.failures["orders_window"] = [ConfigurationError("TYPESENSE_API_KEY: refused")]
    with pytest.raises(PartsFailed) as caught:
        await bench.run([bench.put("listings", 1), bench.put("orders", 1), bench.put("users", 1)])
    assert set(caught.value.failed) == {"orders"}
    assert not caught.value.in_doubt
    assert set(bench.target.shown) == {"listings_window", "users_window"}
    assert bench.metrics.registry.get_sample_value("tsync_documents_written_total", {"route": "users"}) == 1


async def test_a_write_that_broke_is_in_doubt_for_its_own_route(bench: Bench) -> None:
    broke = DependencyUnavailable("Typesense: no answer in time", in_doubt=True, timed_out=True)
    bench.target.failures["orders_window"] = [broke]
    with pytest.raises(PartsFailed) as caught:
        await bench.run([bench.put("listings", 1), bench.put("orders", 1)])
    assert {route: failure.in_doubt for route, failure in caught.value.failed.items()} == {"orders": True}
    assert caught.value.in_doubt_but_synced == []


async def test_a_time_out_makes_the_requests_of_its_own_route_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "MAX_LINES", 4)
    bench = Bench(tmp_path)
    broke = DependencyUnavailable("Typesense: no answer in time", in_doubt=True, timed_out=True)
    bench.target.failures["orders_window"] = [broke]
    entries = [bench.put(route, number) for route in ("listings", "orders") for number in range(4)]
    with pytest.raises(PartsFailed):
        await bench.run(entries)
    bench.target.imports.clear()
    await bench.run(entries)
    assert sorted(bench.target.imports) == ["listings_window", "orders_window", "orders_window"]


async def test_an_unforeseen_fault_of_one_part_is_reported_when_no_part_is_under_way_any_more(bench: Bench) -> None:
    bench.target.wait_for = 99  # the imports wait
    entries = [bench.put("listings", 1), bench.put("orders", 1)]
    bench.target.failures["orders_window"] = [RuntimeError("raised on purpose")]
    running = asyncio.create_task(bench.run(entries))
    while len(bench.target.imports) < 2:
        await asyncio.sleep(0)
    assert not running.done()
    bench.target.all_under_way.set()
    with pytest.raises(RuntimeError):
        await running
    assert bench.target.shown == {"listings_window": {"1": {"id": "1"}}}


async def test_a_stop_ends_every_part(bench: Bench) -> None:
    bench.target.wait_for = 99
    running = asyncio.create_task(bench.run([bench.put("listings", 1), bench.put("orders", 1)]))
    while len(bench.target.imports) < 2:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.target._under_way == 0


def test_entries_are_taken_apart_in_their_order() -> None:
    entries = [Entry(route, key, "u", Timestamp(7, 1)) for route, key in [("a", 1), ("b", 1), ("a", 2), ("a", 1)]]
    assert {route: [entry.key for entry in some] for route, some in by_route(entries).items()} == {
        "a": [1, 2, 1],
        "b": [1],
    }
