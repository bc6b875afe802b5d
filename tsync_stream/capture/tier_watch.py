"""What a capture term does about the other tiers: it removes older epochs, and goes back to a better tier.

Invariants: the queue goes back only to a tier that took writes without a break for the whole wait and has memory for
what waits; and only when what was captured is synced, so that nothing has to be queued again. While more waits than
can be waited for, the lesser tier does well enough: its entries may be all that is left of changes that the oplog has
already dropped.
"""

import asyncio
import logging
from typing import NoReturn

from tsync_stream.capture.begin import CaptureTools
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core import clock
from tsync_stream.core.errors import DependencyUnavailable, TierLost, TierRefused, TsyncError
from tsync_stream.core.model import PRIMARY
from tsync_stream.queue.probing import probe_within_deadline
from tsync_stream.queue.selection import SetAside, better_tiers, fail_back_wait_s, tier_to_go_back_to

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
CLEAN_UP_INTERVAL_S = 5.0
# What is worked off soon, so that the queue can go back without queueing anything again.
MAX_BACKLOG_TO_WAIT_FOR = 10_000
DRAIN_WAIT_S = 10.0
DRAIN_LOOK_S = 0.1


class BetterTier(TsyncError):
    """Nothing is wrong: a better tier is healthy again, and everything captured is synced."""


class TierWatch:
    """Both calls go on beside the feed until their term ends."""

    def __init__(self, tools: CaptureTools, term: CaptureTerm, set_aside: SetAside) -> None:
        self._tools = tools
        self._term = term
        self._set_aside = set_aside
        self._current = term.pipeline.epoch.tier
        self._wait_s = fail_back_wait_s(tools.settings.fail_back_after_s, term.pipeline.flaps)
        self._healthy_since_s: dict[str, float] = {}

    async def go_back(self) -> NoReturn:
        """Look once a second. Raises `BetterTier` when the next epoch should be on a better one."""
        while True:
            await self._look()
            target = tier_to_go_back_to(self._current, self._healthy_for_s(), self._wait_s)
            if target is not None and await self._drained():
                raise BetterTier(f"going back to the {target} tier")
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def clean_up(self) -> None:
        """Remove older epochs from every tier, as soon as it can be reached. Never returns."""
        left = dict(self._tools.tiers)
        while left:
            for name, tier in list(left.items()):
                try:
                    removed = await tier.remove_older(self._term.pipeline.epoch)
                except TsyncError as error:
                    log.debug("capture: older epochs stay on the %s tier: %s; trying again", name, error)
                else:
                    del left[name]
                    if removed:
                        log.info("capture: older epochs are removed from the %s tier", name)
            await asyncio.sleep(CLEAN_UP_INTERVAL_S if left else 0)
        await asyncio.Event().wait()  # a term's work ends with the term

    async def _look(self) -> None:
        """Probe the better tiers, and say why they are not the queue."""
        health, troubles, refused = self._tools.health, [], False
        for name in better_tiers(self._current):
            try:
                await self._require_healthy(name)
            except TsyncError as error:
                self._healthy_since_s.pop(name, None)
                troubles.append(str(error))
                refused = refused or isinstance(error, TierRefused)
            else:
                self._healthy_since_s.setdefault(name, clock.now_s())
        if self._current == PRIMARY:
            health.green("tier")
            return
        why = "; ".join(troubles) or "the better one answers again"
        text = (
            f"the {self._current} tier is the queue ({why}); it goes back when a better one was healthy for "
            f"{self._wait_s:g} s and at most {MAX_BACKLOG_TO_WAIT_FOR} entries wait"
        )
        if refused:
            health.red("tier", text, needs_person=True)
        else:
            health.degraded("tier", text)

    async def _require_healthy(self, name: str) -> None:
        if why := self._set_aside.why(name, clock.now_s()):
            raise TierLost(why)
        await probe_within_deadline(self._tools.tiers[name], self._term.backlog)

    def _healthy_for_s(self) -> dict[str, float]:
        now_s = clock.now_s()
        return {name: now_s - since_s for name, since_s in self._healthy_since_s.items()}

    async def _drained(self) -> bool:
        """Let the feed pause until all that was captured is synced; False if that takes too long."""
        term, positions = self._term, self._tools.positions
        if term.backlog > MAX_BACKLOG_TO_WAIT_FOR:
            return False
        term.paused = True
        try:
            async with asyncio.timeout(DRAIN_WAIT_S):
                while term.in_flight or (await positions.synced(term.pipeline)).token != term.appended.token:
                    await asyncio.sleep(DRAIN_LOOK_S)
        except (TimeoutError, DependencyUnavailable):
            self._healthy_since_s.clear()  # another whole wait, and not all the time in a pause
            term.paused = False
            return False
        return True
