"""Which servers this replica reaches, looked at every second or two, whether it needs them now or not.

What it has not reached for one LEASE_TTL it *lacks*; for what it has reached all along for one LEASE_TTL it *vouches*.
Both travel with its lease renewals: a replica that lacks what another vouches for stands aside until it reaches it
again. Between the two lies the time in which not everybody has noticed yet that an outage begins, or is over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from tsync_stream import clock
from tsync_stream.errors import TsyncError
from tsync_stream.wake import Wake

# While all of them answer, and while one does not; shorter where a replica is to be followed soon.
CALM_INTERVAL_S = 2.0
LOOK_INTERVAL_S = 1.0
LOOKS_PER_PATIENCE = 5
LOOK_DEADLINE_S = 1.0


class Reach:
    """`looks` are calls that return if a server answers, by the server's name. `wake` rings when one does so again."""

    def __init__(self, looks: Mapping[str, Callable[[], Awaitable[object]]], patience_s: float, wake: Wake) -> None:
        self._looks = looks
        self._patience_s = patience_s
        self._wake = wake
        self._answered_s = dict.fromkeys(looks, clock.now_s())
        self._failed_s = dict.fromkeys(looks, clock.now_s())

    def report(self) -> dict[str, list[str]]:
        """The names of the servers that this replica `lacks`, and of those that it `vouches` for."""
        return {"lacks": self._longer_ago(self._answered_s), "vouches": self._longer_ago(self._failed_s)}

    def _longer_ago(self, times_s: Mapping[str, float]) -> list[str]:
        now_s = clock.now_s()
        return sorted(name for name, then_s in times_s.items() if now_s - then_s > self._patience_s)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.gather(*(self._look(name, look) for name, look in self._looks.items()))
            calm = not any(map(self._is_away, self._looks))
            interval_s = CALM_INTERVAL_S if calm else LOOK_INTERVAL_S
            await asyncio.sleep(min(interval_s, self._patience_s / LOOKS_PER_PATIENCE))

    def _is_away(self, name: str) -> bool:
        return self._failed_s[name] > self._answered_s[name]

    async def _look(self, name: str, look: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(LOOK_DEADLINE_S):
                await look()
        except (TsyncError, TimeoutError):
            self._failed_s[name] = clock.now_s()
        else:
            if self._is_away(name):
                self._wake.ring()
            self._answered_s[name] = clock.now_s()
