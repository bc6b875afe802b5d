"""Which tier should be the queue: pure decisions from what is known of each.

Invariants: the best tier that takes entries is chosen. MongoDB is always the last resort, because nothing works without
it. The queue fails back to a better tier only after that tier was healthy for a while, longer each time it failed again
soon, so it does not flap. A tier that passes its probes but fails at work is set aside, longer each time.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tsync_stream.core.model import BACKUP, MONGO, PRIMARY

# The best comes first.
PREFERENCE = (PRIMARY, BACKUP, MONGO)

# An epoch that lasted this long was no flap.
STEADY_S = 600.0
MAX_FAIL_BACK_WAIT_S = 600.0
# A tier that was the queue for this long before it failed was fit for it.
FIT_S = 60.0


def choose_tier(healthy: Collection[str]) -> str:
    """The best tier that takes entries now."""
    return next((name for name in PREFERENCE if name in healthy), MONGO)


def better_tiers(current: str) -> tuple[str, ...]:
    """The tiers that the queue should fail back to once they are healthy."""
    return PREFERENCE[: PREFERENCE.index(current)]


def fail_back_wait_s(fail_back_after_s: float, flaps: int) -> float:
    """How long a better tier must be healthy before the queue fails back to it; doubles with every flap."""
    return min(max(fail_back_after_s, MAX_FAIL_BACK_WAIT_S), fail_back_after_s * 2.0 ** min(max(flaps - 1, 0), 16))


def tier_to_go_back_to(current: str, healthy_for_s: Mapping[str, float], wait_s: float) -> str | None:
    """The best tier above the current one that has been healthy for long enough; None if there is none."""
    return next((name for name in better_tiers(current) if healthy_for_s.get(name, 0.0) >= wait_s), None)


def count_flaps(flaps: int, old_tier: str, new_tier: str, epoch_lasted_s: float) -> int:
    """How often in a row the queue had to leave a tier for a worse one before it was steady there."""
    if PREFERENCE.index(new_tier) <= PREFERENCE.index(old_tier):
        return flaps
    return 1 if epoch_lasted_s >= STEADY_S else flaps + 1


@dataclass(frozen=True, slots=True)
class _Failures:
    """How often in a row a tier failed soon after a good probe, and until when it is set aside."""

    count: int
    until_s: float


class SetAside:
    """The tiers that failed at work although they passed their probes: the next probe may mean as little.

    The first failure has no consequence, because a tier that was emptied is fit at once. The second in a row brings a
    pause of `first_s`, and each further one doubles it.
    """

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._failures: dict[str, _Failures] = {}

    def failed(self, tier: str, lasted_s: float, now_s: float) -> None:
        """A tier failed after it was the queue for `lasted_s`. MongoDB, the last resort, is never set aside."""
        if tier == MONGO:
            return
        before = self._failures.get(tier)
        count = before.count + 1 if before is not None and lasted_s < FIT_S else 1
        pause_s = fail_back_wait_s(self._first_s, count - 1) if count > 1 else 0.0
        self._failures[tier] = _Failures(count, now_s + pause_s)

    def why(self, tier: str, now_s: float) -> str:
        """Why a tier must not be the queue now; "" if it may be."""
        failures = self._failures.get(tier)
        if failures is None or now_s >= failures.until_s:
            return ""
        left_s = failures.until_s - now_s
        return (
            f"the {tier} tier is not tried for {left_s:.0f} s: it passed its probes and failed at work "
            f"{failures.count} times in a row; check what else uses that server, or stands in front of it"
        )
