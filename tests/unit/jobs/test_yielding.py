"""Jobs yield to searches: slower while those take longer than usual, at full pace otherwise, never at a standstill."""

import logging
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.pacer import MaxRates
from tsync_stream.jobs.job_pace import PAUSE_S, JobPace
from tsync_stream.jobs.yielding import LEAST_PER_S, WINDOW_S, Searches, Yielding, searches_now
from tsync_stream.sink.http import Answer

FULL_PER_S = 4_000.0


def answer(per_s: float, took_ms: float) -> Answer:
    stats = {"search_requests_per_second": per_s, "search_latency_ms": took_ms}
    return Answer(200, orjson.dumps(stats))


def load(yielding: Yielding, windows: int, took_ms: Callable[[float], float], searches_per_s: float = 20) -> float:
    """Windows of a first load beside searches, which take as long as `took_ms` says of its pace; returns the last."""
    pace_per_s = 0.0
    for _ in range(windows):
        pace_per_s = FULL_PER_S if yielding.per_s is None else min(FULL_PER_S, yielding.per_s)
        yielding.note(Searches(searches_per_s, took_ms(pace_per_s)), pace_per_s)
    return pace_per_s


def begun() -> Yielding:
    """Searches took 10 ms before the load."""
    yielding = Yielding()
    yielding.note(Searches(20, 10.0), 0.0)
    return yielding


def test_a_load_that_slows_no_search_keeps_its_pace() -> None:
    yielding = begun()
    assert load(yielding, 50, lambda pace: 10.0 + pace / 1_000) == FULL_PER_S
    assert yielding.per_s is None


def test_a_load_that_slows_searches_finds_the_pace_that_they_bear() -> None:
    yielding = begun()
    paces = [load(yielding, 1, lambda pace: 10.0 * (1 + pace / 800)) for _ in range(60)][10:]
    assert all(200 <= pace <= 1_600 for pace in paces)
    assert 400 <= sum(paces) / len(paces) <= 1_000, "about that at which they take twice as long"
    assert max(paces) > 800, "it tries again and again whether more is possible"


def test_without_searches_a_load_is_at_full_pace_at_once() -> None:
    yielding = begun()
    load(yielding, 5, lambda _: 100.0)
    assert yielding.per_s is not None
    yielding.note(Searches(0.2, 400.0), 100.0)
    assert yielding.per_s is None


def test_searches_that_are_slow_for_another_reason_slow_no_job_for_long() -> None:
    yielding = begun()
    load(yielding, 10, lambda _: 40.0)
    assert yielding.per_s is not None
    assert load(yielding, 200, lambda _: 40.0) == FULL_PER_S, "that is usual by now"
    yielding = begun()
    yielding.note(Searches(20, 500.0), LEAST_PER_S / 2)
    assert yielding.per_s is None, "jobs hardly queue anything"


WINDOW = st.tuples(st.floats(0, 1e3), st.floats(0, 1e5), st.floats(0, 1e5))


@given(st.lists(WINDOW, max_size=100))
def test_a_job_always_goes_on_and_is_not_slowed_when_nobody_searches(windows: list[tuple[float, float, float]]) -> None:
    yielding = Yielding()
    for per_s, took_ms, queued_per_s in windows:
        yielding.note(Searches(per_s, took_ms), queued_per_s)
        assert yielding.per_s is None or yielding.per_s >= LEAST_PER_S
    yielding.note(Searches(0, 0), 0)
    assert yielding.per_s is None


@pytest.mark.parametrize(
    "told",
    [
        Answer(401, b'{"message": "Forbidden"}'),
        Answer(200, b"{}"),
        Answer(200, b"[]"),
        Answer(200, b"<html>"),
        Answer(200, b'{"search_requests_per_second": null, "search_latency_ms": 1}'),
    ],
)
async def test_what_typesense_does_not_say_limits_nothing(told: Answer) -> None:
    async def ask(*_: str) -> Answer:
        return told

    assert await searches_now(ask) is None

    async def fail(*_: str) -> Answer:
        raise DependencyUnavailable("away")

    assert await searches_now(fail) is None


async def test_a_pace_looks_once_in_a_window_and_tells_what_it_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now_s, asked, took_ms = 1_000.0, 0, 10.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    async def ask(method: str, path: str) -> Answer:
        nonlocal asked
        asked += 1
        assert (method, path) == ("GET", "/stats.json")
        return answer(20.0, took_ms)

    monkeypatch.setattr("tsync_stream.core.pacer.clock.now_s", lambda: now_s)
    monkeypatch.setattr("tsync_stream.core.pacer.asyncio.sleep", sleep)
    pace = JobPace(MaxRates(), ask)

    async def queue(seconds: float) -> float:
        """Queue pages of a job that could do 2,000 keys a second; returns how many keys it was, a second."""
        nonlocal now_s
        began_s, queued = now_s, 0
        while now_s - began_s < seconds:
            await pace.turn("a", lambda: 0)
            count = pace.page("a", 1_000)
            pace.took("a", count)
            queued += count
            now_s += count / 2_000
        return queued / (now_s - began_s)

    assert await queue(2 * WINDOW_S) == pytest.approx(2_000, rel=0.1)
    assert asked <= 3
    took_ms = 50.0
    await queue(2 * WINDOW_S)
    slowed = await queue(WINDOW_S)
    assert slowed <= 1_100
    assert pace.most_waiting(8_000) < 8_000
    assert pace.slowing == ["jobs are slowed, so that searches stay quick"]
    took_ms = 10.0
    await queue(25 * WINDOW_S)
    assert await queue(WINDOW_S) == pytest.approx(2_000, rel=0.1)
    assert pace.slowing == []
    told = [record.event for record in caplog.records if hasattr(record, "event")]
    assert told == ["jobs.yielding", "jobs.full_pace"]
    now_s += PAUSE_S + 1
    took_ms = 500.0
    await queue(3 * WINDOW_S)
    assert pace.slowing == [], "that is what searches took before this job"
