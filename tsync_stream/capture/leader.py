"""Capturing: what the one replica with the capture lease does: feed the change stream, watch, run the jobs.

Invariants: whatever goes wrong ends the term, and the next one begins from what MongoDB says (`begin.py`), so there
is one way to start and to recover; an outage of Typesense or of a job never ends a term.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol

from tsync_stream.capture.backlog import Measuring
from tsync_stream.capture.begin import Beginning, CaptureTools, Trouble
from tsync_stream.capture.feed import opened_stream
from tsync_stream.capture.term import LONGEST_READ_S, CapturedChanges, CaptureTerm
from tsync_stream.capture.tier_watch import BetterTier, TierWatch
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.core import clock
from tsync_stream.core.errors import (
    ConfigurationError,
    Fenced,
    PositionLost,
    TierLost,
    TierRefused,
    TierUnavailable,
    TsyncError,
)
from tsync_stream.core.linger import linger_s
from tsync_stream.core.model import Position, Token
from tsync_stream.core.tasks import first_to_end
from tsync_stream.source.change_stream import ChangeBatch
from tsync_stream.state.pipeline import Pipeline

log = logging.getLogger(__name__)

MONITOR_INTERVAL_S = 1.0
PAUSE_AFTER_FAULT_S = 1.0
LASTING_TERM_S = 10.0
MOST_SHORT_TERMS = 5
FINGERPRINT_INTERVAL_S = 5.0
# How long a stop waits for batches that are between capture and persist.
DRAIN_S = 5.0


class TermOver(TsyncError):
    """Nothing is wrong: the epoch document asks for something that a new term begins with."""


class TermJobs(Protocol):
    """The jobs of one term; `jobs` is a floor above, so that they are handed in."""

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run while the term lasts; whatever one of them raises ends it."""

    async def look(self, stored: Pipeline, synced: Position) -> None:
        """Once a second: how far is what was captured synced?"""


class Capturing:
    """`run` captures whenever this replica holds the capture lease, until `stop`."""

    def __init__(self, tools: CaptureTools, jobs_of: Callable[[CaptureTerm], TermJobs]) -> None:
        self._tools = tools
        self._jobs_of = jobs_of
        self._stopping = False
        self._beginning = Beginning(tools)
        self._trouble = Trouble()
        self._measuring = Measuring(tools)
        self._short_terms = 0

    def stop(self) -> None:
        """Read no further changes; what was read is still appended."""
        self._stopping = True
        self._tools.wake.ring()

    async def run(self) -> None:
        """Terms, one after the other."""
        tools = self._tools
        while not self._stopping:
            began_s, held, at_once = time.monotonic(), None, False
            try:
                # Every term has a fence of its own: barriers are in one order only within a term, and what an
                # older term sent late must not be taken for the present one's.
                held = await tools.leases.raise_fence(CAPTURE)
                if held is not None:
                    await self._run_term(held.fence)
                elif tools.leases.time_left_s() > 0:  # else nobody tells us whose it is
                    self._forget_all()
            except TsyncError as error:
                at_once = self._note(error)
            tools.metrics.end_term()
            lasted = held is not None and time.monotonic() - began_s > LASTING_TERM_S
            if lasted:
                self._trouble = replace(self._trouble, times=0)
            self._short_terms = 0 if lasted else min(self._short_terms + 1, MOST_SHORT_TERMS) if held else 1
            if not at_once:
                await self._pause()

    def _forget_all(self) -> None:
        """It is somebody else's to deal with now."""
        self._trouble = Trouble()
        self._tools.target_watch.forget()
        for check in ("capture", "position", "tier", "backlog", "oplog"):
            self._tools.health.green(check)

    def _note(self, error: TsyncError) -> bool:
        """Say why a term ended and what happens next; the next beginning does it. True: at once."""
        health = self._tools.health
        if isinstance(error, TermOver):
            log.info("capture: %s; beginning again", error)
        elif isinstance(error, BetterTier):
            self._trouble = replace(self._trouble, tier=str(error))
            log.info("capture: %s", error)
            return True
        elif isinstance(error, TierUnavailable | TierRefused):
            self._trouble = replace(self._trouble, unavailable=str(error), times=self._trouble.times + 1)
            person = isinstance(error, TierRefused)
            health.red("tier", f"{error}; another tier becomes the queue if it stays so", needs_person=person)
            return self._trouble.times == 1
        elif isinstance(error, TierLost):
            self._trouble = replace(self._trouble, tier=str(error))
            health.red("tier", f"{error}; opening the next epoch from the synced position")
        elif isinstance(error, PositionLost):
            self._trouble = replace(self._trouble, position=str(error))
            health.red("position", f"{error}; a reconcile will repair it")
        elif isinstance(error, Fenced):
            log.warning("capture: %s; leaving it to them", error)
        else:
            person = isinstance(error, ConfigurationError)
            health.red("capture", f"{error}; trying again until it is mended", needs_person=person)
        return False

    async def _run_term(self, fence: int) -> None:
        term = await self._beginning.begin(fence, self._trouble)
        self._trouble = Trouble(times=self._trouble.times)
        tools = self._tools
        await tools.epochs.refresh()
        jobs, tiers = self._jobs_of(term), TierWatch(tools, term, self._beginning.set_aside)
        work = [self._feed(term), self._monitor(term, jobs), tiers.go_back(), tiers.clean_up(), term.broken()]
        try:
            await first_to_end([*work, *jobs.work()])
        except (TierLost, TierRefused):
            self._beginning.set_aside.failed(term.pipeline.epoch.tier, tools.epochs.age_s(), clock.now_s())
            raise
        finally:
            if self._stopping:
                await self._drain(term)
            term.fail(TermOver("the term is over"))

    async def _feed(self, term: CaptureTerm) -> None:
        """Read whole batches of the change stream into the capture agent's channel, until stopped."""
        tools, buffer = self._tools, self._tools.settings.buffer
        read_size = buffer.max_buffer_size
        wait_s = min(LONGEST_READ_S, buffer.flush_interval_s)
        token: Token = term.appended.token
        sent_s = float("-inf")
        since = term.appended.cluster_time
        async with opened_stream(tools, token, since, lambda: self._stopping) as stream:
            if stream is None:
                return
            tools.metrics.capturing.set(1)
            for check in ("capture", "position"):
                tools.health.green(check)
            while not self._stopping:
                if self._measuring.queue_full or term.paused:
                    # The oplog holds the changes meanwhile; the empty batch lets the next barrier through.
                    await asyncio.sleep(wait_s)
                    batch = ChangeBatch((), token, term.appended.cluster_time)
                else:
                    batch = await stream.next_batch(read_size, wait_s)
                    if not batch.changes and not (
                        time.monotonic() - sent_s >= wait_s and term.is_time_for_barrier(_end_of(batch, term))
                    ):
                        continue  # only its barrier would be news; a later batch covers what it says
                with term.sending() as delivery:
                    await tools.send_changes(CapturedChanges(delivery, token, batch))
                token, sent_s = batch.token, time.monotonic()
                await asyncio.sleep(linger_s(len(batch.changes), read_size, wait_s, tools.pace.batch_s))

    async def _monitor(self, term: CaptureTerm, jobs: TermJobs) -> None:
        """Once a second: is it still ours, is the tier suspect, how far are we, how far are the jobs?"""
        tools = self._tools
        looks = 0
        saved, synced = term.pipeline.captured, term.pipeline.began
        while True:
            await asyncio.sleep(MONITOR_INTERVAL_S)
            held = tools.leases.holding(CAPTURE)
            if held is None or held.fence != term.fence:
                raise Fenced("the capture lease is gone")
            stored = await tools.epochs.refresh()
            if stored is None or (stored.epoch, stored.capture_fence) != (term.pipeline.epoch, term.fence):
                raise Fenced("another term has begun")
            if stored.tier_suspect is not None:
                raise TierLost(stored.tier_suspect.reason)
            if stored.reconciles() != term.pipeline.reconciles():
                raise TermOver("a reconcile was asked for")
            if saved != term.appended:
                saved = term.appended
                await tools.positions.save_captured(stored, saved)
            if synced != term.announced:
                synced = await tools.positions.synced(stored)
            await tools.target_watch.note_synced(stored, tools.route.name, synced.cluster_time)
            await jobs.look(stored, synced)
            await self._measuring.measure(term, synced)
            looks += 1
            if looks % int(FINGERPRINT_INTERVAL_S / MONITOR_INTERVAL_S) == 0:
                await self._check_fingerprint(stored)

    async def _check_fingerprint(self, stored: Pipeline) -> None:
        try:
            found = await self._tools.target_watch.difference(stored.routes[self._tools.route.name])
        except TsyncError:
            return  # capture goes on without Typesense
        if found:
            raise TermOver(found)

    async def _drain(self, term: CaptureTerm) -> None:
        """What was read from the stream is appended before we go; if not, it is read again later."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while term.in_flight > 0 and not term.failed:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning("capture: %d batches were not appended in time; they will be read again", term.in_flight)

    async def _pause(self) -> None:
        """Not at all after a term that lasted; longer and longer after terms that ended as soon as they began."""
        if not self._stopping:
            await self._tools.wake.wait(PAUSE_AFTER_FAULT_S * self._short_terms)


def _end_of(batch: ChangeBatch, term: CaptureTerm) -> Position:
    """Where an empty batch would bring us (pure)."""
    return replace(term.appended, token=batch.token, cluster_time=batch.cluster_time)
