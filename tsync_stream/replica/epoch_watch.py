"""Which epoch is current, as this replica knows it: looked up once a second, and whenever somebody has a doubt."""

import asyncio
import logging

from tsync_stream.coordination.positions import Pipeline, PositionStore
from tsync_stream.errors import TsyncError

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0


class EpochWatch:
    """Holds the epoch document that was last read; `current` is None before the first start."""

    def __init__(self, positions: PositionStore) -> None:
        self._positions = positions
        self.current: Pipeline | None = None

    async def refresh(self) -> Pipeline | None:
        """Read the epoch document now. Raises the errors of `errors.from_mongo`."""
        self.current = await self._positions.load()
        return self.current

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            try:
                await self.refresh()
            except TsyncError as error:
                log.warning("epoch: %s; looking again in %g s", error, LOOK_INTERVAL_S)
            await asyncio.sleep(LOOK_INTERVAL_S)
