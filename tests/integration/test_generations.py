"""The generations of routes on a real MongoDB: of two writers one wins, and sees what it replaces."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.integration.conftest import Client, Database, fail
from tests.support.stack import Names
from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_from_bson, declaration_to_bson
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.generations import Generations, Reindex

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
FIRST = Generations.first("shop.listings", "listings", "listings_1")
DECLARED = Declaration(
    Route("shop.listings", "shop", "listings", "listings"),
    filter={"$or": [{"a.b": {"$gt": 1}}, {"name": {"$regex": "^a", "$options": "i"}}]},
    pipeline=({"$set": {"$dollar": 1}},),
)


def filed(of: Generations, job: str = "job") -> Generations:
    reindex = Reindex(job, of.next_number, of.live, "building", NOW, NOW)
    return of.filed(reindex, declaration_to_bson(DECLARED), "listings_1")


@pytest.fixture
def store(state: Database) -> GenerationStore:
    return GenerationStore(state)


async def test_what_is_stored_is_read_as_it_was(store: GenerationStore) -> None:
    assert await store.all() == {}
    assert await store.load(FIRST.route) is None
    stored = await store.replace(FIRST, filed(FIRST))
    assert stored == replace(filed(FIRST), revision=1)
    assert await store.all() == {FIRST.route: stored}
    loaded = await store.load(FIRST.route)
    assert loaded == stored
    assert loaded is not None
    declaration = loaded.generations[1].declaration
    assert declaration is not None
    assert declaration_from_bson(declaration) == DECLARED


async def test_of_two_that_file_at_once_one_wins(store: GenerationStore) -> None:
    won = await asyncio.gather(*(store.replace(FIRST, filed(FIRST, f"job.{each}")) for each in range(5)))
    (stored,) = [each for each in won if each is not None]
    assert await store.load(FIRST.route) == stored


async def test_nothing_replaces_what_was_not_seen(store: GenerationStore) -> None:
    before = await store.replace(FIRST, filed(FIRST))
    assert before is not None
    after = await store.replace(before, before.in_phase("verifying", NOW))
    assert after is not None
    assert await store.replace(before, before.showing(2)) is None
    assert await store.load(FIRST.route) == after


async def test_an_update_is_tried_again_on_what_is_there(store: GenerationStore) -> None:
    before = await store.replace(FIRST, filed(FIRST))
    assert before is not None
    looks: list[Generations] = []

    def wish(found: Generations) -> Generations:
        looks.append(found)
        return found.with_reindex(wish="cancel")

    async def meanwhile() -> None:
        await store.replace(before, before.in_phase("verifying", NOW))

    await asyncio.gather(meanwhile(), *(store.update(FIRST.route, wish) for _ in range(3)))
    found = await store.load(FIRST.route)
    assert found is not None
    assert found.reindex is not None
    assert (found.reindex.phase, found.reindex.wish) == ("verifying", "cancel")
    assert await store.update(FIRST.route, wish) == found, "nothing to change is no new revision"
    assert await store.update("unknown", wish) is None


async def test_a_write_whose_reply_was_lost_finds_its_own_work(store: GenerationStore) -> None:
    stored = await store.replace(FIRST, filed(FIRST))
    assert stored is not None
    assert await store.replace(FIRST, filed(FIRST)) == stored
    shown = await store.replace(stored, stored.showing(2))
    assert await store.replace(stored, stored.showing(2)) == shown


async def test_an_outage_is_ours_to_wait_out(store: GenerationStore, client: Client, mongo_names: Names) -> None:
    await fail(client, mongo_names, "find", times=2, errorCode=11600)
    with pytest.raises(DependencyUnavailable):
        await store.all()
