"""Jobs that people pause: they stop within a look, make room for others, and go on where they stopped; no server."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.waiting import eventually
from tests.unit.jobs.test_runner import ROUTE, SELLERS, World
from tests.unit.jobs.test_runner import no_waiting as no_waiting
from tsync_stream.jobs import control
from tsync_stream.jobs.ledger import PAUSED_CHECK
from tsync_stream.state.jobs import DONE, VERIFY
from tsync_stream.state.route_state import ReconcileNeed


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LOOK_S", 0.001)


def phases(world: World) -> dict[str, str]:
    """What each open job does, by its id."""
    return {job.id: state.phase for job, state in zip(world.filed._open, world.filed.states(), strict=True)}


async def test_a_paused_job_does_not_begin_and_the_next_one_of_its_route_does() -> None:
    world = World(records=4)
    world.jobs.file("one")
    world.jobs.file("two")
    world.jobs.wish("one", paused=True)
    async with world.at_work():
        await world.look()
        assert phases(world) == {"one": "paused", "two": "wait"}
        await eventually(lambda: world.term.appended.cursors.get("two", {}).get("phase") == DONE)
        assert "one" not in world.records.marked
        problem = world.health.problems[PAUSED_CHECK]
        assert (problem.level, problem.needs_person) == ("degraded", False)
        assert "replay one of route listings" in problem.text
        assert "`tsync replay --resume one`" in problem.text
        await world.look(all_synced=True)
        await eventually(lambda: "two" in world.jobs.ended)
        world.jobs.wish("one", paused=False)
        await world.look()
        await eventually(lambda: world.term.appended.cursors.get("one", {}).get("phase") == DONE)
    assert PAUSED_CHECK not in world.health.problems


async def test_a_running_job_stops_and_goes_on_from_its_last_batch() -> None:
    world = World(records=30)
    world.jobs.file("one")
    world.held = []
    async with world.at_work() as task:
        await world.look()
        await eventually(lambda: len(world.held or ()) == World.MOST_HELD)
        world.jobs.wish("one", paused=True)
        await world.look()
        world.go_on.set()
        await asyncio.sleep(0.02)  # enough time for what it must not do
        assert len(world.held) == World.MOST_HELD
        assert "running one" in repr(world.filed), "its last batch is on its way, and whoever goes on begins there"
        for batch in world.held:
            await world.arrive(batch)
        world.held = None
        await eventually(lambda: "running nothing" in repr(world.filed))
        await world.look()
        stopped_at = world.term.appended.cursors["one"]["queued"]
        assert world.queued() == list(range(stopped_at))
        assert phases(world) == {"one": "paused"}
        assert not world.filed.has_open(ROUTE.name), "a background verification may run meanwhile"
        world.jobs.wish("one", paused=False)
        await world.look()
        await eventually(lambda: world.term.appended.cursors["one"]["phase"] == DONE)
        assert not task.done()
    assert world.queued() == list(range(30)), "each once"


async def test_a_paused_job_of_one_route_holds_up_no_other_route() -> None:
    world = World(records=3, routes=(ROUTE, SELLERS))
    world.jobs.file("one", VERIFY, repair=False, documents=7)
    world.jobs.file("two", route=SELLERS.name)
    world.jobs.wish("one", paused=True)
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.term.appended.cursors.get("two", {}).get("phase") == DONE)
    assert "one" not in world.term.appended.cursors


async def test_what_is_queued_as_a_whole_is_not_paused_any_more() -> None:
    world = World(records=3)
    world.jobs.file("one")
    async with world.at_work():
        await world.look()
        await eventually(lambda: world.term.appended.cursors.get("one", {}).get("phase") == DONE)
        world.jobs.wish("one", paused=True)
        await world.look()
        assert phases(world) == {"one": "sync"}
        await world.look(all_synced=True)
        await eventually(lambda: "one" in world.jobs.ended)


async def test_a_cancelled_job_that_was_paused_is_forgotten() -> None:
    world = World(records=3)
    world.jobs.file("one")
    world.jobs.wish("one", paused=True)
    await world.look()
    await world.jobs.end("one", "cancelled")
    await world.look()
    assert world.filed.states() == []
    assert PAUSED_CHECK not in world.health.problems


async def test_whoever_stops_capturing_tells_of_no_paused_job_any_more() -> None:
    world = World(records=3)
    world.jobs.file("one")
    world.jobs.wish("one", paused=True)
    async with world.at_work():
        await world.look()
        await asyncio.sleep(0)
        assert PAUSED_CHECK in world.health.problems
    assert PAUSED_CHECK not in world.health.problems


async def test_a_paused_reconcile_queues_nothing_until_it_is_resumed() -> None:
    need = ReconcileNeed("r1", "the first start", paused=True)
    world = World(records=0, needs={ROUTE.name: need})
    (needed,) = world.running._needed
    task = asyncio.create_task(needed.run(need))
    try:
        await world.look()
        await asyncio.sleep(0.02)  # enough time for what it must not do
        state = needed.state()
        assert state is not None
        assert (world.queued(), state.phase) == ([], "paused")
        resumed = replace(need, paused=False, rate_per_s=1_000)
        world.pipeline = world.pipeline.with_route(ROUTE.name, reconcile=resumed)
        await world.look()
        await eventually(lambda: world.queued() == list(range(7)))
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
