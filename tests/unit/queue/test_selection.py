"""Which tier becomes the queue, and when it goes back: the best that is well, and no flapping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.queue.selection import (
    FIT_S,
    MAX_FAIL_BACK_WAIT_S,
    PREFERENCE,
    STEADY_S,
    SetAside,
    better_tiers,
    choose_tier,
    count_flaps,
    fail_back_wait_s,
    tier_to_go_back_to,
)

tiers = st.sampled_from(PREFERENCE)


@pytest.mark.parametrize(
    ("healthy", "chosen"),
    [
        ({"primary", "backup", "mongo"}, "primary"),
        ({"backup", "mongo"}, "backup"),
        ({"primary"}, "primary"),
        ({"mongo"}, "mongo"),
        (set(), "mongo"),
    ],
)
def test_the_best_healthy_tier_is_chosen_and_mongodb_as_the_last_resort(healthy: set[str], chosen: str) -> None:
    assert choose_tier(healthy) == chosen


def test_the_queue_fails_back_only_to_better_tiers() -> None:
    assert [better_tiers(tier) for tier in PREFERENCE] == [(), ("primary",), ("primary", "backup")]


@pytest.mark.parametrize(
    ("current", "healthy_for_s", "target"),
    [
        ("backup", {"primary": 30.0}, "primary"),
        ("backup", {"primary": 29.9}, None),
        ("backup", {}, None),
        ("mongo", {"primary": 3.0, "backup": 31.0}, "backup"),
        ("mongo", {"primary": 31.0, "backup": 31.0}, "primary"),
        ("primary", {"backup": 1_000.0}, None),
    ],
)
def test_a_better_tier_must_have_been_healthy_for_the_whole_wait(
    current: str, healthy_for_s: dict[str, float], target: str | None
) -> None:
    assert tier_to_go_back_to(current, healthy_for_s, 30.0) == target


@given(after_s=st.floats(1, 3600), flaps=st.integers(0, 10_000))
def test_the_wait_grows_with_every_flap_up_to_a_limit(after_s: float, flaps: int) -> None:
    wait_s, next_s = fail_back_wait_s(after_s, flaps), fail_back_wait_s(after_s, flaps + 1)
    assert after_s <= wait_s <= next_s <= max(after_s, MAX_FAIL_BACK_WAIT_S)


def test_the_first_wait_is_the_setting_and_then_it_doubles() -> None:
    assert [fail_back_wait_s(30.0, flaps) for flaps in (0, 1, 2, 3)] == [30.0, 30.0, 60.0, 120.0]


@given(old=tiers, new=tiers, flaps=st.integers(0, 20), lasted_s=st.floats(0, 10 * STEADY_S))
def test_a_flap_is_a_step_down_soon_after_the_last(old: str, new: str, flaps: int, lasted_s: float) -> None:
    down = PREFERENCE.index(new) > PREFERENCE.index(old)
    expected = flaps if not down else 1 if lasted_s >= STEADY_S else flaps + 1
    assert count_flaps(flaps, old, new, lasted_s) == expected


# Tiers whose probes mean nothing


def test_a_tier_that_fails_once_may_be_the_queue_again_at_once() -> None:
    """It was emptied, perhaps, and is as good as ever."""
    set_aside = SetAside(30.0)
    set_aside.failed("primary", lasted_s=5.0, now_s=100.0)
    assert set_aside.why("primary", 100.0) == ""


def test_a_tier_that_fails_again_and_again_is_set_aside_for_longer_each_time() -> None:
    set_aside, now_s, pauses_s = SetAside(30.0), 100.0, []
    for _ in range(8):
        set_aside.failed("primary", lasted_s=5.0, now_s=now_s)
        began_s = now_s
        while set_aside.why("primary", now_s):
            now_s += 1.0
        pauses_s.append(now_s - began_s)
        now_s += 1_000.0  # however long it is not the queue meanwhile
    assert pauses_s == [0.0, 30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    assert set_aside.why("backup", now_s) == ""


def test_a_tier_that_was_fit_for_a_while_starts_over() -> None:
    set_aside = SetAside(30.0)
    for _ in range(4):
        set_aside.failed("primary", lasted_s=5.0, now_s=100.0)
    set_aside.failed("primary", lasted_s=FIT_S, now_s=1_000.0)
    assert set_aside.why("primary", 1_000.0) == ""


def test_mongodb_is_never_set_aside() -> None:
    set_aside = SetAside(30.0)
    for _ in range(9):
        set_aside.failed("mongo", lasted_s=0.0, now_s=100.0)
    assert set_aside.why("mongo", 100.0) == ""
