"""Turns at Typesense: how many writes this process has under way at once.

A write that times out is carried out all the same. Repeated at once, beside others, it makes all of them slower, until
each times out for ever though the server works all the time. So after a time-out one write is under way at a time,
until some in a row were in time.

Invariant: a wait for a turn ends. Whoever gets one checks its lease after that, not before.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tsync_stream.core.errors import DependencyUnavailable

SUCCESSES_UNTIL_ALL_AT_ONCE = 10


class Turns:
    """`one` is a turn: at once while the server is in time; `patience_s` bounds the wait for one while it is not."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._alone = asyncio.Lock()
        self._successes_wanted = 0

    def __repr__(self) -> str:
        return f"Turns({'one at a time' if self._successes_wanted else 'all at once'})"

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Around one write. Raises `DependencyUnavailable` if it is not our turn in time; then nothing was sent."""
        if not self._successes_wanted:
            async with self._watched():
                yield
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await self._alone.acquire()
        except TimeoutError:
            raise DependencyUnavailable("Typesense: writes take turns, since it was too slow; none came yet") from None
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
