"""The write gate: how many writes of this process are under way at Typesense at once.

A write that times out is carried out all the same. Repeated at once, beside others, it makes all of them slower, until
each times out although the server works all the time. So after a time-out writes pass the gate one at a time, until
some in a row were in time.

Invariant: a wait at the gate ends. A writer checks its lease after it has passed, not before.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tsync_stream.core.errors import DependencyUnavailable

SUCCESSES_UNTIL_ALL_AT_ONCE = 10


class WriteGate:
    """Lets writes pass at once while the server is in time; `patience_s` bounds the wait while it is not."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._alone = asyncio.Lock()
        self._successes_wanted = 0

    def __repr__(self) -> str:
        if not self._successes_wanted:
            return "WriteGate(all at once)"
        return f"WriteGate(one at a time, until {self._successes_wanted} more are in time)"

    @property
    def is_narrow(self) -> bool:
        """Whether writes go one at a time."""
        return self._successes_wanted > 0

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Around one write. Raises `DependencyUnavailable` if it cannot pass in time; then nothing was sent."""
        if not self._successes_wanted:
            async with self._watched():
                yield
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await self._alone.acquire()
        except TimeoutError:
            text = f"Typesense: too slow, so writes go one at a time; this one has waited for {self._patience_s:g} s"
            raise DependencyUnavailable(text) from None
        try:
            async with self._watched():
                yield
        finally:
            self._alone.release()

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        try:
            yield
        except DependencyUnavailable as error:
            if error.timed_out:
                self._successes_wanted = SUCCESSES_UNTIL_ALL_AT_ONCE
            raise
        self._successes_wanted = max(0, self._successes_wanted - 1)
