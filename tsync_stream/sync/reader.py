"""The reader: runs this replica's lanes, and records the barriers that they pass.

Invariant: a barrier is recorded only after everything before it in its partition was acked.
"""

import asyncio
from collections.abc import Sequence

from tsync_stream.cluster.assignment import CAPTURE, Held
from tsync_stream.core.errors import TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.model import Barrier
from tsync_stream.core.tasks import all_to_end
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.sync.lane import Lane

BARRIER_RECORD_INTERVAL_S = 0.5


class Reader:
    """`run` works until `stop` is called, then finishes the batches in hand. Lane p mod n reads partition p."""

    def __init__(self, lanes: Sequence[Lane], positions: PositionStore, health: Health) -> None:
        self._lanes = lanes
        self._positions = positions
        self._health = health
        self._finished = asyncio.Event()

    @property
    def states(self) -> dict[int, str]:
        """What the lanes do with each partition that this replica owns."""
        return {partition: word for lane in self._lanes for partition, word in lane.states.items()}

    async def run(self) -> None:
        """Run the lanes, and record barriers meanwhile."""
        await all_to_end([self._record_barriers(), self._run_lanes()])

    def stop(self) -> None:
        """Take no further batch."""
        for lane in self._lanes:
            lane.stop()

    async def released(self, lease: Held) -> bool:
        """Wait until nothing of the lease's partition is in flight; returns whether none of its writes is in doubt."""
        if lease.name == CAPTURE:
            return True
        partition = int(lease.name.rpartition(":")[2])
        return await self._lanes[partition % len(self._lanes)].released(partition, lease)

    async def _run_lanes(self) -> None:
        await all_to_end([lane.run() for lane in self._lanes])
        self._finished.set()

    async def _record_barriers(self) -> None:
        while not self._finished.is_set():
            try:
                async with asyncio.timeout(BARRIER_RECORD_INTERVAL_S):
                    await self._finished.wait()
            except TimeoutError:
                pass
            await self._record_once()

    async def _record_once(self) -> None:
        passed: dict[int, tuple[int, Barrier]] = {}
        for lane in self._lanes:
            passed |= lane.barriers
            lane.barriers.clear()
        if passed:
            try:
                await self._positions.record_barriers(passed)
            except TsyncError as error:
                # The next barrier covers all that this one does.
                self._health.fault("positions", f"{error}; the synced position stands still meanwhile")
            else:
                self._health.green("positions")
