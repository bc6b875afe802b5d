"""Partial reconciles: what they queue, where they go on, and what they refuse; no server."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from tests.support.waiting import eventually
from tests.unit.jobs.test_runner import PAGE, ROUTE, MemoryKeys, Source, World
from tests.unit.jobs.test_runner import no_waiting as no_waiting
from tsync_stream.capture.term import JobProgress
from tsync_stream.core.errors import RouteUnusable
from tsync_stream.core.model import Reason
from tsync_stream.jobs import partial
from tsync_stream.state import partial_reconciles
from tsync_stream.state.jobs import DONE, PARTIAL
from tsync_stream.state.partial_reconciles import Chosen

MATCHING = Chosen({"from": 2}, 0, 7)


def listed(count: int, *, allow_mass_delete: bool = True) -> Chosen:
    return Chosen(None, count, 7, allow_mass_delete=allow_mass_delete)


def world_with(chosen: Chosen, cursor: Mapping[str, Any] | None = None, keys: list[Any] | None = None) -> World:
    world = World(cursors={} if cursor is None else {"one": cursor})
    world.jobs.file("one", PARTIAL, **chosen.to_bson())
    if keys is not None:
        world.jobs.keys.lists["one"] = keys
    return world


async def run(world: World) -> Any:
    """Have it queue and sync everything; returns its ending and result."""
    async with world.at_work():
        await world.look()
        await eventually(
            lambda: "one" in world.jobs.ended or world.term.appended.cursors.get("one", {}).get("phase") == DONE
        )
        await world.look(all_synced=True)
        await eventually(lambda: "one" in world.jobs.ended and not world.term.appended.cursors)
    return world.jobs.ended["one"]


async def test_it_queues_what_matches_and_says_how_many_were_looked_at() -> None:
    world = world_with(MATCHING)
    assert await run(world) == ("done", {"looked_at": 7, "queued": 5, "refused": []})
    assert world.queued() == [2, 3, 4, 5, 6]
    assert world.reasons == {Reason.RECONCILE}
    assert world.jobs.progress["one"]["looked_at"] == 7


async def test_it_goes_on_behind_its_cursor() -> None:
    world = world_with(MATCHING, {"phase": "queueing", "looked_at": 5, "queued": 3, "_id": 4})
    assert await run(world) == ("done", {"looked_at": 7, "queued": 5, "refused": []})
    assert world.queued() == [5, 6]


async def test_a_page_is_queued_in_the_portions_of_its_rate() -> None:
    world = world_with(Chosen({"from": 0}, 0, 7))
    world.jobs.wish("one", rate_per_s=4)  # one in a quarter of a second
    world.held = []
    async with world.at_work():
        await world.look()
        await eventually(lambda: len(world.held or ()) == World.MOST_HELD)
        cursors = [cast("JobProgress", batch.progress).cursor for batch in world.held]
    assert [(each["_id"], each["queued"], each["looked_at"]) for each in cursors] == [(0, 1, 1), (1, 2, 2)]


async def test_it_counts_what_it_looks_at_once_although_it_was_interrupted_within_a_page() -> None:
    places = partial._places([0, 1, 2, 3, 4], [1, 3, 4], {"_id": 4}, 10)
    assert places == [{"_id": 1, "looked_at": 12}, {"_id": 3, "looked_at": 14}, {"_id": 4, "looked_at": 15}]
    assert partial._places([5, 6], [], {"_id": 6}, 15) == [{"_id": 6, "looked_at": 17}]
    world = world_with(MATCHING, {"phase": "queueing", "_id": 3, "looked_at": 4, "queued": 2})
    assert (await run(world))[1] == {"looked_at": 7, "queued": 5, "refused": []}


async def test_a_query_that_matches_nothing_ends_too() -> None:
    world = world_with(Chosen({"from": 99}, 0, 7))
    assert await run(world) == ("done", {"looked_at": 7, "queued": 0, "refused": []})
    assert world.queued() == []


async def test_a_query_that_mongodb_refuses_fails_the_job_and_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> list[Any]:
        raise RouteUnusable("route listings: MongoDB refuses its filter")

    monkeypatch.setattr(Source, "matching_keys", refuse)
    world = world_with(MATCHING)
    ending, result = await run(world)
    assert (ending, "refuses its filter" in result["error"]) == ("failed", True)


async def test_listed_keys_are_queued_whether_they_have_documents_or_not() -> None:
    world = world_with(listed(4), keys=[3, 99, 5, 98])
    assert await run(world) == ("done", {"looked_at": 4, "queued": 4, "refused": []})
    assert world.queued() == [3, 5, 98, 99]
    await world.look()
    assert world.jobs.keys.lists == {}, "the list is not needed any more"


async def test_a_list_goes_on_within_its_page() -> None:
    cursor = {"phase": "queueing", "looked_at": 2, "queued": 2, "page": 0, "at": 2}
    world = world_with(listed(4), cursor, keys=[1, 2, 3, 4])
    await run(world)
    assert world.queued() == [3, 4]


async def test_a_list_of_several_pages_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "PAGE", PAGE)
    keys = list(range(10))

    async def page(self: MemoryKeys, job: str, number: int) -> list[Any]:
        return keys[number * PAGE : (number + 1) * PAGE]

    monkeypatch.setattr(MemoryKeys, "page", page)
    world = world_with(listed(10))
    assert (await run(world))[1]["queued"] == 10
    assert world.queued() == keys


async def test_a_list_that_was_not_restored_fails_the_job() -> None:
    world = world_with(listed(4))
    ending, result = await run(world)
    assert (ending, "restored without them" in result["error"]) == ("failed", True)
    assert world.queued() == []


class TestManyDeletions:
    """Ids without a document are deleted, so a list for the wrong route must not empty a collection."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(partial, "FEW_DELETIONS", 2)

    def world_of(self, chosen: Chosen, documents: int | None, monkeypatch: pytest.MonkeyPatch) -> World:
        world = world_with(chosen, keys=[0, 1, 97, 98, 99])
        sides = world.filed._kinds[ROUTE.name].open_sides

        class Target:
            async def collection(self, name: str) -> Any:
                return None if documents is None else {"num_documents": documents}

        def open_sides() -> Any:
            made = sides()
            object.__setattr__(made, "target", Target())
            return made

        monkeypatch.setattr(world.filed._kinds[ROUTE.name], "open_sides", open_sides)
        return world

    async def test_are_refused_before_anything_is_queued(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = self.world_of(listed(5, allow_mass_delete=False), 14, monkeypatch)
        ending, result = await run(world)
        assert ending == "failed"
        assert "no document for 3 of its 5 ids" in result["error"]
        assert "--allow-mass-delete" in result["error"]
        assert world.queued() == []

    @pytest.mark.parametrize(
        ("documents", "allowed"),
        [(15, False), (14, True), (None, False)],
        ids=["few of the collection", "a person allows it", "no collection"],
    )
    async def test_are_carried_out_otherwise(
        self, documents: int | None, allowed: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = self.world_of(listed(5, allow_mass_delete=allowed), documents, monkeypatch)
        assert (await run(world))[0] == "done"
        assert world.queued() == [0, 1, 97, 98, 99]


async def test_lists_without_a_job_are_looked_for_once_in_a_term() -> None:
    world = world_with(listed(1), keys=[1])
    await world.look()
    await world.look()
    assert world.jobs.keys.unowned == [{"one"}]


def test_a_query_comes_back_as_it_was() -> None:
    query = {"a": {"$gte": 1.0}, "b": None, "$or": [{"c": True}]}
    chosen = Chosen(query, 0, 3, reason="the field b was added")
    assert partial_reconciles.chosen_from_bson(chosen.to_bson()) == chosen
