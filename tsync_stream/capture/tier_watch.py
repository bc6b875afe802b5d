"""What a capture term does about the other tiers: it removes older epochs, and goes back to a better tier.

Invariants: the queue goes back only to a tier that took writes without a break for the whole wait and has memory for
the backlog, and only when everything captured is synced, so nothing is queued twice. While the backlog is too large
for that, the lesser tier does well enough: its entries may be all that is left of changes that the oplog has dropped.
"""

import asyncio
import logging
from typing import NoReturn

from tsync_stream.capture.handover import TermEnd
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.capture.tiers import Tiers
from tsync_stream.core import clock
from tsync_stream.core.errors import DependencyUnavailable, TierRefused, TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.queue.selection import better_tiers, fail_back_wait_s, tier_to_go_back_to
from tsync_stream.state.pipeline import PositionStore

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
CLEAN_UP_INTERVAL_S = 5.0
# A backlog of this size is soon worked off, so the queue can go back without queueing anything again.
MAX_BACKLOG_TO_WAIT_FOR = 10_000
DRAIN_WAIT_S = 10.0
DRAIN_LOOK_S = 0.1


class TierWatch:
    """One for each term; both calls go on beside the feed until it ends."""

    def __init__(self, term: CaptureTerm, tiers: Tiers, positions: PositionStore, health: Health) -> None:
        self._term = term
        self._tiers = tiers
        self._positions = positions
        self._health = health
        self._current = term.pipeline.epoch.tier
        self._wait_s = fail_back_wait_s(tiers.fail_back_after_s, term.pipeline.flaps)
        self._healthy_since_s: dict[str, float] = {}

    async def go_back(self) -> TermEnd:
        """Look once a second; return when the next epoch should be on a better tier."""
        while True:
            await self._look()
            target = tier_to_go_back_to(self._current, self._healthy_for_s(), self._wait_s)
            if target is not None and await self._drained():
                return TermEnd(f"going back to the {target} tier", leave_tier=True)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def clean_up(self) -> NoReturn:
        """Remove older epochs from every tier as soon as it is reachable."""
        left = set(self._tiers)
        while left:
            for name in list(left):
                try:
                    removed = await self._tiers[name].remove_older(self._term.pipeline.epoch)
                except TsyncError as error:
                    log.debug(
                        "capture: older epochs stay on the %s tier: %s; retrying",
                        name,
                        error,
                        extra=event("tier.clean_up_delayed", tier=name),
                    )
                else:
                    left.discard(name)
                    if removed:
                        log.info(
                            "capture: removed older epochs from the %s tier",
                            name,
                            extra=event("tier.cleaned_up", tier=name),
                        )
            await asyncio.sleep(CLEAN_UP_INTERVAL_S if left else 0)
        while True:  # the term ends by other means
            await asyncio.Event().wait()

    async def _look(self) -> None:
        """Probe the better tiers, and report why none of them is the queue."""
        problems: list[str] = []
        refused = False
        better = [name for name in better_tiers(self._current) if name in self._tiers]
        for name in better:
            try:
                await self._tiers.require_healthy(name, self._term.backlog)
            except TsyncError as error:
                self._healthy_since_s.pop(name, None)
                problems.append(str(error))
                refused = refused or isinstance(error, TierRefused)
            else:
                self._healthy_since_s.setdefault(name, clock.now_s())
        if not better:
            self._health.green("tier")
            return
        why = "; ".join(problems) or "a better tier responds again"
        text = (
            f"the {self._current} tier is the queue ({why}); the queue goes back once a better tier has been healthy "
            f"for {self._wait_s:g} s and at most {MAX_BACKLOG_TO_WAIT_FOR} entries are queued"
        )
        if refused:
            self._health.red("tier", text, needs_person=True)
        else:
            self._health.degraded("tier", text)

    def _healthy_for_s(self) -> dict[str, float]:
        now_s = clock.now_s()
        return {name: now_s - since_s for name, since_s in self._healthy_since_s.items()}

    async def _drained(self) -> bool:
        """Pause the feed until everything captured is synced; False if that takes too long."""
        term = self._term
        if term.backlog > MAX_BACKLOG_TO_WAIT_FOR:
            return False
        term.paused = True
        try:
            async with asyncio.timeout(DRAIN_WAIT_S):
                while term.in_flight or (await self._positions.synced(term.pipeline)).token != term.appended.token:
                    await asyncio.sleep(DRAIN_LOOK_S)
        except (TimeoutError, DependencyUnavailable):
            self._healthy_since_s.clear()  # start the whole wait again, so the feed is not paused all the time
            term.paused = False
            return False
        return True
