"""What a person wants of one job while it runs: that it waits, or that it takes on so many documents a second at most.

Invariants: a job that is paused takes on nothing more, from within a second of being told; it holds no lock, no session
and no export meanwhile, because `JobPaused` unwinds it to where it goes on from its cursor. What it has queued already
is still synced. A rate that changes holds at once.
"""

import asyncio
import logging
from collections.abc import Callable

from tsync_stream.core.errors import TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.pacer import LOOK_S, Pacer

log = logging.getLogger(__name__)

# A page is worth so many seconds of a job's own rate.
PAGE_S = 0.25
_NO_LIMIT = 1_000_000


class JobPaused(TsyncError):
    """A person wants the job to wait."""


class JobFailed(TsyncError):
    """The job can never be done as it was filed; the message says why."""


class Latch:
    """False from the first time that it may not go on: what a judge did not wait for must not count a moment later."""

    def __init__(self, may_go_on: Callable[[], bool]) -> None:
        self._may_go_on = may_go_on
        self._stopped = False

    def __call__(self) -> bool:
        self._stopped = self._stopped or not self._may_go_on()
        return not self._stopped


class JobControl:
    """The wishes for one job. `paused` and `rate_per_s` (None: no limit) are what was read last."""

    def __init__(self, title: str = "", *, paused: bool = False, rate_per_s: int | None = None) -> None:
        self.paused = paused
        self.rate_per_s = rate_per_s
        self._title = title
        self._pacer = Pacer(lambda: self.rate_per_s or _NO_LIMIT)

    def __repr__(self) -> str:
        rate = "no limit" if self.rate_per_s is None else f"{self.rate_per_s} a second"
        return f"<JobControl of {self._title or 'a job'}: {'paused, ' if self.paused else ''}{rate}>"

    def note(self, *, paused: bool, rate_per_s: int | None) -> None:
        """These are the wishes now."""
        if paused and not self.paused:
            log.info("%s: paused by a person", self._title, extra=event("job.paused"))
        elif self.paused and not paused:
            log.info("%s: goes on", self._title, extra=event("job.resumed"))
        self.paused, self.rate_per_s = paused, rate_per_s

    def check(self) -> None:
        """Raise `JobPaused` if the job has to wait."""
        if self.paused:
            raise JobPaused(f"{self._title}: paused by a person")

    def page(self, most: int, seconds: float = PAGE_S) -> int:
        """How many documents to take on together, at most `most`."""
        return most if self.rate_per_s is None else self._pacer.portion(seconds, most)

    def took(self, documents: int) -> None:
        """So many documents are taken on."""
        if self.rate_per_s is not None:
            self._pacer.take(documents)

    async def turn(self) -> None:
        """Wait until more documents may be taken on. Raises `JobPaused`."""
        place = self._pacer.take(0)
        while True:
            self.check()
            left_s = self._pacer.left_s(place)
            if not left_s:
                return
            await asyncio.sleep(min(left_s, LOOK_S))

    async def resumed(self) -> None:
        """Return once the job is not paused."""
        while self.paused:
            await asyncio.sleep(LOOK_S)
