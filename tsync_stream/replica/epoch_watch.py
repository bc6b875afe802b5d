"""Which epoch is current, as this replica knows it: looked up once a second, and whenever somebody has a doubt."""

import asyncio
import logging

from tsync_stream import clock
from tsync_stream.coordination.positions import Pipeline, PositionStore
from tsync_stream.errors import TsyncError
from tsync_stream.wake import Wake

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0


class EpochWatch:
    """Holds the epoch document that was last read; `current` is None before the first start."""

    def __init__(self, positions: PositionStore, wake: Wake) -> None:
        self._positions = positions
        self._wake = wake
        self.current: Pipeline | None = None
        self._seen_since_s = clock.now_s()

    def age_s(self) -> float:
        """How long we have seen the current epoch be current."""
        return clock.now_s() - self._seen_since_s

    async def refresh(self) -> Pipeline | None:
        """Read the epoch document now. Raises the errors of `errors.from_mongo`."""
        before, self.current = self.current, await self._positions.load()
        if (before and before.epoch) != (self.current and self.current.epoch):
            self._seen_since_s = clock.now_s()
            self._wake.ring()
        return self.current

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            try:
                await self.refresh()
            except TsyncError as error:
                log.warning("epoch: %s; looking again in %g s", error, LOOK_INTERVAL_S)
            await asyncio.sleep(LOOK_INTERVAL_S)
