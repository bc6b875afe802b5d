"""Creates epochs, opens the next one, and continues the current one: the streams on the tier, and the epoch document.

Invariants: an epoch's streams exist before one compare-and-set makes it current. An epoch is continued only if every
stream is where its last writer left it, and holds everything that was recorded as synced.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from tsync_stream.capture.term import CaptureTerm
from tsync_stream.capture.tiers import Tiers
from tsync_stream.core.errors import Fenced, TierLost, TierRefused, TierUnavailable
from tsync_stream.core.events import event
from tsync_stream.core.model import Head, Position, Token
from tsync_stream.observe.metrics import Metrics
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.pipeline import Pipeline, PositionStore, synced_position
from tsync_stream.state.route_state import RouteState

log = logging.getLogger(__name__)


class Epochs:
    """`holds_lease` asks MongoDB whether the capture lease is ours under a fence."""

    def __init__(
        self,
        table: RouteTable,
        positions: PositionStore,
        tiers: Tiers,
        holds_lease: Callable[[int], Awaitable[bool]],
        metrics: Metrics,
    ) -> None:
        self._table = table
        self._positions = positions
        self._tiers = tiers
        self._holds_lease = holds_lease
        self._metrics = metrics

    async def create_first(self, pipeline: Pipeline) -> CaptureTerm:
        """The first epoch of a deployment. Raises the tier's and MongoDB's errors; `Fenced` if another was first."""
        tier = self._tiers[pipeline.epoch.tier]
        await tier.start()
        await tier.create(pipeline.epoch, pipeline.partitions, pipeline.capture_fence, pipeline.began.token)
        if not await self._positions.create(pipeline):
            await tier.remove(pipeline.epoch, pipeline.partitions)
            raise Fenced("another replica created the first epoch")
        log.info(
            "capture: first start, deployment %s: every document is queued",
            pipeline.epoch.deployment,
            extra=event("pipeline.first_start"),
        )
        return self._term(pipeline, _empty_heads(pipeline), pipeline.began)

    async def open_next(self, stored: Pipeline, following: Pipeline, reason: str, cause: str) -> CaptureTerm:
        """Create the new streams, then make them the queue; the term removes the old ones later.

        `reason` is for people, `cause` one of `metrics.EPOCH_REASONS`.

        Raises the tier's and MongoDB's errors; `Fenced` if the epoch document has changed.
        """
        tier = self._tiers[following.epoch.tier]
        try:
            await tier.start()  # it may be another server by now, with other settings
            await tier.create(following.epoch, following.partitions, following.capture_fence, following.began.token)
        except (TierLost, TierRefused, TierUnavailable):
            self._tiers.failed_to_open(tier.name)
            raise
        if not await self._positions.replace(stored, following):
            await tier.remove(following.epoch, following.partitions)
            raise Fenced("the epoch document has changed")
        self._metrics.epochs_opened.labels(cause).inc()
        log.warning(
            "capture: epoch %d on the %s tier (%s)",
            following.epoch.epoch,
            tier.name,
            reason,
            extra=event("epoch.opened", epoch=following.epoch.epoch, tier=tier.name),
        )
        return self._term(following, _empty_heads(following), following.began)

    async def continue_current(self, stored: Pipeline, routes: Mapping[str, RouteState], fence: int) -> CaptureTerm:
        """Continue the epoch, with the routes as they are now, from the smallest head's token.

        Its jobs continue from their synced cursors.

        Raises `TierLost` if the streams are not as we remember them, and as `open_next`.
        """
        tier = self._tiers[stored.epoch.tier]
        try:
            heads = await tier.take_over(stored.epoch, stored.partitions, fence)
        except Fenced as error:
            if await self._holds_lease(fence):
                # Nobody is newer than us: the tier's fences come from a state database that was restored or lost.
                raise TierLost(f"{tier.name}: its fences are newer than the state database's") from error
            raise
        records = await self._positions.records()
        for partition, record in records.items():
            same_epoch = record.order.epoch == stored.epoch.epoch
            if partition < len(heads) and same_epoch and record.offset > heads[partition].last_offset:
                raise TierLost(f"partition {partition}: entries that were synced are missing from the stream")
        synced = synced_position(stored, records)
        token = min((head.token for head in heads), key=_token_order)
        start = Position(token, synced.cluster_time, synced.cursors)
        following = replace(stored, routes=routes, capture_fence=fence, began=synced, captured=start)
        if not await self._positions.replace(stored, following):
            raise Fenced("the epoch document has changed")
        log.info(
            "capture: continuing epoch %d on the %s tier",
            stored.epoch.epoch,
            tier.name,
            extra=event("epoch.continued", epoch=stored.epoch.epoch, tier=tier.name),
        )
        return self._term(following, heads, start)

    def _term(self, pipeline: Pipeline, heads: Sequence[Head], start: Position) -> CaptureTerm:
        return CaptureTerm(pipeline, self._tiers[pipeline.epoch.tier], self._table, heads, start)


def _token_order(token: Token) -> str:
    """Resume tokens are key strings: in hexadecimal they sort in the order of the changes."""
    return str(token["_data"])


def _empty_heads(pipeline: Pipeline) -> list[Head]:
    return [Head(0, 0, pipeline.began.token) for _ in range(pipeline.partitions)]
