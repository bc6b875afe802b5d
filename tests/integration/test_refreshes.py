"""Stored refreshes, and the documents that refer to others, on a real MongoDB."""

from bson.timestamp import Timestamp

from tests.integration.conftest import Client, Collection, Database
from tsync_stream.core.model import BEGINNING_OF_TIME, Route
from tsync_stream.source.references import References
from tsync_stream.state.refreshes import MOST_REFERENCES, Lookup, Refreshes

EARLY, LATE = Timestamp(5, 1), Timestamp(9, 1)


async def test_a_refresh_gathers_references_until_it_begins(state: Database) -> None:
    refreshes = Refreshes(state)
    await refreshes.gather("listings", "sellers", "seller_id", [1, "a"], EARLY)
    await refreshes.gather("listings", "sellers", "seller_id", [2, 1], LATE)
    await refreshes.gather("listings", "sellers", "other_id", [3], Timestamp(10, 1))
    assert len(await refreshes.open()) == 2
    assert await refreshes.since() == {"listings": EARLY}
    begun = await refreshes.begin_next()
    assert begun is not None
    assert begun.lookup == Lookup("listings", "sellers", "seller_id")
    assert (begun.references, begun.as_of) == ([1, "a", 2], LATE)


async def test_what_is_gathered_after_a_refresh_has_begun_is_another_one(state: Database) -> None:
    refreshes = Refreshes(state)
    await refreshes.gather("listings", "sellers", "seller_id", [1], EARLY)
    begun = await refreshes.begin_next()
    assert begun is not None
    await refreshes.gather("listings", "sellers", "seller_id", [2], LATE)
    assert await refreshes.begin_next() == begun, "until it ends, it is the next one, after a crash too"
    await refreshes.end(begun.id)
    second = await refreshes.begin_next()
    assert second is not None
    assert (second.references, second.as_of) == ([2], LATE)
    await refreshes.end(second.id)
    assert await refreshes.begin_next() is None
    assert await refreshes.open() == []


async def test_one_refresh_of_each_lookup_runs_at_a_time(state: Database) -> None:
    refreshes = Refreshes(state)
    await refreshes.gather("listings", "sellers", "seller_id", [1], EARLY)
    sellers = await refreshes.begin_next()
    assert sellers is not None
    await refreshes.gather("listings", "sellers", "seller_id", [2], EARLY)
    await refreshes.gather("listings", "sellers", "agent_id", [3], LATE)
    agents = await refreshes.begin_next([sellers.lookup])
    assert agents is not None
    assert (agents.lookup, agents.references) == (Lookup("listings", "sellers", "agent_id"), [3])
    assert await refreshes.begin_next([sellers.lookup, agents.lookup]) is None
    await refreshes.end(sellers.id)
    further = await refreshes.begin_next([agents.lookup])
    assert further is not None
    assert (further.lookup, further.references) == (sellers.lookup, [2])


async def test_a_refresh_has_room_for_so_many_references_and_none_is_lost(state: Database) -> None:
    refreshes = Refreshes(state)
    for first in (0, 4_000, 8_000):
        await refreshes.gather("listings", "sellers", "seller_id", list(range(first, first + 4_000)), EARLY)
    found: list[int] = []
    while (begun := await refreshes.begin_next()) is not None:
        assert len(begun.references) <= MOST_REFERENCES
        found += begun.references
        await refreshes.end(begun.id)
    assert sorted(found) == list(range(12_000))


async def test_referring_documents_are_found_up_to_a_number(client: Client, route: Route, source: Collection) -> None:
    await source.create_index("items.seller")
    await source.insert_many([{"_id": n, "items": [{"seller": n % 3}, {"seller": "x"}]} for n in range(30)])
    references = References(client)
    place = (route.database, route.collection)
    found = await references.referring(place, "items.seller", [0, 1], BEGINNING_OF_TIME, 20)
    assert found is not None
    assert sorted(found) == [n for n in range(30) if n % 3 < 2]
    assert await references.referring(place, "items.seller", [0, 1], BEGINNING_OF_TIME, 19) is None
    assert await references.referring(place, "items.seller", ["nobody"], BEGINNING_OF_TIME, 0) == []
    pages = [page async for page in references.pages(place, "items.seller", ["x"], BEGINNING_OF_TIME, 7)]
    assert max(map(len, pages)) <= 7
    assert sorted(key for page in pages for key in page) == list(range(30))
    await references.close()


async def test_the_values_of_documents_are_those_of_now(client: Client, route: Route, source: Collection) -> None:
    await source.insert_many([{"_id": 1, "of": {"listing": "a"}}, {"_id": 2, "of": 3}, {"_id": 3, "of": {}}])
    references = References(client)
    place = (route.database, route.collection)
    assert await references.values(place, [1, 2, 3, 4], "of.listing", BEGINNING_OF_TIME) == ["a"]
    await source.update_one({"_id": 1}, {"$set": {"of.listing": "b"}})
    assert await references.values(place, [1], "of.listing", BEGINNING_OF_TIME) == ["b"]
    await references.close()
