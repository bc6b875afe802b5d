"""Which servers this replica reaches, looked at once a second, whether it needs them now or not.

What it has not reached for one LEASE_TTL it *lacks*, and tells the others with its lease renewals: a replica that lacks
what others reach stands aside until it reaches it again. Invariant: one answer ends a lack, and a look ends.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from tsync_stream import clock
from tsync_stream.errors import TsyncError

LOOK_INTERVAL_S = 1.0
LOOK_DEADLINE_S = 1.0


class Reach:
    """`looks` are calls that return if a server answers, by the server's name."""

    def __init__(self, looks: Mapping[str, Callable[[], Awaitable[object]]], patience_s: float) -> None:
        self._looks = looks
        self._patience_s = patience_s
        self._answered_s = dict.fromkeys(looks, clock.now_s())

    def lacks(self) -> list[str]:
        """The servers that have not answered for the whole patience."""
        now_s = clock.now_s()
        return sorted(name for name, answered_s in self._answered_s.items() if now_s - answered_s > self._patience_s)

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            await asyncio.gather(*(self._look(name, look) for name, look in self._looks.items()))
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _look(self, name: str, look: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(LOOK_DEADLINE_S):
                await look()
        except (TsyncError, TimeoutError):
            return
        self._answered_s[name] = clock.now_s()
