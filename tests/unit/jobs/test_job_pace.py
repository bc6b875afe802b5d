"""Jobs queue no faster than their keys can be written."""

import asyncio

import pytest

from tests.support.waiting import HANG_S
from tsync_stream.core.pacer import MaxRates
from tsync_stream.jobs.job_pace import MOST_UNSYNCED_S, PAGE_S, SHARE_OF_JOBS, JobPace


def nothing_waits() -> int:
    return 0


async def test_without_a_rate_pages_are_whole_and_nothing_waits() -> None:
    pace = JobPace(MaxRates())
    pace.took("a", 10**9)
    await pace.turn("a", lambda: 10**9)
    assert (pace.page("a", 1_000), pace.most_waiting(8_000)) == (1_000, 8_000)


def test_pages_and_what_waits_in_the_queue_follow_the_rate() -> None:
    pace = JobPace(MaxRates(1_000.0, {"a": 100.0, "b": 1.0}))
    assert pace.page("a", 1_000) == int(100 * SHARE_OF_JOBS * PAGE_S)
    assert pace.page("b", 1_000) == 1
    assert pace.page("c", 1_000) == int(1_000 * SHARE_OF_JOBS * PAGE_S)
    assert pace.most_waiting(8_000) == 1_000 * MOST_UNSYNCED_S
    assert pace.most_waiting(700) == 700


@pytest.mark.parametrize("rates", [MaxRates(200.0), MaxRates(None, {"a": 200.0}), MaxRates(200.0, {"a": 10_000.0})])
async def test_jobs_stay_below_the_rate(rates: MaxRates, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr("tsync_stream.core.pacer.clock.now_s", lambda: now_s)
    monkeypatch.setattr("tsync_stream.core.pacer.asyncio.sleep", sleep)
    pace, queued = JobPace(rates), 0
    while now_s < 10.0:
        await pace.turn("a", nothing_waits)
        count = pace.page("a", 20)
        pace.took("a", count)
        queued += count
    assert queued == pytest.approx(10 * 200 * SHARE_OF_JOBS, rel=0.03)


async def test_a_slow_route_holds_up_no_other_and_stops_while_its_own_keys_pile_up() -> None:
    pace = JobPace(MaxRates(None, {"slow": 10.0}))
    pace.took("slow", 1_000)
    async with asyncio.timeout(HANG_S):
        await pace.turn("other", lambda: 10**9)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await pace.turn("slow", nothing_waits)
    pace, unsynced = JobPace(MaxRates(None, {"slow": 10.0})), 51
    waiting = asyncio.create_task(pace.turn("slow", lambda: unsynced))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    unsynced = 50
    async with asyncio.timeout(HANG_S):
        await waiting
