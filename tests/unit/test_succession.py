"""One replica after another, without servers: when the next one begins, what is done ahead, what changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count, cycle
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.core.health import Health
from tsync_stream.core.model import Route
from tsync_stream.replica import Replica
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declaration_bson import declaration_to_bson
from tsync_stream.routes.generations import EffectiveTable
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.in_force import InForce
from tsync_stream.settings.load import default_settings
from tsync_stream.state.generations import Generations, Reindex, UnreadableGenerations
from tsync_stream.succession import CHECK, Documents, Succession

SETTINGS = default_settings()
NAME = SETTINGS.route_name
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
FIRST = Generations.first(NAME, SETTINGS.typesense.collection_name, "c_1")
DECLARED = Declaration(Route(NAME, SETTINGS.mongo.database, SETTINGS.mongo.collection, FIRST.target))
FILED = FIRST.filed(Reindex("job", 2, 1, "building", NOW, NOW), declaration_to_bson(DECLARED), "c_1")
SECOND = f"{NAME}@2"


class World:
    """What is stored, what happened to which replica, and what a test makes of it."""

    def __init__(self) -> None:
        self.health = Health()
        self.happened: list[str] = []
        self.documents: Documents | Exception = {}
        self.in_force_elsewhere = ""
        self.group_looks = 0
        self.captures = True
        self.nobody_captures: Callable[[], bool] = lambda: False
        self.refuses = ""
        self.answering, self.warming = asyncio.Event(), asyncio.Event()
        self.answering.set()
        self.warming.set()
        self.made: list[InForce] = []
        self.crashes: list[BaseException] = []

    def make(self, in_force: InForce, table: EffectiveTable) -> Replica:
        if self.refuses:
            raise ConfigurationError(self.refuses)
        self.made.append(in_force)
        return cast(Replica, FakeReplica(self, len(self.made), table))

    async def read(self, _in_force: InForce, _declared: RouteTable) -> Documents:
        return self.stored()

    def stored(self) -> Documents:
        if isinstance(self.documents, Exception):
            raise self.documents
        return self.documents

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    async def until_happened(self, *expected: str) -> None:
        await self.until(lambda: len(self.happened) >= len(expected))
        assert self.happened == list(expected)

    async def looks_go_by(self, succession: Succession, count: int = 3) -> None:
        """Wait until what is stored was looked at a few times."""
        present = cast(FakeReplica, succession.replica)
        seen = present.looks
        await self.until(lambda: present.looks >= seen + count)


class FakeReplica:
    joined = True

    def __init__(self, world: World, number: int, table: EffectiveTable) -> None:
        self._world = world
        self._number = number
        self.table = table
        self.looks = 0

    @property
    def captures(self) -> bool:
        return self._world.captures

    @property
    def nobody_captures(self) -> bool:
        return self._world.nobody_captures()

    def _happened(self, what: str) -> None:
        self._world.happened.append(f"{what} {self._number}")

    async def generations(self) -> Documents:
        await self._world.answering.wait()
        self.looks += 1
        return self._world.stored()

    async def table_in_force(self) -> str:
        self._world.group_looks += 1
        return self._world.in_force_elsewhere

    def take_no_more(self) -> None:
        if self._world.happened[-1] != f"no more for {self._number}":
            self._happened("no more for")

    async def warm_up(self, targets: Collection[str] = ()) -> None:
        await self._world.warming.wait()
        self._happened(f"warm up {', '.join(targets)}".strip())

    async def start(self, _crash: Any) -> None:
        self._happened("start")

    async def stop(self) -> None:
        self._happened("stop")

    async def close(self) -> None:
        self._happened("close")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("succession.LOOK_INTERVAL_S", "succession.WAIT_S", "replica.START_RETRY_S"):
        monkeypatch.setattr(f"tsync_stream.{name}", 0.01)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Succession]:
    made = Succession(InForce.at_start(SETTINGS), world.make, world.health, world.crashes.append, (), world.read)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await made.stop_following(task)
    await made.end()
    assert world.crashes == []


async def test_nothing_works_before_the_table_is_known() -> None:
    world = World()
    world.documents = DependencyUnavailable("MongoDB: gone")
    async with running(world) as succession:
        await world.until(lambda: "start" in world.health.problems)
        assert repr(succession) == "<Succession, now None>"
        assert world.made == []
        world.documents = {NAME: FILED}
        await world.until_happened("start 1")
        assert succession.replica is not None
        assert list(succession.replica.table) == [NAME, SECOND]
        assert world.health.problems == {}
    await world.until_happened("start 1", "stop 1")


async def test_settings_that_change_before_that_are_those_of_the_first_replica() -> None:
    world = World()
    world.documents = DependencyUnavailable("MongoDB: gone")
    async with running(world) as succession:
        later = InForce.at_start(SETTINGS)
        await succession.make_anew(later)
        await world.until_happened("close 1")
        world.documents = {}
        await world.until_happened("close 1", "start 2")
        assert world.made[-1] is later


async def test_who_captures_prepares_a_new_layout_and_goes_first() -> None:
    world = World()
    async with running(world) as succession:
        await world.until_happened("start 1")
        world.documents = {NAME: FILED}
        await world.until_happened("start 1", "warm up 2", f"warm up {SECOND} 2", "stop 1", "start 2")
        assert succession.replica is not None
        assert list(succession.replica.table) == [NAME, SECOND]
        await world.looks_go_by(succession)
        assert len(world.happened) == 5


async def test_the_others_take_no_more_and_follow_when_the_table_is_in_force() -> None:
    world = World()
    world.captures = False
    async with running(world) as succession:
        await world.until_happened("start 1")
        world.documents = {NAME: FILED}
        await world.until_happened("start 1", "warm up 2", "no more for 1")
        assert succession.replica is not None
        world.in_force_elsewhere = succession.replica.table.version
        looks = world.group_looks
        await world.until(lambda: world.group_looks > looks + 3)
        assert world.happened[-1] == "no more for 1"
        world.in_force_elsewhere = "another one"
        await world.until_happened("start 1", "warm up 2", "no more for 1", "stop 1", "start 2")


async def test_one_that_nobody_goes_before_goes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsync_stream.succession.LONGEST_WAIT_S", 0.1)
    world = World()
    world.captures = False
    async with running(world):
        await world.until_happened("start 1")
        world.documents = {NAME: FILED}
        await world.until_happened("start 1", "warm up 2", "no more for 1", "stop 1", "start 2")


async def test_the_others_go_on_once_nobody_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsync_stream.succession.WITHOUT_CAPTURE_S", 0.1)
    world = World()
    world.captures = False
    async with running(world):
        await world.until_happened("start 1")
        world.documents = {NAME: FILED}
        await world.until_happened("start 1", "warm up 2", "no more for 1")
        world.nobody_captures = lambda: True
        await world.until_happened("start 1", "warm up 2", "no more for 1", "stop 1", "start 2")


async def test_a_capture_that_only_changes_hands_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()
    monkeypatch.setattr("tsync_stream.succession.clock", SimpleNamespace(now_s=lambda: float(next(seconds))))
    monkeypatch.setattr("tsync_stream.succession.WITHOUT_CAPTURE_S", 5.0)
    monkeypatch.setattr("tsync_stream.succession.LONGEST_WAIT_S", 1_000.0)
    world = World()
    world.captures = False
    free = cycle([True, False])
    world.nobody_captures = lambda: next(free)
    async with running(world):
        await world.until_happened("start 1")
        world.documents = {NAME: FILED}
        await world.until(lambda: world.group_looks >= 20)
        assert world.happened == ["start 1", "warm up 2", "no more for 1"]
        world.nobody_captures = lambda: True
        await world.until_happened("start 1", "warm up 2", "no more for 1", "stop 1", "start 2")


async def test_showing_another_generation_restarts_nothing() -> None:
    world = World()
    world.documents = {NAME: FILED}
    async with running(world) as succession:
        await world.until_happened("start 1")
        world.documents = {NAME: replace(FILED.showing(2), revision=9)}
        await world.looks_go_by(succession)
        assert world.happened == ["start 1"]


async def test_what_cannot_be_made_changes_nothing_until_it_can() -> None:
    world = World()
    async with running(world) as succession:
        await world.until_happened("start 1")
        world.refuses = "no such file"
        world.documents = {NAME: FILED}
        await world.until(lambda: CHECK in world.health.problems)
        problem = world.health.problems[CHECK]
        assert (problem.level, problem.needs_person) == ("red", True)
        assert "no such file" in problem.text
        with pytest.raises(ConfigurationError):
            await succession.make_anew(InForce.at_start(SETTINGS))
        assert world.happened == ["start 1"]
        world.refuses = ""
        await world.until(lambda: "start 2" in world.happened)
        assert CHECK not in world.health.problems


@pytest.mark.parametrize(
    ("found", "told"), [(DependencyUnavailable("MongoDB: gone"), False), (UnreadableGenerations("broken"), True)]
)
async def test_what_cannot_be_read_is_told_unless_it_is_an_outage(found: Exception, told: bool) -> None:
    world = World()
    async with running(world) as succession:
        await world.until_happened("start 1")
        world.documents = found
        await world.looks_go_by(succession)
        assert (CHECK in world.health.problems) is told
        world.documents = {}
        await world.until(lambda: CHECK not in world.health.problems)
        assert world.happened == ["start 1"]


async def test_a_reload_and_a_new_layout_take_turns() -> None:
    world = World()
    async with running(world) as succession:
        await world.until_happened("start 1")
        assert succession.replica is not None
        version = succession.replica.table.version
        world.warming.clear()
        world.answering.clear()  # the next look ends while the reload goes on, and finds what is filed by then
        in_force = InForce.at_start(SETTINGS)
        in_force.instead_of = "the file of before"
        reloading = asyncio.create_task(succession.make_anew(in_force))
        await world.until(lambda: len(world.made) == 2)
        world.documents = {NAME: FILED}
        world.answering.set()
        await world.looks_go_by(succession, 1)
        assert len(world.made) == 2
        world.warming.set()
        await reloading
        await world.until(lambda: "start 3" in world.happened)
        assert world.happened[1:4] == ["warm up 2", "stop 1", "start 2"]
        assert in_force.instead_of == "", "it is a member by now"
        assert world.made[2] is in_force
        assert succession.replica.table.version != version


async def test_a_reload_replaces_the_table_of_the_replica_before() -> None:
    world = World()
    async with running(world) as succession:
        await world.until_happened("start 1")
        assert succession.replica is not None
        version = succession.replica.table.version
        in_force = InForce.at_start(SETTINGS)
        in_force.instead_of = "the file of before"
        await succession.make_anew(in_force)
        assert in_force.instead_of == version


async def test_a_stop_does_not_wait_for_what_is_done_ahead() -> None:
    world = World()
    async with running(world):
        await world.until_happened("start 1")
        world.warming.clear()
        world.documents = {NAME: FILED}
        await world.until(lambda: len(world.made) == 2)
    assert world.happened == ["start 1", "close 2", "stop 1"]
