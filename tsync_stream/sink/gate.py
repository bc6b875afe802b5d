"""The write gate: how many writes of this process are under way at Typesense at once.

A write that times out is carried out all the same. Repeated at once, beside others, it makes all of them slower, until
each times out although the server works all the time. So after a time-out writes pass the gate one at a time, until
some in a row were in time. Short of that, `load_control` says how many may pass; while it lets fewer pass than usual,
writes of live changes pass before those of jobs.

Invariant: a wait at the gate ends. A writer checks its lease after it has passed, not before.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.sink.load_control import LoadControl

SUCCESSES_UNTIL_ALL_AT_ONCE = 10
# Where nobody says how many writes there can be.
ANY_NUMBER = 1_000


class WriteGate:
    """Lets writes pass at once while the server is in time; `patience_s` bounds the wait while it is not."""

    def __init__(self, patience_s: float, load: LoadControl | None = None) -> None:
        self.load = load or LoadControl(ANY_NUMBER, patience_s)
        self._patience_s = patience_s
        self._successes_wanted = 0
        self._inside = 0  # those that have been let in
        self._under_way: dict[object, int] = {}  # the documents of each write that has begun
        self._changes: deque[asyncio.Future[None]] = deque()
        self._jobs: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        if self._successes_wanted:
            return f"WriteGate(one at a time, until {self._successes_wanted} more are in time)"
        return f"WriteGate({self.load})" if self.load.is_lowered else "WriteGate(all at once)"

    @property
    def is_narrow(self) -> bool:
        """Whether writes go one at a time, because one has timed out."""
        return self._successes_wanted > 0

    @asynccontextmanager
    async def passing(self, documents: int = 0, *, of_a_job: bool = False) -> AsyncIterator[None]:
        """Around one write of so many documents.

        Raises `DependencyUnavailable` if it cannot pass in time; then nothing was sent.
        """
        await self._enter(of_a_job=of_a_job)
        write = object()
        self._under_way[write] = documents
        under_way, began_s = list(self._under_way.values()), time.monotonic()
        try:
            yield
        except DependencyUnavailable as error:
            if error.timed_out:
                self._successes_wanted = SUCCESSES_UNTIL_ALL_AT_ONCE
            if error.timed_out or error.lagging:
                self.load.failed()
            raise
        else:
            now_s = time.monotonic()
            self._successes_wanted = max(0, self._successes_wanted - 1)
            self.load.done(documents, now_s - began_s, under_way, now_s)
        finally:
            del self._under_way[write]
            self._leave()

    async def _enter(self, *, of_a_job: bool) -> None:
        waiting = self._jobs if of_a_job else self._changes
        if not waiting and self._has_room(of_a_job=of_a_job):
            self._inside += 1
            return
        place = asyncio.get_running_loop().create_future()
        waiting.append(place)
        try:
            async with asyncio.timeout(self._patience_s):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():  # it was let in at this very moment
                self._leave()
            with suppress(ValueError):
                waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise DependencyUnavailable(self._too_slow()) from None
            raise

    def _leave(self) -> None:
        self._inside -= 1
        for waiting in (self._changes, self._jobs):
            while waiting and self._has_room(of_a_job=waiting is self._jobs):
                place = waiting.popleft()
                if not place.done():
                    self._inside += 1
                    place.set_result(None)

    def _has_room(self, *, of_a_job: bool) -> bool:
        if of_a_job and self._changes:
            return False
        return self._inside < self._limit(of_a_job=of_a_job)

    def _limit(self, *, of_a_job: bool = False) -> int:
        if self._successes_wanted:
            return 1
        # A job has half of what is left, so a change seldom finds every place taken.
        return max(1, self.load.writes // 2) if of_a_job and self.load.is_lowered else self.load.writes

    def _too_slow(self) -> str:
        limit = self._limit()
        return (
            f"Typesense: too slow, so writes go {'one' if limit == 1 else limit} at a time; this one has waited for "
            f"{self._patience_s:g} s"
        )
