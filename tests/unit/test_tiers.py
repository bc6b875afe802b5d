"""Which tier becomes the queue, and when it goes back: the best that is well, and no flapping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.queue.tiers import (
    MAX_FAIL_BACK_WAIT_S,
    PREFERENCE,
    STEADY_S,
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
def test_the_best_tier_that_is_well_is_chosen_and_mongodb_at_the_last(healthy: set[str], chosen: str) -> None:
    assert choose_tier(healthy) == chosen


def test_the_queue_goes_back_only_to_better_tiers() -> None:
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
def test_a_better_tier_must_have_been_well_for_the_whole_wait(
    current: str, healthy_for_s: dict[str, float], target: str | None
) -> None:
    assert tier_to_go_back_to(current, healthy_for_s, 30.0) == target


@given(after_s=st.floats(1, 3600), flaps=st.integers(0, 10_000))
def test_the_wait_grows_with_every_flap_and_not_for_ever(after_s: float, flaps: int) -> None:
    wait_s, next_s = fail_back_wait_s(after_s, flaps), fail_back_wait_s(after_s, flaps + 1)
    assert after_s <= wait_s <= next_s <= max(after_s, MAX_FAIL_BACK_WAIT_S)


def test_the_wait_is_the_settings_at_first_and_doubles_then() -> None:
    assert [fail_back_wait_s(30.0, flaps) for flaps in (0, 1, 2, 3)] == [30.0, 30.0, 60.0, 120.0]


@given(old=tiers, new=tiers, flaps=st.integers(0, 20), lasted_s=st.floats(0, 10 * STEADY_S))
def test_a_flap_is_a_step_down_soon_after_the_last(old: str, new: str, flaps: int, lasted_s: float) -> None:
    down = PREFERENCE.index(new) > PREFERENCE.index(old)
    expected = flaps if not down else 1 if lasted_s >= STEADY_S else flaps + 1
    assert count_flaps(flaps, old, new, lasted_s) == expected
