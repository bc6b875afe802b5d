"""One look at the deployment for all who watch: the status, the jobs that ended, the refreshes and the history.

Invariants: however many browsers ask, one look runs at a time, and the next begins a while after it: longer, where
looking is slow. While MongoDB does not answer, the last look stands, with its age and the reason. Nobody watching costs
nothing: connections are opened by the first look, and closed when nobody has looked for a while.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tsync_stream.core import clock
from tsync_stream.core.errors import TsyncError
from tsync_stream.core.tasks import end_tasks
from tsync_stream.observe.status import Status
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.settings.load import Settings
from tsync_stream.state.history import Sample
from tsync_stream.state.jobs import Job
from tsync_stream.state.refreshes import OpenRefresh

FRESH_S = 1.0
# A look that took long is followed by a rest of this many times as long.
REST_FACTOR = 5.0
IDLE_S = 60.0
# Whoever asks gets the look before this one, rather than wait longer.
LONGEST_WAIT_S = 1.0
MOST_ENDED = 20
MOST_REFRESHES = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen, and when: on this machine's clock for people, and on one that never jumps."""

    status: Status
    ended: Sequence[Job]
    refreshes: Sequence[OpenRefresh]
    history: Sequence[tuple[datetime, Sample]]
    at: datetime
    at_s: float


@dataclass(frozen=True, slots=True)
class Shown:
    """The last look, None before the first; and why there is no newer one, "" if there is no reason."""

    seen: Seen | None
    problem: str = ""


class SharedLook:
    """`present()` returns the look to show now. `settings()` are those in force."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._reader: StatusReader | None = None
        self._read_with: Settings | None = None
        self._shown = Shown(None)
        self._next_s = float("-inf")
        self._asked_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._idle: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<SharedLook, {'open' if self._reader else 'closed'}, {self._shown.problem or 'no problem'}>"

    async def present(self) -> Shown:
        """Look again if that is due, and wait a moment for it. Never raises `TsyncError`."""
        self._asked_s = clock.now_s()
        if self._looking is None and clock.now_s() >= self._next_s:
            self._looking = asyncio.create_task(self._look_and_rest())
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=LONGEST_WAIT_S)
        return self._shown

    def again(self) -> None:
        """Something was changed: the next one who asks sees it."""
        self._next_s = float("-inf")

    async def close(self) -> None:
        """End the look that runs, and close the connections."""
        await end_tasks([task for task in (self._looking, self._idle) if task is not None])
        await self._close_reader()

    async def _close_reader(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader.__aexit__()

    async def _look_and_rest(self) -> None:
        began_s = clock.now_s()
        self._next_s = float("inf")
        try:
            self._shown = await self._look()
        finally:
            rest_s = 0.0 if self._shown.problem else REST_FACTOR * (clock.now_s() - began_s)
            self._next_s = min(self._next_s, clock.now_s() + max(FRESH_S, rest_s))
            self._looking = None

    async def _look(self) -> Shown:
        settings = self._settings()
        if settings is not self._read_with:  # they, or the routes, have changed
            await self._close_reader()
        if self._reader is None:
            self._reader, self._read_with = StatusReader(settings), settings
            if self._idle is None or self._idle.done():
                self._idle = asyncio.create_task(self._close_when_idle())
        reader = self._reader
        try:
            status = await reader.read()
            ended, refreshes, history = await asyncio.gather(
                reader.jobs.ended(MOST_ENDED), reader.refreshes.waiting(MOST_REFRESHES), reader.history.samples()
            )
        except TsyncError as error:
            return Shown(self._shown.seen, str(error))
        return Shown(Seen(status, ended, refreshes, history, datetime.now(UTC), clock.now_s()))

    async def _close_when_idle(self) -> None:
        while clock.now_s() - self._asked_s < IDLE_S or self._looking is not None:
            await asyncio.sleep(IDLE_S / 4)
        await self._close_reader()
