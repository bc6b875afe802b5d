"""Where the next epoch begins: a changed route is reconciled, and only a lost position begins anew."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tests.support.memory_tier import MemoryTierServer
from tsync_stream.capture.begin import Beginning
from tsync_stream.capture.epochs import Epochs
from tsync_stream.capture.handover import Handover
from tsync_stream.capture.source_facts import SourceFacts
from tsync_stream.capture.target_watch import TargetWatch
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.capture.tiers import Tiers
from tsync_stream.core.model import MONGO, EpochRef, Position, Route
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.fingerprint import NEW_ROUTE, fingerprint_of
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import default_settings
from tsync_stream.state.pipeline import Pipeline, PositionStore
from tsync_stream.state.route_state import ReconcileNeed, RouteState

ROUTE = Route("listings", "shop", "listings", "window")
SETTINGS = default_settings()
UUID = b"\x01" * 16
OUR_PART = {"target_name": "window", "target_nonce": "n0"}
TABLE = RouteTable([Declaration(ROUTE)])
FINGERPRINT = fingerprint_of(ROUTE, UUID, OUR_PART, SETTINGS)
SYNCED = Position({"_data": "8210"}, Timestamp(100, 1), {"replay.1": {"after": "key 40"}})
NOW = Position({"_data": "8299"}, Timestamp(900, 1))
NEEDED_BEFORE = ReconcileNeed("old", "requested by a person", asked_of=70)


class World:
    """What a beginning asks: a stored epoch, what the source and the target are now, and one tier in memory."""

    def __init__(self, state: RouteState, name: str = ROUTE.name) -> None:
        epoch = EpochRef("deployment", 3, "nonce", MONGO)
        self.stored = Pipeline(epoch, 4, SETTINGS.partitions, SYNCED, SYNCED, {name: state}, table=TABLE.version)
        self.target_difference = ""
        self.marked: list[Timestamp] = []
        self.tier = MemoryTierServer(MONGO).connect()
        self.route = ROUTE
        tiers = Tiers({MONGO: self.tier}, SETTINGS.fail_back_after_s, lambda: 60.0)
        positions = cast("PositionStore", self)
        epochs = Epochs(TABLE, positions, tiers, self._holds_lease, Metrics())
        source, target = cast("SourceFacts", self), cast("TargetWatch", self)
        self.beginning = Beginning(SETTINGS.partitions, TABLE, source, target, tiers, positions, epochs)

    async def _holds_lease(self, fence: int) -> bool:
        return True

    async def fingerprint(self, target: Mapping[str, Any]) -> dict[str, Any]:
        return fingerprint_of(ROUTE, UUID, target, SETTINGS)

    async def position_of_now(self) -> Position:
        return NOW

    async def load(self) -> Pipeline:
        return self.stored

    async def records(self) -> dict[int, Any]:
        return {}

    async def synced(self, pipeline: Pipeline) -> Position:
        return pipeline.began

    async def replace(self, old: Pipeline, new: Pipeline) -> bool:
        assert old == self.stored
        self.stored = new
        return True

    async def replaced(self, _stored: object) -> str:
        return self.target_difference

    async def make_ours(self, synced: Timestamp) -> tuple[Mapping[str, Any], Timestamp]:
        self.marked.append(synced)
        return {"target_name": "window", "target_nonce": "n1"}, synced

    async def begin(self, **handover: Any) -> CaptureTerm:
        return await self.beginning.begin(5, Handover(**handover))


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
    assert world.stored.routes[ROUTE.name].fingerprint == FINGERPRINT
    assert world.marked == []


async def test_another_target_is_filled_and_the_stream_goes_on_where_it_was() -> None:
    world = World(RouteState(FINGERPRINT, NEEDED_BEFORE, Timestamp(99, 1)))
    world.target_difference = "the Typesense collection is not the one we filled"
    term = await world.begin()
    assert term.pipeline.began == SYNCED
    assert (need_of(term).reason, need_of(term).asked_of) == (world.target_difference, 0), "that was another collection"
    assert world.marked == [SYNCED.cluster_time], "the new one does not claim more than what is synced"
    state = world.stored.routes[ROUTE.name]
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
    assert list(world.stored.routes) == [ROUTE.name]
    assert need_of(term).reason in {NEW_ROUTE, world.target_difference}


async def test_what_fits_goes_on_in_the_same_epoch() -> None:
    world = World(RouteState(FINGERPRINT, NEEDED_BEFORE))
    await world.tier.create(world.stored.epoch, SETTINGS.partitions, 4, SYNCED.token)
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
    world.stored = replace(world.stored, table="older")
    term = await world.begin()
    assert (term.pipeline.epoch.epoch, term.pipeline.began) == (4, SYNCED)
    assert world.stored.table == TABLE.version
    assert term.pipeline.reconciles() == {}
