"""The schema in force is never that of an earlier collection, nor one that could not be read for long."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.schemas import CATCH_ALL, live
from tsync_stream.core import clock
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.live_schema import MAX_AGE_S, LiveSchema
from tsync_stream.sink.mapping_plan import MappingOptions


class World:
    """Typesense's answer, the epoch, and the time, as the test says."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | None = live(("n", "int32"), CATCH_ALL)
        self.epoch = 1
        self.now_s = 1000.0
        self.reads = 0
        self.fails = False
        self.before_answer = asyncio.Event()
        self.before_answer.set()
        target = cast("Any", SimpleNamespace(collection=self._collection))
        self.schema = LiveSchema(target, "listings", MappingOptions(), lambda: self.epoch)

    async def _collection(self, _: str) -> dict[str, Any] | None:
        self.reads += 1
        answer = self.answer
        await self.before_answer.wait()
        if self.fails:
            raise DependencyUnavailable("Typesense: it is down")
        return answer


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(clock, "now_s", lambda: made.now_s)
    return made


async def test_nothing_is_mapped_before_the_schema_was_read(world: World) -> None:
    world.fails = True
    for _ in range(2):
        with pytest.raises(DependencyUnavailable):
            await world.schema.plan()
    world.fails = False
    assert (await world.schema.plan()).types["n"].name == "int32"
    assert world.reads == 3


async def test_concurrent_callers_share_one_read_of_the_schema(world: World) -> None:
    plans = await asyncio.gather(*(world.schema.plan() for _ in range(8)))
    assert len({id(plan) for plan in plans}) == 1
    await world.schema.plan()
    assert world.reads == 1


async def test_a_missing_collection_is_waited_for(world: World) -> None:
    world.answer = None
    with pytest.raises(DependencyUnavailable, match="no collection listings"):
        await world.schema.plan()


async def test_a_new_epoch_may_mean_another_collection(world: World) -> None:
    """It is dropped, and recreated with another schema: nothing is mapped, nor sent, by the old one."""
    old = await world.schema.plan()
    world.answer, world.epoch = live(("n", "string"), CATCH_ALL), 2
    with pytest.raises(DependencyUnavailable, match="mapped again"):
        world.schema.require(old)
    new = await world.schema.plan()
    assert new.types["n"].name == "string"
    world.schema.require(new)
    with pytest.raises(DependencyUnavailable, match="mapped again"):
        world.schema.require(old)


async def test_a_read_that_began_before_the_epoch_does_not_count(world: World) -> None:
    world.before_answer.clear()
    asking = asyncio.create_task(world.schema.plan())
    while not world.reads:
        await asyncio.sleep(0)
    world.answer, world.epoch = live(("n", "string"), CATCH_ALL), 2
    world.before_answer.set()
    await asking
    assert (await world.schema.plan()).types["n"].name == "string"


async def test_a_schema_that_cannot_be_read_for_long_counts_as_unknown(world: World) -> None:
    plan = await world.schema.plan()
    world.now_s += MAX_AGE_S + 1
    world.fails = True
    with pytest.raises(DependencyUnavailable):
        await world.schema.plan()
    with pytest.raises(DependencyUnavailable):
        world.schema.require(plan)
    world.fails = False
    assert await world.schema.plan() is plan, "it has not changed, and what it knows of names is kept"


async def test_an_added_field_leaves_mapped_documents_valid(world: World) -> None:
    old = await world.schema.plan()
    world.answer = live(("n", "int32"), ("m", "int64"), CATCH_ALL)
    new = await world.schema.look()
    assert new is not old
    world.schema.require(old)


async def test_a_changed_field_type_invalidates_mapped_documents(world: World) -> None:
    old = await world.schema.plan()
    world.answer = live(("n", "int64"), CATCH_ALL)
    await world.schema.look()
    with pytest.raises(DependencyUnavailable, match="mapped again"):
        world.schema.require(old)
