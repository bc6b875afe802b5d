"""What a replica reports as unreachable and reachable, after its patience, and what its health says sooner."""

import asyncio
from functools import partial
from typing import Any

import pytest

from tests.support.waiting import HANG_S, eventually
from tsync_stream.cluster import reachability as reach_module
from tsync_stream.cluster.reachability import GREEN_AFTER_S, TOLD_AFTER_S, AnyOf, OneAtATime, Reach
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TierRefused, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.wake import Wake

PATIENCE_S = 10.0


class Server:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.answers = True
        self.error: TsyncError = DependencyUnavailable("away")

    async def look(self) -> None:
        if not self.answers:
            raise self.error


def made(wake: Wake | None = None, patience_s: float = PATIENCE_S, tier: str | None = "primary", **looks: Any) -> Reach:
    return Reach(looks, patience_s, wake or Wake(), Health(), lambda: tier)


async def test_between_unreachable_and_reachable_lies_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "now_s", lambda: now_s)
    server, other = Server(), Server()
    reach = made(server=server.look, other=other.look)
    said = []
    for second in range(50):
        server.answers = not 15 <= second < 30
        for name, look in (("server", server.look), ("other", other.look)):
            await reach._look(name, look)
        report = reach.report()
        said.append(("server" in report["unreachable"], "server" in report["reachable"]))
        assert "other" not in report["unreachable"]
        assert ("other" in report["reachable"]) == (second > PATIENCE_S)
        now_s += 1.0
    unreachable = [second for second, (missed, _) in enumerate(said) if missed]
    reachable = [second for second, (_, reached) in enumerate(said) if reached]
    assert unreachable == [25, 26, 27, 28, 29], "from the patience after its last answer until it answers"
    assert reachable == [11, 12, 13, 14, *range(40, 50)], "from the patience after its last silence until the next"


async def test_whoever_waits_for_a_server_is_woken_when_it_answers_again() -> None:
    server, wake = Server(), Wake()
    reach = made(wake, server=server.look)
    server.answers = False
    await reach._look("server", server.look)
    waiting = asyncio.create_task(wake.wait(60.0))
    await reach._look("server", server.look)
    await asyncio.sleep(0)
    assert not waiting.done(), "it does not answer yet"
    assert repr(reach) == "Reach(server: away)"
    server.answers = True
    await reach._look("server", server.look)
    async with asyncio.timeout(HANG_S):
        await waiting
    assert repr(reach) == "Reach(server: answers)"


async def test_looks_are_so_frequent_that_a_server_that_answers_is_never_unreachable() -> None:
    patience_s = 0.2
    server = Server()
    reach = made(patience_s=patience_s, server=server.look)
    looking = asyncio.create_task(reach.run())
    ends_s = clock.now_s() + 4 * patience_s
    try:
        while clock.now_s() < ends_s:
            assert reach.report()["unreachable"] == []
            await asyncio.sleep(0.01)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert reach.report()["reachable"] == ["server"]


class Looks:
    """A reach whose one server is looked at once in a second of a clock that only moves then."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch, tier: str | None = "primary") -> None:
        self.server, self.now_s = Server(), 100.0
        monkeypatch.setattr(clock, "now_s", lambda: self.now_s)
        self.health = Health()
        self._name = name
        self._reach = Reach({name: self.server.look}, PATIENCE_S, Wake(), self.health, lambda: tier)

    async def look(self, seconds: float) -> str:
        for _ in range(int(seconds)):
            await self._reach._look(self._name, self.server.look)
            self.now_s += 1.0
        return self.health.status


async def test_health_tells_of_a_server_that_nobody_needs_now(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks("typesense", monkeypatch)
    assert await looks.look(10) == "green"
    looks.server.answers = False
    assert await looks.look(TOLD_AFTER_S - 1) == "green", "one look that fails is no outage"
    assert await looks.look(2) == "degraded"
    assert "away" in looks.health.problems["server typesense"].text
    looks.server.answers = True
    assert await looks.look(GREEN_AFTER_S - 1) == "degraded"
    assert await looks.look(2) == "green"


async def test_a_server_that_answers_only_now_and_then_is_not_green(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks("mongodb", monkeypatch)
    looks.server.answers = False
    assert await looks.look(10) == "degraded"
    for _ in range(10):
        looks.server.answers = True
        assert await looks.look(3) == "degraded"
        looks.server.answers = False
        assert await looks.look(1) == "degraded"


@pytest.mark.parametrize(
    ("name", "tier", "kind"),
    [
        ("primary", "primary", "fault"),
        ("backup", "primary", "notice"),
        ("primary", "backup", "notice"),
        ("backup", "mongo", "notice"),
    ],
)
async def test_a_redis_that_is_not_the_queue_is_a_lost_reserve(
    name: str, tier: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(name, monkeypatch, tier)
    looks.server.answers = False
    assert await looks.look(10) == "degraded"
    assert looks.health.problems[f"server {name}"].kind == kind


@pytest.mark.parametrize(("name", "error"), [("primary", TierRefused), ("mongodb", ConfigurationError)])
async def test_what_a_person_must_repair_is_red(
    name: str, error: type[TsyncError], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(name, monkeypatch, "primary")
    looks.server.answers, looks.server.error = False, error("the password is refused")
    assert await looks.look(10) == "red"


async def test_a_refusal_needs_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks("backup", monkeypatch)
    looks.server.answers, looks.server.error = False, TierRefused("BACKUP_REDIS_PASSWORD: refused")
    assert await looks.look(1) == "degraded", "that is an answer, and needs no second look"
    (problem,) = looks.health.problems.values()
    assert problem.needs_person
    assert "BACKUP_REDIS_PASSWORD" in problem.text


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(reach_module, "LOOK_DEADLINE_S", 0.05)
    return 0.05


async def test_a_look_that_cannot_be_cancelled_is_not_repeated_and_fails_when_late(
    short_deadline: float,
) -> None:
    began, may_end = 0, asyncio.Event()

    async def look() -> None:
        nonlocal began
        began += 1
        await may_end.wait()

    once = OneAtATime("the server", look)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(short_deadline):
                await once()
    assert began == 1, "each would hold a thread of the driver's"
    may_end.set()
    with pytest.raises(DependencyUnavailable, match="the server: it takes longer"):
        await once()
    await once()
    await eventually(lambda: began == 2)


async def test_its_representation_says_which_servers_answer() -> None:
    server, other = Server(), Server()
    reach = made(mongodb=server.look, typesense=other.look)
    other.answers = False
    await reach._look("mongodb", server.look)
    await reach._look("typesense", other.look)
    assert repr(reach) == "Reach(mongodb: answers, typesense: away)"


def looks_of(outcomes: dict[str, Exception | None], seen: list[str]) -> AnyOf:
    async def look(name: str) -> None:
        seen.append(name)
        if error := outcomes[name]:
            raise error

    return AnyOf(partial(look, name) for name in outcomes)


async def test_a_server_answers_if_one_of_its_collections_does() -> None:
    seen: list[str] = []
    outcomes: dict[str, Exception | None] = {"a": ConfigurationError("refused"), "b": None, "c": None}
    look = looks_of(outcomes, seen)
    await look()
    await look()
    assert seen == ["a", "b", "b"], "the next look begins with the one that answered"
    outcomes["b"] = ConfigurationError("refused")
    await look()
    assert seen[3:] == ["b", "c"]


async def test_a_server_that_is_away_is_asked_once() -> None:
    seen: list[str] = []
    with pytest.raises(DependencyUnavailable):
        await looks_of({"a": DependencyUnavailable("away"), "b": None}, seen)()
    assert seen == ["a"]


async def test_a_server_that_refuses_all_of_many_collections_is_not_asked_for_each() -> None:
    seen: list[str] = []
    look = looks_of({name: ConfigurationError(name) for name in "abcdefg"}, seen)
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            await look()
    assert seen == list("abcdefgabc")
