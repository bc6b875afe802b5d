"""How a capture term ends, and what it leaves to the next beginning. Pure decisions, and the messages about them.

Invariants: a term that ends for a good reason ends with a `TermEnd`; an exception is always a fault. What the
handover says stays until a term has begun with it, however many beginnings fail before that.
"""

import logging
from dataclasses import dataclass, replace

from tsync_stream.core.errors import (
    ConfigurationError,
    Fenced,
    PositionLost,
    TierLost,
    TierRefused,
    TierUnavailable,
    TsyncError,
)
from tsync_stream.core.events import event
from tsync_stream.core.health import Health

log = logging.getLogger(__name__)

MOST_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class TermEnd:
    """Why a term ended without a fault. `leave_tier`: the next one opens an epoch on a better tier, at once.

    `for_a_route`: something about one route made it end, for which no other should have to wait.
    """

    reason: str
    leave_tier: bool = False
    for_a_route: bool = False


@dataclass(frozen=True, slots=True)
class Handover:
    """What the next beginning must know; "" where there is nothing to know. `goes_back`: a better tier is back.

    `leave_tier`: why the epoch cannot go on (its tier was lost, or a better one is back). `unavailable`: why its tier
    did not answer, `times_unavailable` in a row without a lasting term between. `position_lost`: why the change stream
    cannot be resumed.
    """

    leave_tier: str = ""
    unavailable: str = ""
    times_unavailable: int = 0
    position_lost: str = ""
    goes_back: bool = False

    def after(self, end: "TermEnd | TsyncError") -> "Handover":
        """With what the end of a term, or of a beginning that failed, adds to it (pure)."""
        if isinstance(end, TermEnd):
            return replace(self, leave_tier=end.reason, goes_back=True) if end.leave_tier else self
        if isinstance(end, TierUnavailable | TierRefused):
            return replace(self, unavailable=str(end), times_unavailable=self.times_unavailable + 1)
        if isinstance(end, TierLost):
            return replace(self, leave_tier=str(end), goes_back=False)
        if isinstance(end, PositionLost):
            return replace(self, position_lost=str(end))
        return self

    def taken(self) -> "Handover":
        """A term has begun with it; only a term that lasts ends the counting (pure)."""
        return Handover(times_unavailable=self.times_unavailable)

    def begins_at_once(self, end: "TermEnd | TsyncError", short_terms: int) -> bool:
        """Whether the next beginning, after this end, follows without a pause (pure).

        `short_terms` is how many terms in a row, up to this one, were short: a route that ends them all the time would
        leave nothing for the work.
        """
        if isinstance(end, TermEnd):
            return end.leave_tier or (end.for_a_route and short_terms <= MOST_AT_ONCE)
        return isinstance(end, TierUnavailable | TierRefused) and self.times_unavailable == 1


def report(end: TermEnd | TsyncError, health: Health) -> None:
    """Say why a term ended, what happens next, and whether a person must act."""
    if isinstance(end, TermEnd):
        log.info("capture: %s", end.reason, extra=event("capture.ended"))
    elif isinstance(end, TierUnavailable | TierRefused):
        person = isinstance(end, TierRefused)
        health.fault("tier", f"{end}; if this lasts, another tier becomes the queue", needs_person=person)
    elif isinstance(end, TierLost):
        health.fault("tier", f"{end}; the next epoch opens from the synced position")
    elif isinstance(end, PositionLost):
        health.fault("position", f"{end}; a reconcile repairs it")
    elif isinstance(end, Fenced):
        log.warning("capture: %s; this replica stops capturing", end, extra=event("capture.fenced"))
    else:
        person = isinstance(end, ConfigurationError)
        health.fault("capture", f"{end}; capture retries until this is repaired", needs_person=person)
