"""Which tier should be the queue: pure decisions, made from what is known of each.

Invariants: of the tiers that take entries the best one is chosen; MongoDB is always the last resort, since without it
nothing works at all. The queue goes back to a better tier only after that one was healthy for a while, and for longer
each time it failed again soon: no flapping.
"""

from collections.abc import Collection, Mapping

PRIMARY = "primary"
BACKUP = "backup"
MONGO = "mongo"
# The best comes first.
PREFERENCE = (PRIMARY, BACKUP, MONGO)

# An epoch that lasted for so long was no flap.
STEADY_S = 600.0
MAX_FAIL_BACK_WAIT_S = 600.0


def choose_tier(healthy: Collection[str]) -> str:
    """The best tier that takes entries now."""
    return next((name for name in PREFERENCE if name in healthy), MONGO)


def better_tiers(current: str) -> tuple[str, ...]:
    """Those that the queue should go back to when they are well."""
    return PREFERENCE[: PREFERENCE.index(current)]


def fail_back_wait_s(fail_back_after_s: float, flaps: int) -> float:
    """How long a better tier must be healthy before the queue goes back to it: doubled with every flap."""
    return min(max(fail_back_after_s, MAX_FAIL_BACK_WAIT_S), fail_back_after_s * 2.0 ** min(max(flaps - 1, 0), 16))


def tier_to_go_back_to(current: str, healthy_for_s: Mapping[str, float], wait_s: float) -> str | None:
    """The best tier above the current one that was healthy for long enough; None while there is none."""
    return next((name for name in better_tiers(current) if healthy_for_s.get(name, 0.0) >= wait_s), None)


def count_flaps(flaps: int, old_tier: str, new_tier: str, epoch_lasted_s: float) -> int:
    """How often in a row the queue had to leave a tier for a lesser one before it was steady there."""
    if PREFERENCE.index(new_tier) <= PREFERENCE.index(old_tier):
        return flaps
    return 1 if epoch_lasted_s >= STEADY_S else flaps + 1
