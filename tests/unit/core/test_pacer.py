"""A pacer keeps its rate, serves in order, and follows a rate that changes."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.core.pacer import CREDIT_S, MaxRates, Pacer


class Time:
    """Stands still until somebody sleeps, and then moves on by what they sleep and `late_s`."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.late_s = late_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds + self.late_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr("tsync_stream.core.pacer.clock.now_s", lambda: made.now_s)
    monkeypatch.setattr("tsync_stream.core.pacer.asyncio.sleep", made.sleep)
    return made


async def test_turns_come_at_the_rate_and_what_is_asked_for_is_paid_afterwards(time: Time) -> None:
    pacer = Pacer(lambda: 100.0)
    began_s = []
    for amount in (100, 50, 100, 1):
        await pacer.turn(amount)
        began_s.append(round(time.now_s, 6))
    assert began_s == [0.0, 1.0, 1.5, 2.5]


@pytest.mark.parametrize("late_s", [0.001, 0.04])
async def test_oversleeping_costs_nothing(time: Time, late_s: float) -> None:
    time.late_s = late_s
    pacer = Pacer(lambda: 200.0)
    for _ in range(100):
        await pacer.turn(20)
    assert time.now_s == pytest.approx(99 * 20 / 200, rel=0.02)


async def test_a_pause_saves_next_to_nothing_up(time: Time) -> None:
    pacer = Pacer(lambda: 100.0)
    await pacer.turn(10)
    time.now_s += 3_600
    await pacer.turn(100)
    began_s = time.now_s
    await pacer.turn(1)
    assert time.now_s - began_s == pytest.approx(1.0 - CREDIT_S)


async def test_whoever_asks_first_goes_first_whatever_the_amounts() -> None:
    pacer, order = Pacer(lambda: 1_000.0), []

    async def ask(name: str, amount: int) -> None:
        await pacer.turn(amount)
        order.append(name)

    await asyncio.gather(ask("first", 50), ask("large", 100), ask("small", 1), ask("last", 1))
    assert order == ["first", "large", "small", "last"]


async def test_a_new_rate_is_one_for_those_who_wait_too(time: Time) -> None:
    rate = 1.0
    pacer = Pacer(lambda: rate)
    await pacer.turn(1_000)
    place = pacer.take(1)
    assert pacer.left_s(place) == 1_000
    time.now_s += 10
    rate = 990.0
    assert pacer.left_s(place) < 1_000
    time.now_s += 1.1
    assert pacer.left_s(place) == 0


@given(
    rate=st.floats(0.5, 1e5),
    asked=st.lists(st.tuples(st.integers(1, 1_000), st.floats(0, 5)), min_size=1, max_size=30),
)
def test_no_stretch_of_time_gets_more_than_its_share(rate: float, asked: list[tuple[int, float]]) -> None:
    now_s = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsync_stream.core.pacer.clock.now_s", lambda: now_s)
        pacer = Pacer(lambda: rate)
        passed = []
        for amount, pause_s in asked:
            now_s += pause_s
            place = pacer.take(amount)
            now_s += pacer.left_s(place)
            assert pacer.left_s(place) < 1e-6
            passed.append((now_s, amount))
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            amounts = sum(amount for _, amount in passed[first:last])
            assert amounts <= (passed[last][0] - passed[first][0] + CREDIT_S) * rate * (1 + 1e-6) + 1e-6


def test_a_portion_is_what_passes_in_a_time_and_never_nothing() -> None:
    assert Pacer(lambda: 100.0).portion(0.5, 1_000) == 50
    assert Pacer(lambda: 5_000.0).portion(0.5, 1_000) == 1_000
    assert Pacer(lambda: 0.1).portion(0.5, 1_000) == 1


def test_the_lower_limit_of_a_route_counts() -> None:
    assert MaxRates().of("a") is None
    assert MaxRates(10.0).of("a") == 10.0
    assert MaxRates(10.0, {"a": 5.0, "b": 20.0}).of("a") == 5.0
    assert MaxRates(10.0, {"a": 5.0, "b": 20.0}).of("b") == 10.0
    assert MaxRates(None, {"a": 5.0}).of("b") is None
