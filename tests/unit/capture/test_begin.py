"""Where the next epoch begins: a changed route is reconciled, and only a lost position begins anew."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.support.memory_tier import MemoryTierServer
from tests.support.waiting import HANG_S
from tsync_stream.capture import targets
from tsync_stream.capture.begin import Beginning
from tsync_stream.capture.epochs import Epochs
from tsync_stream.capture.handover import Handover
from tsync_stream.capture.source_facts import SourceFacts
from tsync_stream.capture.target_watch import TargetWatch
from tsync_stream.capture.targets import Targets
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.capture.tiers import Tiers
from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.core.model import MONGO, EpochRef, Position, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.fingerprint import NEW_ROUTE, fingerprint_of
from tsync_stream.routes.preparation import ComesLater
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import default_settings
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.route_state import ReconcileNeed, RouteState

ROUTE = Route("listings", "shop", "listings", "window")
SETTINGS = default_settings()
UUID = b"\x01" * 16
OUR_PART = {"target_name": "window", "target_nonce": "n0"}
TABLE = RouteTable([Declaration(ROUTE)])
FINGERPRINT = fingerprint_of(Declaration(ROUTE), UUID, OUR_PART, SETTINGS)
SYNCED = Position({"_data": "8210"}, Timestamp(100, 1), {"replay.1": {"after": "key 40"}})
NOW = Position({"_data": "8299"}, Timestamp(900, 1))
NEEDED_BEFORE = ReconcileNeed("old", "requested by a person", asked_of=70)


class World:
    """What a beginning asks: a stored epoch, what sources and targets are now, and one tier in memory."""

    def __init__(self, state: RouteState, name: str = ROUTE.name, table: RouteTable = TABLE) -> None:
        epoch = EpochRef("deployment", 3, "nonce", MONGO)
        routes = {name: state}
        self.stored: Pipeline | None = Pipeline(
            epoch, 4, SETTINGS.partitions, SYNCED, SYNCED, routes, table=table.version
        )
        self.uuids: dict[str, bytes | ConfigurationError] = dict.fromkeys(table, UUID)
        self.target_difference = ""
        self.differences: dict[str, str] = {}
        self.slow_targets: set[str] = set()
        self.marked: list[Timestamp] = []
        self.created: list[str] = []
        self.looked_at: list[str] = []
        self.refused: dict[str, TsyncError] = {}
        self.translated: list[Position] = []
        self.tier = MemoryTierServer(MONGO).connect()
        tiers = Tiers({MONGO: self.tier}, SETTINGS.fail_back_after_s, lambda: 60.0)
        positions = cast("PositionStore", self)
        epochs = Epochs(table, positions, tiers, self._holds_lease, Metrics())
        watches = {name: cast("TargetWatch", Target(self, name)) for name in table}
        sources = cast("SourceFacts", Sources(self))
        self.beginning = Beginning(table, SETTINGS, sources, Targets(table, watches), tiers, positions, epochs)

    async def _holds_lease(self, fence: int) -> bool:
        return True

    async def load(self) -> Pipeline | None:
        return self.stored

    async def create(self, pipeline: Pipeline) -> bool:
        self.stored = pipeline
        return True

    async def records(self) -> dict[int, Any]:
        return {}

    async def synced(self, pipeline: Pipeline) -> Position:
        return pipeline.began

    async def replace(self, old: Pipeline, new: Pipeline) -> bool:
        assert old == self.stored
        self.stored = new
        return True

    async def begin(self, **handover: Any) -> CaptureTerm:
        return await self.beginning.begin(5, Handover(**handover))

    def state(self, name: str = ROUTE.name) -> RouteState:
        """What is stored of a route."""
        assert self.stored is not None
        return self.stored.routes[name]

    async def goes_on(self) -> "World":
        """The stored epoch's streams exist, so it can be continued."""
        assert self.stored is not None
        await self.tier.create(self.stored.epoch, SETTINGS.partitions, 4, SYNCED.token)
        return self


class Sources:
    """What `SourceFacts` finds."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def uuids(self) -> Mapping[str, bytes | ConfigurationError]:
        return self._world.uuids

    async def position_of_now(self) -> Position:
        return NOW

    async def for_our_stream(self, position: Position) -> Position:
        self._world.translated.append(position)
        return replace(position, token={"_data": "820F"})


class Target:
    """What the watch of one target finds and does."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    async def _answer(self) -> None:
        if self._name in self._world.slow_targets:
            await asyncio.sleep(60)

    async def prepare(self) -> None:
        await self._answer()
        if self._name in self._world.refused:
            raise self._world.refused[self._name]
        self._world.created.append(self._name)

    async def replaced(self, _stored: object) -> str:
        await self._answer()
        self._world.looked_at.append(self._name)
        return self._world.differences.get(self._name, self._world.target_difference)

    async def make_ours(self, synced: Timestamp) -> tuple[Mapping[str, Any], Timestamp]:
        await self._answer()
        self._world.marked.append(synced)
        return {"target_name": "window", "target_nonce": "n1"}, synced


def need_of(term: CaptureTerm) -> ReconcileNeed:
    """The open reconcile of our route."""
    need = term.pipeline.need(ROUTE.name)
    assert need is not None
    return need


async def test_a_changed_route_is_reconciled_and_the_stream_goes_on_where_it_was() -> None:
    world = World(RouteState({**FINGERPRINT, "mapping": "1 s"}))
    term = await world.begin()
    assert term.pipeline.epoch.epoch == 4
    assert term.pipeline.began == SYNCED, "changes since then are read again, and other jobs keep their cursors"
    assert need_of(term).reason == "changed: mapping"
    assert world.state().fingerprint == FINGERPRINT
    assert world.marked == []


async def test_another_target_is_filled_and_the_stream_goes_on_where_it_was() -> None:
    world = World(RouteState(FINGERPRINT, NEEDED_BEFORE, Timestamp(99, 1)))
    world.target_difference = "the Typesense collection is not the one we filled"
    term = await world.begin()
    assert term.pipeline.began == SYNCED
    assert (need_of(term).reason, need_of(term).asked_of) == (world.target_difference, 0), "that was another collection"
    assert world.marked == [SYNCED.cluster_time], "the new one does not claim more than what is synced"
    state = world.state()
    assert (state.fingerprint["target_nonce"], state.marked) == ("n1", SYNCED.cluster_time)


async def test_a_lost_position_begins_now_and_needs_a_reconcile() -> None:
    world = World(RouteState(FINGERPRINT, NEEDED_BEFORE))
    term = await world.begin(position_lost="the oplog has rolled over")
    assert term.pipeline.began == NOW
    assert (need_of(term).reason, need_of(term).asked_of) == ("the oplog has rolled over", 70), "the question stays"
    assert need_of(term).job != NEEDED_BEFORE.job


@pytest.mark.parametrize("changed", [{"source": "shop.orders"}, {"source_uuid": "02" * 16}])
async def test_a_position_of_another_collections_stream_is_lost(changed: dict[str, str]) -> None:
    world = World(RouteState({**FINGERPRINT, **changed}))
    term = await world.begin()
    assert term.pipeline.began == NOW
    assert need_of(term).reason == f"changed: {next(iter(changed))}"


async def test_a_route_of_another_name_takes_its_place_and_the_stream_goes_on() -> None:
    world = World(RouteState(FINGERPRINT), name="called otherwise")
    world.target_difference = "the Typesense collection is not marked yet"
    term = await world.begin()
    assert term.pipeline.began == SYNCED
    assert world.stored is not None
    assert list(world.stored.routes) == [ROUTE.name]
    assert need_of(term).reason in {NEW_ROUTE, world.target_difference}


async def test_what_fits_goes_on_in_the_same_epoch() -> None:
    world = World(RouteState(FINGERPRINT, NEEDED_BEFORE))
    await world.goes_on()
    term = await world.begin()
    assert (term.pipeline.epoch.epoch, term.fence) == (3, 5)
    assert need_of(term) == NEEDED_BEFORE


async def test_a_suspect_tier_brings_the_next_epoch_and_no_reconcile() -> None:
    world = World(RouteState(FINGERPRINT))
    term = await world.begin(leave_tier="its stream is gone")
    assert (term.pipeline.epoch.epoch, term.pipeline.began) == (4, SYNCED)
    assert term.pipeline.need(ROUTE.name) is None


async def test_another_table_of_routes_brings_the_next_epoch_and_moves_nothing() -> None:
    world = World(RouteState(FINGERPRINT))
    assert world.stored is not None
    world.stored = replace(world.stored, table="older")
    term = await world.begin()
    assert term.pipeline.epoch.epoch == 4
    assert world.translated == [SYNCED]
    assert term.pipeline.began == replace(SYNCED, token={"_data": "820F"}), "the same moment, in our stream's words"
    assert world.stored.table == TABLE.version
    assert term.pipeline.reconciles() == {}


# Several routes

POSTS = Route("posts", "blog", "posts", "posts")
BOTH = RouteTable([Declaration(ROUTE), Declaration(POSTS)])
POSTS_FINGERPRINT = fingerprint_of(Declaration(POSTS), UUID, {"target_name": "posts"}, SETTINGS)
MISSING = ConfigurationError("MONGODB_COLLECTION: there is no collection blog.posts")


def both(listings: RouteState, posts: RouteState) -> World:
    world = World(listings, table=BOTH)
    assert world.stored is not None
    world.stored = replace(world.stored, routes={ROUTE.name: listings, POSTS.name: posts})
    return world


async def test_a_changed_route_moves_no_other_and_no_position() -> None:
    """The naive way begins at now, as for a single route whose source is another one, and loses the others' changes."""
    world = both(RouteState(FINGERPRINT), RouteState({**POSTS_FINGERPRINT, "mapping": "1 s"}))
    term = await world.begin()
    assert (term.pipeline.epoch.epoch, term.pipeline.began) == (4, SYNCED)
    assert set(term.pipeline.reconciles()) == {POSTS.name}
    assert world.state() == RouteState(FINGERPRINT)


async def test_a_recreated_source_is_a_need_of_its_route_in_the_same_epoch() -> None:
    world = await both(RouteState(FINGERPRINT), RouteState({**POSTS_FINGERPRINT, "source_uuid": "02" * 16})).goes_on()
    term = await world.begin()
    assert (term.pipeline.epoch.epoch, term.pipeline.began, term.appended.token) == (3, SYNCED, SYNCED.token)
    assert set(term.pipeline.reconciles()) == {POSTS.name}
    assert world.state(POSTS.name).fingerprint == POSTS_FINGERPRINT


async def test_another_target_of_one_route_begins_an_epoch_at_what_is_synced() -> None:
    world = both(RouteState(FINGERPRINT, marked=Timestamp(99, 1)), RouteState(POSTS_FINGERPRINT))
    world.differences = {POSTS.name: "the Typesense collection is gone"}
    term = await world.begin()
    assert (term.pipeline.epoch.epoch, term.pipeline.began) == (4, SYNCED)
    assert set(term.pipeline.reconciles()) == {POSTS.name}
    assert world.state() == RouteState(FINGERPRINT, marked=Timestamp(99, 1))
    assert world.state(POSTS.name).fingerprint["target_nonce"] == "n1"


async def test_a_lost_position_is_every_routes_need() -> None:
    term = await both(RouteState(FINGERPRINT), RouteState(POSTS_FINGERPRINT)).begin(position_lost="rolled over")
    assert term.pipeline.began == NOW
    assert set(term.pipeline.reconciles()) == {ROUTE.name, POSTS.name}


async def test_the_position_is_ours_while_one_source_is_still_the_same() -> None:
    recreated = RouteState({**POSTS_FINGERPRINT, "source_uuid": "02"})
    world = await both(RouteState(FINGERPRINT), recreated).goes_on()
    assert (await world.begin()).pipeline.began == SYNCED
    world = both(RouteState({**FINGERPRINT, "source_uuid": "03"}), recreated)
    assert (await world.begin()).pipeline.began == NOW, "nothing is known to be the same"


async def test_a_missing_source_suspends_its_route_and_stops_no_other() -> None:
    world = await both(RouteState(FINGERPRINT), RouteState(POSTS_FINGERPRINT)).goes_on()
    world.uuids[POSTS.name] = MISSING
    term = await world.begin()
    assert (term.pipeline.epoch.epoch, term.pipeline.began) == (3, SYNCED)
    assert term.without_source == [POSTS.name]
    state = world.state(POSTS.name)
    assert state.fingerprint == POSTS_FINGERPRINT, "what its documents were made from"
    assert state.suspended is not None
    assert state.suspended.reason == str(MISSING)
    assert state.reconcile is not None
    assert world.state() == RouteState(FINGERPRINT)
    again = await world.begin()
    assert again.pipeline.routes[POSTS.name] == state, "it is suspended once"


async def test_sources_that_are_all_missing_are_an_error_as_that_of_a_single_route_is() -> None:
    world = both(RouteState(FINGERPRINT), RouteState(POSTS_FINGERPRINT))
    world.uuids = dict.fromkeys(world.uuids, MISSING)
    with pytest.raises(ConfigurationError, match="there is no collection"):
        await world.begin()


async def test_a_first_start_goes_on_without_a_missing_source_and_creates_nothing_for_it() -> None:
    world = both(RouteState({}), RouteState({}))
    world.stored = None
    world.uuids[POSTS.name] = MISSING
    term = await world.begin()
    assert (term.pipeline.began, world.created) == (NOW, [ROUTE.name])
    listings, posts = world.state(), world.state(POSTS.name)
    assert listings.reconcile is not None
    assert listings.reconcile.reason == "the first start"
    assert posts.suspended is not None
    assert posts.fingerprint == {}


async def test_a_first_start_creates_a_collection_after_those_that_it_refers_to() -> None:
    schema = {"fields": [{"name": "post_id", "type": "string", "reference": f"{POSTS.target}.id"}]}
    world = World(RouteState({}), table=RouteTable([Declaration(ROUTE, schema=schema), Declaration(POSTS)]))
    world.stored = None
    await world.begin()
    assert world.created == [POSTS.name, ROUTE.name]


async def test_a_first_start_goes_on_where_the_only_usable_route_refers_to_one_without_a_source() -> None:
    schema = {"fields": [{"name": "post_id", "type": "string", "reference": f"{POSTS.target}.id"}]}
    world = World(RouteState({}), table=RouteTable([Declaration(ROUTE, schema=schema), Declaration(POSTS)]))
    world.stored = None
    world.uuids[POSTS.name] = MISSING
    world.refused = {ROUTE.name: ComesLater("window is created as soon as posts exists")}
    await world.begin()
    assert world.created == []
    assert world.state(POSTS.name).suspended is not None
    assert world.state().reconcile is not None


async def test_targets_that_are_gone_are_made_again_in_order() -> None:
    schema = {"fields": [{"name": "post_id", "type": "string", "reference": f"{POSTS.target}.id"}]}
    table = RouteTable([Declaration(ROUTE, schema=schema), Declaration(POSTS)])
    world = World(RouteState(FINGERPRINT), table=table)
    watched = Targets(table, {name: cast("TargetWatch", Target(world, name)) for name in table})
    world.target_difference = "gone"
    assert await watched.replaced({name: RouteState(FINGERPRINT) for name in table}) == dict.fromkeys(
        (POSTS.name, ROUTE.name), "gone"
    )
    assert world.looked_at == [POSTS.name, ROUTE.name]


async def test_a_target_that_does_not_answer_holds_up_no_other_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "LONGEST_WAIT_S", 0.02)
    world = await both(RouteState(FINGERPRINT), RouteState(POSTS_FINGERPRINT)).goes_on()
    world.slow_targets = {POSTS.name}
    async with asyncio.timeout(HANG_S):
        term = await world.begin()
    assert term.pipeline.epoch.epoch == 3
    assert term.pipeline.reconciles() == {}


async def test_a_new_route_loads_itself_and_a_removed_one_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    world = World(RouteState(FINGERPRINT), table=BOTH)
    assert world.stored is not None
    removed = RouteState({"target": "old window"}, ReconcileNeed("r", "requested by a person"))
    routes = {ROUTE.name: RouteState(FINGERPRINT), "old": removed}
    world.stored = replace(world.stored, routes=routes, table="older")
    term = await world.begin()
    assert list(term.pipeline.routes) == [ROUTE.name, POSTS.name]
    need = term.pipeline.need(POSTS.name)
    assert need is not None
    assert need.reason == NEW_ROUTE
    assert set(term.pipeline.reconciles()) == {POSTS.name}
    assert term.pipeline.began.cluster_time == SYNCED.cluster_time
    assert "there is no route old any more; its Typesense collection old window stays" in caplog.text


async def test_a_new_route_whose_target_does_not_answer_waits_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "LONGEST_WAIT_S", 0.02)
    world = World(RouteState(FINGERPRINT), table=BOTH)
    assert world.stored is not None
    world.stored = replace(world.stored, table="older")
    world.slow_targets = {POSTS.name}
    async with asyncio.timeout(HANG_S):
        await world.begin()
    assert "target_nonce" not in world.state(POSTS.name).fingerprint, "its watch finds that it is not marked yet"
    assert world.state(POSTS.name).reconcile is not None
