"""Reports of a lane that its tier is lost: the capturing replica opens the next epoch."""

from collections.abc import Iterable

from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.core.errors import TierLost, TierRefused, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.model import EpochRef
from tsync_stream.state.pipeline import PositionStore, new_nonce
from tsync_stream.state.route_state import ReconcileNeed


class ForeignEntries(TierLost):
    """Something that works for other routes wrote into this pipeline's queue."""


class LossReports:
    """The reports of a replica's lanes, which sync these routes."""

    def __init__(self, routes: Iterable[str], epochs: EpochWatch, positions: PositionStore, health: Health) -> None:
        self._routes = list(routes)
        self._epochs = epochs
        self._positions = positions
        self._health = health

    async def report(self, error: TierLost | TierRefused, epoch: EpochRef | None, check: str) -> None:
        """Report a loss in this epoch under a lane's health check, unless the epoch is over and the loss old news.

        The capturing replica need not run into what is refused to us: it asks for other things, and seldom.
        """
        try:
            pipeline = await self._epochs.refresh()
            if pipeline is None or epoch is None or pipeline.epoch != epoch:
                return
            text = f"{error}; the next epoch queues again what is not synced"
            self._health.fault(check, text, needs_person=isinstance(error, TierRefused))
            await self._positions.suspect_tier(epoch, str(error))
            if isinstance(error, ForeignEntries):  # whatever captured them has not captured ours
                for route in self._routes:
                    need = ReconcileNeed(new_nonce(), "entries of another route were in the queue")
                    await self._positions.request_reconcile(route, need)
        except TsyncError as state_error:
            self._health.fault(check, f"{error}; and it cannot be reported yet: {state_error}")
