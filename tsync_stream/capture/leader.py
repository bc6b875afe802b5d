"""Captures while this replica holds the capture lease: one term after another, each begun from what MongoDB says.

Invariants: whatever goes wrong ends the term, and the next one begins from stored state (`begin.py`), so starting and
recovering are the same code. Every term has a fence of its own. An outage of Typesense or of a job never ends a term.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from tsync_stream.capture.begin import Beginning
from tsync_stream.capture.feed import Feed
from tsync_stream.capture.handover import Handover, TermEnd, report
from tsync_stream.capture.targets import Targets
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.capture.tiers import Tiers
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core.errors import TierLost, TierRefused, TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.core.tasks import first_to_end
from tsync_stream.core.wake import Wake
from tsync_stream.observe.metrics import Metrics

log = logging.getLogger(__name__)

PAUSE_AFTER_FAULT_S = 1.0
LASTING_TERM_S = 10.0
MOST_SHORT_TERMS = 5
# How long a stop waits for batches that are between capture and persist.
DRAIN_S = 5.0
DRAIN_LOOK_S = 0.01
# What only the capturing replica reports.
CHECKS = ("capture", "position", "tier", "backlog", "oplog")

TermWork = Coroutine[Any, Any, TermEnd]


class TermRunner:
    """Runs the parts of a term side by side. `beside` makes those that go on beside the feed."""

    def __init__(
        self,
        feed: Feed,
        beside: Callable[[CaptureTerm], list[TermWork]],
        tiers: Tiers,
        epochs: EpochWatch,
        metrics: Metrics,
    ) -> None:
        self._feed = feed
        self._beside = beside
        self._tiers = tiers
        self._epochs = epochs
        self._metrics = metrics

    @property
    def state(self) -> str:
        """What the feed of the running term does."""
        return self._feed.state

    async def run(self, term: CaptureTerm, stopping: Callable[[], bool]) -> TermEnd:
        """Run until the first part ends; raises what it raises. On a stop, what was read is appended first."""
        try:
            await self._epochs.refresh()
            return await first_to_end([self._feed.run(term, stopping), term.broken(), *self._beside(term)])
        except (TierLost, TierRefused):
            self._tiers.failed_at_work(term.pipeline.epoch.tier)
            raise
        finally:
            if stopping():
                await _drain(term)
            term.close()
            self._metrics.end_term()


async def _drain(term: CaptureTerm) -> None:
    """Wait until the batches in flight are appended; those that are not are read again later."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while term.in_flight > 0 and not term.closed:
                await asyncio.sleep(DRAIN_LOOK_S)
    except TimeoutError:
        log.warning(
            "capture: %d batches were not appended in time; they will be read again",
            term.in_flight,
            extra=event("capture.batches_lost", batches=term.in_flight),
        )


class CaptureLeader:
    """`run` captures whenever this replica holds the capture lease, until `stop`."""

    def __init__(
        self,
        leases: LeaseKeeper,
        beginning: Beginning,
        terms: TermRunner,
        targets: Targets,
        health: Health,
        wake: Wake,
    ) -> None:
        self._leases = leases
        self._beginning = beginning
        self._terms = terms
        self._targets = targets
        self._health = health
        self._wake = wake
        self._handover = Handover()
        self._term: CaptureTerm | None = None
        self._short_terms = 0
        self._stopping = False
        self._has_lease = False

    def __repr__(self) -> str:
        doing = "stopping" if self._stopping else "capturing" if self._term is not None else "waiting"
        return f"<CaptureLeader {doing}, {self._term or self._handover}>"

    @property
    def state(self) -> str:
        """`standby`, `beginning`, `opening`, `reading`, `paused` or `stopping`."""
        if self._stopping:
            return "stopping"
        if not self._has_lease:
            return "standby"
        return "beginning" if self._term is None or self._terms.state == "closed" else self._terms.state

    def stop(self) -> None:
        """Read no further changes; what was read is still appended."""
        self._stopping = True
        self._wake.ring()

    async def run(self) -> None:
        """Run one term after another until stopped."""
        while not self._stopping:
            began_s = time.monotonic()
            held, end = await self._try_term()
            lasted = held and time.monotonic() - began_s > LASTING_TERM_S
            if lasted:
                self._handover = replace(self._handover, times_unavailable=0)
            self._short_terms = 0 if lasted else min(self._short_terms + 1, MOST_SHORT_TERMS) if held else 1
            at_once = False
            if end is not None:
                report(end, self._health)
                self._handover = self._handover.after(end)
                at_once = self._handover.begins_at_once(end, self._short_terms)
            if not at_once and not self._stopping:
                # Not at all after a term that lasted; longer and longer after terms that ended as soon as they began.
                await self._wake.wait(PAUSE_AFTER_FAULT_S * self._short_terms)

    async def _try_term(self) -> tuple[bool, TermEnd | TsyncError | None]:
        """Run a term if the lease is ours: whether it is, and how the term or its beginning ended."""
        held = None
        try:
            # Barriers are in one order only within a term, and what an older term sent late must not be taken for this
            # one's: so every term raises the fence.
            held = await self._leases.raise_fence(CAPTURE)
            self._has_lease = held is not None
            if held is not None:
                return True, await self._run_term(held.fence)
            if self._leases.time_left_s() > 0:  # otherwise we do not know whose it is
                self._forget_all()
        except TsyncError as error:
            return held is not None, error
        return False, None

    async def _run_term(self, fence: int) -> TermEnd:
        term = await self._beginning.begin(fence, self._handover)
        self._handover = self._handover.taken()
        self._term = term
        try:
            return await self._terms.run(term, lambda: self._stopping)
        finally:
            self._term = None

    def _forget_all(self) -> None:
        """Another replica captures now, and reports."""
        self._handover = Handover()
        self._targets.forget()
        for check in CHECKS:
            self._health.green(check)
