"""A Typesense collection is recognized by our marks, on every release; if it cannot be read, nothing is concluded."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from aiohttp import web
from bson.timestamp import Timestamp

from tests.integration.conftest import Clock, eventually
from tests.support.fake_typesense import HOST, Asked, fake_typesense, proxy_before
from tests.support.release_server import ReleaseServer
from tests.support.stack import Names, typesense_settings
from tsync_stream.capture import target_watch
from tsync_stream.capture.target_watch import CHECK, UNREAD_S, TargetWatch
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.health import Health
from tsync_stream.core.model import EpochRef, Position, Route
from tsync_stream.embedded import EmbeddedStack
from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.markers import MARKERS, METADATA, Markers
from tsync_stream.sink.schema import default_schema
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.route_state import RouteState

# The library warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RELEASES = ["0.24", "26.1", "28", "30", "cluster of three"]
OTHER = "the Typesense collection is not the one we filled"
OLDER = "Typesense shows an older state than it did"


class Positions:
    """Remembers the marked time."""

    def __init__(self) -> None:
        self.marked: Timestamp | None = None

    async def save_marked(self, pipeline: Pipeline, route: str, marked: Timestamp) -> None:
        self.marked = marked


class Bench:
    """A watch over one collection, and the epoch document that describes it."""

    def __init__(self, settings: TypesenseSettings) -> None:
        self.target = TypesenseTarget(settings)
        self.positions, self.health = Positions(), Health()
        self.lease_left_s = 60.0
        self.watch = TargetWatch(
            self.target,
            Route("c", "shop", "listings", settings.collection_name),
            "target",
            cast("Any", self.positions),
            self.health,
            self._prepare,
            lambda: self.lease_left_s,
        )
        start = Position({"_data": "00"}, Timestamp(1, 0))
        self.stored = Pipeline(EpochRef("d", 1, "n", "primary"), 1, 8, start, start, {"c": RouteState({})})

    async def _prepare(self) -> None: ...

    async def make_ours(self, time_s: int) -> None:
        part, marked = await self.watch.make_ours(Timestamp(time_s, 1))
        self.stored = self.stored.with_route("c", fingerprint=part, marked=marked)

    async def note(self, time_s: int) -> None:
        self.watch._noted_s = float("-inf")
        await self.watch.note_synced(self.stored, Timestamp(time_s, 1))
        self.stored = self.stored.with_route("c", marked=self.positions.marked)

    async def difference(self) -> str:
        return await self.watch.difference(self.state)

    @property
    def state(self) -> RouteState:
        """What is stored of the route."""
        return self.stored.routes["c"]


Benches = Callable[..., Any]


@pytest.fixture
def bench(stack: EmbeddedStack, names: Names, monkeypatch: pytest.MonkeyPatch) -> Benches:
    monkeypatch.setattr(target_watch, "SECOND_LOOK_S", 0.35)  # a follower of the imitated cluster lags by 0.3 s

    @asynccontextmanager
    async def made(hosts: tuple[str, ...], port: int, api_key: str | None = None) -> AsyncIterator[Bench]:
        key = api_key or stack.typesense.api_key
        made = Bench(typesense_settings(port, key, hosts=hosts, collection=names.typesense_collection))
        try:
            yield made
        finally:
            await made.target.close()

    return made


class Others:
    """What other people do to a Typesense, with blocking calls."""

    def __init__(self, port: int, api_key: str) -> None:
        self._client = httpx.Client(
            base_url=f"http://{HOST}:{port}", headers={"X-TYPESENSE-API-KEY": api_key}, timeout=10
        )

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST something; returns the answer."""
        answer: dict[str, Any] = self._client.post(path, json=body).raise_for_status().json()
        return answer

    def remove(self, path: str) -> None:
        """DELETE something."""
        self._client.delete(path).raise_for_status()

    def make_anew(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Drop a collection and create it again at once; returns the new one."""
        self.remove(f"/collections/{schema['name']}")
        return self.put("/collections", schema)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def others(stack: EmbeddedStack) -> Iterator[Others]:
    found = Others(stack.typesense.port, stack.typesense.api_key)
    yield found
    found.close()


@pytest.mark.parametrize("release", RELEASES)
async def test_a_collection_is_recognized_until_it_is_recreated(
    stack: EmbeddedStack, names: Names, bench: Benches, release: str
) -> None:
    name = names.typesense_collection
    with ReleaseServer(stack.typesense.port, stack.typesense.api_key, release) as server:
        async with bench(server.hosts, server.port) as made:
            # A user's own metadata is kept.
            mine = {"metadata": {"owner": "shop"}} if server.release.has_metadata else {}
            await made.target.create_collection(default_schema(name) | mine)
            await made.make_ours(100)
            for time_s in (100, 101, 105):
                await made.note(time_s)
                assert await made.difference() == ""
            for node in range(len(server.hosts)):
                server.replay(node)
            assert await made.difference() == "", "a different creation time alone is not a difference"
            live = await made.target.collection(name)
            assert live is not None
            if server.release.has_metadata:
                assert live["metadata"] == {"owner": "shop", METADATA: made.state.fingerprint["target_nonce"]}
            for _ in range(5):  # unless the machine is very busy, one of them falls within the same second
                stamp = live["created_at"]
                somebody = Others(server.port, stack.typesense.api_key)
                somebody.make_anew(default_schema(name) | mine)
                somebody.close()
                live = await made.target.collection(name)
                assert live is not None
                assert await made.difference() == OTHER
                if live["created_at"] == stamp:
                    break
                await made.make_ours(200)
                assert await made.difference() == ""


async def test_any_node_of_a_cluster_shows_the_same_collection(
    stack: EmbeddedStack, names: Names, bench: Benches
) -> None:
    with ReleaseServer(stack.typesense.port, stack.typesense.api_key, "cluster of three") as server:
        async with bench(server.hosts, server.port) as made:
            await made.target.create_collection(default_schema(names.typesense_collection))
            await made.make_ours(100)
            await made.note(105)
            stamps = set()
            for node in (0, 1, 2, 0):
                made.target._http._node = node

                async def known() -> bool:
                    live = await made.target.collection(names.typesense_collection)
                    if live is not None:
                        stamps.add(live["created_at"])
                    return live is not None

                await eventually(known)  # a follower may not know a collection that was just created
                assert await made.difference() == ""
            assert len(stamps) == 3


async def test_an_older_state_is_recognized_by_its_older_marker(
    stack: EmbeddedStack, names: Names, bench: Benches, others: Others
) -> None:
    name = names.typesense_collection
    async with bench((HOST,), stack.typesense.port) as made:
        await made.target.create_collection(default_schema(name))
        await made.make_ours(100)
        await made.note(105)
        path = f"/collections/{MARKERS}/documents"
        others.put(f"{path}?action=upsert", {"id": name, "synced": 104 << 32})
        assert await made.difference() == OLDER
        await made.note(110)
        assert await made.difference() == OLDER, "a newer mark does not hide it"
        await made.make_ours(110)
        assert await made.difference() == ""
        others.remove(f"{path}/{name}")
        assert await made.difference() == OLDER
        await made.make_ours(120)
        assert await made.difference() == ""
        others.remove(f"/collections/{name}")
        assert await made.difference() == "the Typesense collection is gone"


async def test_who_captured_before_marks_nothing_any_more(stack: EmbeddedStack, names: Names, bench: Benches) -> None:
    """A replica that was frozen wakes beside its successor: an older mark would look like an older Typesense."""
    async with bench((HOST,), stack.typesense.port) as before, bench((HOST,), stack.typesense.port) as now:
        await now.target.create_collection(default_schema(names.typesense_collection))
        await now.make_ours(100)
        before.stored = now.stored
        await now.note(110)
        before.lease_left_s = 0.0
        await before.note(105)
        assert before.positions.marked is None
        with pytest.raises(DependencyUnavailable, match="capture lease"):
            await before.make_ours(105)
        assert await now.difference() == ""


async def test_no_difference_counts_while_typesense_replays_its_log(
    stack: EmbeddedStack, names: Names, bench: Benches
) -> None:
    replaying = True

    def statistics(asked: Asked) -> web.Response | None:
        pending = {"pending_write_batches": 7}
        return web.json_response(pending) if replaying and asked.path == "/stats.json" else None

    async with (
        proxy_before(stack.typesense.port, stack.typesense.api_key, statistics) as proxy,
        bench((HOST,), proxy.port) as made,
    ):
        await made.target.create_collection(default_schema(names.typesense_collection))
        await made.make_ours(100)
        made.stored = made.stored.with_route("c", marked=Timestamp(200, 0))
        assert await made.difference() == ""
        replaying = False
        assert await made.difference() == OLDER


async def test_an_api_key_for_one_collection_alone_identifies_it_by_creation_time(
    stack: EmbeddedStack, names: Names, bench: Benches, others: Others, caplog: pytest.LogCaptureFixture
) -> None:
    name = names.typesense_collection
    actions = ["collections:get", "collections:create", "documents:*"]
    key = others.put("/keys", {"description": "t", "actions": actions, "collections": [name]})
    try:
        async with bench((HOST,), stack.typesense.port, key["value"]) as made:
            await made.target.create_collection(default_schema(name))
            await made.make_ours(100)
            assert (made.state.fingerprint["target_nonce"], made.state.marked) == ("", None)
            assert await made.difference() == ""
            assert "may mark the collection neither" in caplog.text
            await made.note(105)
            assert await made.difference() == ""
            before = made.state.fingerprint["target_created_at"]
            # Only the creation time is left to tell them apart, and it is given in seconds.
            while others.make_anew(default_schema(name))["created_at"] == before:
                pass
            assert await made.difference() == OTHER
    finally:
        others.remove(f"/keys/{key['id']}")


async def test_a_collection_that_could_not_be_checked_for_a_minute_is_not_healthy(
    names: Names, bench: Benches, boot_clock: Clock
) -> None:
    answers: list[web.Response] = []

    def answer(_: object) -> web.Response:
        return answers[0] if answers else web.Response(status=503)

    async with fake_typesense(answer) as server, bench((HOST,), server.port) as made:
        unmarked = {"target_name": "c", "target_nonce": "", "target_created_at": 1}
        made.stored = made.stored.with_route("c", fingerprint=unmarked)
        for _ in range(int(UNREAD_S / 5)):
            with pytest.raises(DependencyUnavailable):
                await made.difference()
            assert made.health.status == "green"
            boot_clock.forward(5.0)
        with pytest.raises(DependencyUnavailable):
            await made.difference()
        assert "is still the one that was filled" in made.health.problems[CHECK].text
        # A new term does not restart the minute; another capturing replica does.
        made.watch.forget()
        assert made.health.status == "green"
        with pytest.raises(DependencyUnavailable):
            await made.difference()
        assert made.health.status == "green"


@pytest.mark.parametrize("body", ["[]", "null", "{}", '{"name": 1, "created_at": "x"}', '{"name": "c"}', "nonsense"])
async def test_answers_that_are_not_typesenses_are_an_outage(names: Names, bench: Benches, body: str) -> None:
    async with fake_typesense(lambda _: web.Response(text=body)) as server, bench((HOST,), server.port) as made:
        with pytest.raises(DependencyUnavailable):
            await Markers(made.target, "c").look()
