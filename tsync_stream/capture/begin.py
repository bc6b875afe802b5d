"""Decides where a capture term begins: in the same epoch if its tier is whole, otherwise in the next; or at the start.

Invariants: a term begins where everything was synced or durable, and only a lost position begins anew. A lost position,
and a fingerprint that differs, bring the need of a reconcile into the new epoch.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tsync_stream.capture.epochs import Epochs
from tsync_stream.capture.handover import Handover
from tsync_stream.capture.source_facts import SourceFacts
from tsync_stream.capture.target_watch import TargetWatch
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.capture.tiers import Tiers
from tsync_stream.core.model import EpochRef, Position
from tsync_stream.queue.selection import choose_tier
from tsync_stream.routes.fingerprint import same_stream, target_part, why_reconcile
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.pipeline import Pipeline, PositionStore, new_nonce
from tsync_stream.state.route_state import ReconcileNeed, RouteState

# After so many failures in a row a tier is left, even if its probes pass: it may never take what is appended.
MOST_TIMES_UNAVAILABLE = 3


class Beginning:
    """Finds and stores where a term begins."""

    def __init__(
        self,
        partitions: int,
        table: RouteTable,
        source: SourceFacts,
        target: TargetWatch,
        tiers: Tiers,
        positions: PositionStore,
        epochs: Epochs,
    ) -> None:
        self._partitions = partitions
        self._table = table
        self._source = source
        self._target = target
        self._tiers = tiers
        self._positions = positions
        self._epochs = epochs

    async def begin(self, fence: int, handover: Handover) -> CaptureTerm:
        """The term that continues from what is stored: in the same epoch if its tier is whole, or in the next one.

        Raises the errors of MongoDB, Typesense and the tier; `Fenced` if another replica was faster.
        """
        stored = await self._positions.load()
        if stored is None:
            return await self._first_start(fence)
        route = self._source.route.name
        before = stored.routes.get(route, RouteState({}))
        fingerprint = await self._source.fingerprint(target_part(before.fingerprint))
        other_target = await self._target.replaced(before)
        changed = other_target or why_reconcile(before.fingerprint, fingerprint)
        lost = handover.position_lost or _other_stream(stored, fingerprint)
        if reason := changed or lost:
            # Only a lost position begins anew: a changed route is reconciled while the stream goes on where it was.
            began = await self._source.position_of_now() if lost else await self._positions.synced(stored)
            after = replace(before, fingerprint=fingerprint)
            if other_target or before.fingerprint.get("target") != fingerprint["target"]:
                part, marked = await self._target.make_ours(began.cluster_time)
                after = replace(after, fingerprint=fingerprint | part, marked=marked)
            # A question that nobody has answered stays open, unless it was about another collection.
            asked_of = before.reconcile.asked_of if before.reconcile and not other_target else 0
            after = replace(after, reconcile=ReconcileNeed(new_nonce(), reason, asked_of=asked_of))
            following = self._next_epoch(stored, fence, await self._tiers.healthy(), began, {route: after})
            return await self._epochs.open_next(stored, following, reason)
        reason, healthy = await self._reason_to_leave(stored, handover)
        if not reason:
            return await self._epochs.continue_current(stored, fence)
        synced = await self._positions.synced(stored)
        following = self._next_epoch(stored, fence, healthy, synced, stored.routes)
        return await self._epochs.open_next(stored, following, reason)

    async def _reason_to_leave(self, stored: Pipeline, handover: Handover) -> tuple[str, set[str]]:
        """Why the epoch cannot be continued ("": it can), and the tiers that could hold the next one."""
        reason = handover.leave_tier or (stored.tier_suspect.reason if stored.tier_suspect else "")
        if stored.partitions != self._partitions:
            reason = f"PARTITIONS was {stored.partitions}"
        if stored.table != self._table.version:
            reason = "the table of routes has changed"
        if not reason and not handover.unavailable:
            return "", set()
        healthy = await self._tiers.healthy()
        if not reason and handover.times_unavailable >= MOST_TIMES_UNAVAILABLE:
            healthy.discard(stored.epoch.tier)
        if reason or stored.epoch.tier not in healthy:
            return reason or handover.unavailable, healthy
        return "", healthy  # it answers again

    async def _first_start(self, fence: int) -> CaptureTerm:
        fingerprint = await self._source.fingerprint({})  # without a source, nothing is created in Typesense
        await self._target.prepare()
        start = await self._source.position_of_now()
        part, marked = await self._target.make_ours(start.cluster_time)
        state = RouteState(fingerprint | part, ReconcileNeed(new_nonce(), "the first start"), marked)
        epoch = EpochRef(secrets.token_hex(4), 1, new_nonce(), choose_tier(await self._tiers.healthy()))
        pipeline = Pipeline(
            epoch=epoch,
            capture_fence=fence,
            partitions=self._partitions,
            began=start,
            captured=start,
            routes={self._source.route.name: state},
            table=self._table.version,
        )
        return await self._epochs.create_first(pipeline)

    def _next_epoch(
        self, stored: Pipeline, fence: int, healthy: set[str], began: Position, routes: Mapping[str, RouteState]
    ) -> Pipeline:
        tier = choose_tier(healthy)
        following = stored.next_epoch(fence, tier, began, routes)
        flaps = self._tiers.flaps(stored, tier)
        return replace(following, flaps=flaps, partitions=self._partitions, table=self._table.version)


def _other_stream(stored: Pipeline, fingerprint: Mapping[str, Any]) -> str:
    """Why the stored position belongs to another change stream than ours; "" if it does not (pure)."""
    if any(same_stream(state.fingerprint, fingerprint) for state in stored.routes.values()):
        return ""
    return "the position is of another source"
