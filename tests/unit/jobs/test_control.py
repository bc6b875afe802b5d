"""What a person wants of a job: its rate is kept, a pause unwinds it, and neither needs a server."""

import asyncio
import logging

import pytest

from tsync_stream.jobs.control import JobControl, JobPaused, Latch

_sleep = asyncio.sleep  # as it is before it is replaced


class Time:
    """Moves on by what somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await _sleep(0)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr("tsync_stream.core.pacer.clock.now_s", lambda: made.now_s)
    monkeypatch.setattr("tsync_stream.jobs.control.asyncio.sleep", made.sleep)
    return made


async def taken_in(control: JobControl, seconds: float, time: Time, most: int = 1_000) -> int:
    """How many documents a job takes on in so many seconds."""
    taken, until_s = 0, time.now_s + seconds
    while True:
        await control.turn()
        if time.now_s >= until_s:
            return taken
        count = control.page(most)
        control.took(count)
        taken += count


@pytest.mark.parametrize("rate_per_s", [1, 40, 1_000])
async def test_a_rate_is_kept_in_small_pages(time: Time, rate_per_s: int) -> None:
    control = JobControl(rate_per_s=rate_per_s)
    assert control.page(1_000) == max(1, rate_per_s // 4)
    assert await taken_in(control, 60.0, time) == pytest.approx(60 * rate_per_s, rel=0.02, abs=1)


async def test_a_rate_that_changes_holds_at_once(time: Time) -> None:
    control = JobControl(rate_per_s=10)
    await taken_in(control, 10.0, time)
    control.note(paused=False, rate_per_s=200)
    assert await taken_in(control, 10.0, time) == pytest.approx(2_000, rel=0.05)


async def test_without_a_rate_nothing_waits(time: Time) -> None:
    control = JobControl()
    for _ in range(100):
        await control.turn()
        control.took(control.page(1_000))
    assert (control.page(1_000), time.now_s) == (1_000, 0.0)


async def test_a_pause_ends_a_wait_for_the_rate(time: Time) -> None:
    control = JobControl(rate_per_s=1)
    control.took(600)
    waiting = asyncio.create_task(control.turn())
    while time.now_s < 2.0:
        await _sleep(0)
    control.note(paused=True, rate_per_s=1)
    with pytest.raises(JobPaused):
        await waiting
    assert time.now_s < 3.0


async def test_a_pause_lasts_until_it_is_resumed_and_both_are_logged_once(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    control = JobControl("verify of listings v1")
    for _ in range(3):
        control.note(paused=True, rate_per_s=None)
    waiting = asyncio.create_task(control.resumed())
    while time.now_s < 5.0:
        await _sleep(0)
    assert not waiting.done()
    control.note(paused=False, rate_per_s=None)
    await waiting
    control.check()
    assert caplog.messages == ["verify of listings v1: paused by a person", "verify of listings v1: goes on"]


def test_a_latch_stays_closed() -> None:
    answers = [True, False, True]
    latch = Latch(lambda: answers.pop(0))
    assert [latch(), latch(), latch(), latch()] == [True, False, False, False]
