"""What a term checks once a second: is it still current, is its tier suspect, how far are the changes and the jobs?

Invariants: a term whose lease or epoch belongs to somebody else raises `Fenced`; what the epoch document asks for ends
the term without a fault. Typesense is not asked here: it may be slow.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol

from tsync_stream.capture.backlog import Backlog
from tsync_stream.capture.handover import TermEnd
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core.errors import Fenced, TierLost
from tsync_stream.core.model import Position
from tsync_stream.state.pipeline import Pipeline, PositionStore

MONITOR_INTERVAL_S = 1.0


class JobsOfTerm(Protocol):
    """The jobs of one term. `jobs` is a floor above, so they are passed in."""

    def work(self) -> list[Coroutine[Any, Any, NoReturn]]:
        """What runs while the term lasts; whatever one of them raises ends it."""

    async def look(self, stored: Pipeline, synced: Position) -> None:
        """Once a second: everything up to `synced` is in Typesense now, or a dead letter."""


class Monitor:
    """`run` goes on beside the feed until the term ends."""

    def __init__(
        self,
        leases: LeaseKeeper,
        epochs: EpochWatch,
        positions: PositionStore,
        backlog: Backlog,
    ) -> None:
        self._leases = leases
        self._epochs = epochs
        self._positions = positions
        self._backlog = backlog

    async def run(self, term: CaptureTerm, jobs: JobsOfTerm) -> TermEnd:
        """Look once a second until a new term must begin. Raises `Fenced`, `TierLost`, and the errors of calls."""
        saved = term.pipeline.captured
        while True:
            await asyncio.sleep(MONITOR_INTERVAL_S)
            stored = await self._current(term)
            if stored.reconciles() != term.pipeline.reconciles():
                return TermEnd("a reconcile was requested; a new term begins with it", for_a_route=True)
            if saved != term.appended:
                saved = term.appended
                await self._positions.save_captured(stored, saved)
            if term.synced != term.announced:
                term.synced = await self._positions.synced(stored)
            await jobs.look(stored, term.synced)
            await self._backlog.measure(term)

    async def _current(self, term: CaptureTerm) -> Pipeline:
        """The epoch document, which is still this term's and has no complaint about its tier."""
        held = self._leases.holding(CAPTURE)
        if held is None or held.fence != term.fence:
            raise Fenced("the capture lease is gone")
        stored = await self._epochs.refresh()
        if stored is None or (stored.epoch, stored.capture_fence) != (term.pipeline.epoch, term.fence):
            raise Fenced("another term has begun")
        if stored.tier_suspect is not None:
            raise TierLost(stored.tier_suspect.reason)
        return stored
