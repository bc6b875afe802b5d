"""Following lookups: what joins a batch, what is left to a refresh, and what must be reconciled; no server."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp

from tsync_stream.capture.fan_out import SLOW_FOR_S, SLOW_S, UNREADABLE, FanOut, Shown
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core import clock
from tsync_stream.core.model import EpochRef, Head, Key, Position, Route, UnreadableKey
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.references import References
from tsync_stream.state.pipeline import Pipeline
from tsync_stream.state.refreshes import Refreshes

AS_OF = Timestamp(9, 1)
MOST = 10
TABLE = RouteTable(
    [
        Declaration(
            Route("listings", "shop", "listings", "listings"),
            lookups=[Parent("sellers", "seller_id", "seller", ["name"]), Children("reviews", "of", "reviews")],
        ),
        Declaration(Route("plain", "shop", "plain", "plain")),
    ]
)


class Now:
    """The time of the boot clock."""

    def __init__(self) -> None:
        self.s = 1_000.0


class FoundReferences:
    """Finds `count` documents for any references, and takes `took_s` for it; a child's owner is its key plus 100."""

    def __init__(self, now: Now) -> None:
        self.count = 3
        self.took_s = 0.0
        self.looks: list[Sequence[Key]] = []
        self._now = now

    async def referring(self, _: Any, __: str, references: Sequence[Key], ___: Any, most: int) -> list[Key] | None:
        self.looks.append(references)
        self._now.s += self.took_s
        return list(range(self.count)) if self.count <= most else None

    async def values(self, _: Any, keys: Sequence[Key], *__: Any) -> list[Any]:
        return [key + 100 for key in keys]


class GatheredRefreshes:
    """What was left to refreshes."""

    def __init__(self) -> None:
        self.gathered: list[Sequence[Key]] = []

    async def gather(self, _: str, __: str, ___: str, references: Sequence[Key], ____: Any) -> None:
        self.gathered.append(references)


class World:
    """A term of the table, and what follows its lookups."""

    def __init__(self, now: Now) -> None:
        start = Position({"_data": "00"}, Timestamp(1, 0))
        pipeline = Pipeline(EpochRef("d", 1, "n", "primary"), 1, 4, start, start)
        self.term = CaptureTerm(pipeline, cast("Tier", None), TABLE, [Head(0, 0, start.token)] * 4, start)
        self.references, self.refreshes = FoundReferences(now), GatheredRefreshes()
        self.fan_out = FanOut(TABLE, cast("References", self.references), cast("Refreshes", self.refreshes), MOST)

    async def follow(self, *changes: Mapping[str, Any]) -> Shown:
        return await self.fan_out.follow(self.term, changes, AS_OF)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    chosen = Now()
    monkeypatch.setattr(clock, "now_s", lambda: chosen.s)
    return chosen


@pytest.fixture
async def world(now: Now) -> World:
    return World(now)


def event(collection: str, key: Key, operation: str = "update", **more: Any) -> dict[str, Any]:
    return {"namespace": f"shop.{collection}", "key": key, "operation": operation, **more}


def keys_of(shown: Shown) -> list[Key]:
    return sorted(entry.key for each in shown.entries for some in each.by_partition.values() for entry in some)


async def test_few_documents_join_the_batch_of_the_change(world: World) -> None:
    shown = await world.follow(event("sellers", 7, changed=["name"]), event("listings", 1), event("plain", 1))
    assert keys_of(shown) == [0, 1, 2]
    assert world.references.looks == [[7]]
    assert (shown.needs, world.refreshes.gathered) == ({}, [])


async def test_changes_that_no_lookup_shows_are_not_looked_for(world: World) -> None:
    shown = await world.follow(event("sellers", 7, changed=["tax"]), event("plain", 1), event("listings", 1))
    assert (keys_of(shown), world.references.looks) == ([], [])


async def test_many_documents_are_left_to_a_refresh(world: World) -> None:
    world.references.count = MOST + 1
    shown = await world.follow(event("sellers", 7), event("sellers", 8, "delete"))
    assert (keys_of(shown), world.refreshes.gathered) == ([], [[7, 8]])


async def test_a_slow_look_is_not_repeated_with_every_change(world: World, now: Now) -> None:
    world.references.count, world.references.took_s = MOST + 1, 2 * SLOW_S
    for _ in range(5):
        await world.follow(event("sellers", 7))
    assert (len(world.references.looks), len(world.refreshes.gathered)) == (1, 5)
    now.s += SLOW_FOR_S
    await world.follow(event("sellers", 7))
    assert (len(world.references.looks), len(world.refreshes.gathered)) == (2, 6)


async def test_a_child_refreshes_its_owner_before_and_its_owner_now(world: World) -> None:
    moved = event("reviews", 1, before={"of": 5})
    deleted = event("reviews", 2, "delete", before={"of": 6})
    shown = await world.follow(moved, deleted, event("reviews", 3, "insert"))
    assert keys_of(shown) == [5, 6, 101, 102, 103]
    assert shown.needs == {}


async def test_a_deletion_without_a_pre_image_needs_a_reconcile_of_that_route(world: World) -> None:
    shown = await world.follow(event("reviews", 2, "delete"))
    assert list(shown.needs) == ["listings"]
    assert "shop.reviews came without the document as it was before" in shown.needs["listings"]


async def test_a_parent_with_a_key_that_cannot_be_read_needs_a_reconcile(world: World) -> None:
    shown = await world.follow(event("sellers", UnreadableKey(b"x")))
    assert shown.needs == {"listings": UNREADABLE}
