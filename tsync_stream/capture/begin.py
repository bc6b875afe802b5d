"""Where a capture term begins: in the same epoch if its tier is whole, otherwise in the next; or at the first start.

Invariants: a term begins where everything was synced or durable, never later. A new epoch is opened by one
compare-and-set, after its streams exist. A position that cannot be resumed, and a fingerprint that differs, bring the
need of a reconcile with the new epoch.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tsync_stream.capture.target_watch import TargetWatch
from tsync_stream.capture.term import CapturedChanges, CaptureTerm, EntryBatch
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.core import clock
from tsync_stream.core.errors import Fenced, TierLost, TierRefused, TierUnavailable, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.linger import SyncPace
from tsync_stream.core.model import EpochRef, Head, Position, Route, Token
from tsync_stream.core.wake import Wake
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.probing import probe_within_deadline
from tsync_stream.queue.selection import SetAside, choose_tier, count_flaps
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.fingerprint import (
    fingerprint_of,
    prepare_collection,
    same_stream,
    target_part,
    why_reconcile,
)
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.collection import source_uuid
from tsync_stream.source.driver import MongoClient
from tsync_stream.state.dead_letter_search import DeadLetterRecords
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.jobs import JobStore
from tsync_stream.state.pipeline import Pipeline, PositionStore, new_nonce, synced_position
from tsync_stream.state.route_state import ReconcileNeed, RouteState

log = logging.getLogger(__name__)

POSITION_WAIT_S = 1.0
# A tier that answers is continued; not for ever, if it never takes what is appended.
MOST_TIMES_UNAVAILABLE = 3


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the last term ended, where that decides how the next one begins; "" where nothing is known.

    `tier`: it is lost, or a better one is back. `unavailable`: it was out of reach past its retries, `times` times
    without a lasting term between.
    """

    tier: str = ""
    unavailable: str = ""
    times: int = 0
    position: str = ""


@dataclass(slots=True)
class CaptureTools:
    """What capturing works with."""

    settings: Settings
    route: Route
    client: MongoClient
    leases: LeaseKeeper
    epochs: EpochWatch
    positions: PositionStore
    tiers: Mapping[str, Tier]
    target: TypesenseTarget
    target_watch: TargetWatch
    schema: LiveSchema
    dead_letters: DeadLetters
    dead_letter_records: DeadLetterRecords
    jobs: JobStore
    send_changes: Callable[[CapturedChanges], Awaitable[object]]
    send_entries: Callable[[EntryBatch], Awaitable[object]]
    health: Health
    metrics: Metrics
    wake: Wake
    pace: SyncPace
    dense_turn: asyncio.Lock


class Beginning:
    """Finds and stores where a term begins."""

    def __init__(self, tools: CaptureTools) -> None:
        self._tools = tools
        self.set_aside = SetAside(tools.settings.fail_back_after_s)

    async def begin(self, fence: int, trouble: Trouble) -> CaptureTerm:
        """The term that goes on from what is stored: the same epoch if its tier is whole, the next one otherwise."""
        tools = self._tools
        stored = await tools.positions.load()
        if stored is None:
            return await self._first_start(fence)
        before = stored.routes.get(tools.route.name, RouteState({}))
        fingerprint = await self._fingerprint(target_part(before.fingerprint))
        other_target = await self._other_target(before)
        changed = other_target or why_reconcile(before.fingerprint, fingerprint)
        lost = trouble.position or self._other_stream(stored, fingerprint)
        if reason := changed or lost:
            # Only a lost position begins anew: a changed route is reconciled while the stream goes on where it was.
            began = await self._position_of_now() if lost else await tools.positions.synced(stored)
            after = replace(before, fingerprint=fingerprint)
            if other_target or before.fingerprint.get("target") != tools.route.target:
                part, marked = await tools.target_watch.make_ours(began.cluster_time)
                after = replace(after, fingerprint=fingerprint | part, marked=marked)
            # A question that nobody has answered stays open, unless it was about another collection.
            asked_of = before.reconcile.asked_of if before.reconcile and not other_target else 0
            after = replace(after, reconcile=ReconcileNeed(new_nonce(), reason, asked_of=asked_of))
            routes = {tools.route.name: after}
            following = self._next_epoch(stored, fence, await self._healthy_tiers(), began, routes)
            return await self._open_epoch(stored, following, reason)
        suspect, healthy = await self._why_suspect(stored, trouble)
        if not suspect:
            return await self._continue(stored, fence)
        synced = await tools.positions.synced(stored)
        following = self._next_epoch(stored, fence, healthy, synced, stored.routes)
        return await self._open_epoch(stored, following, suspect)

    def _other_stream(self, stored: Pipeline, fingerprint: Mapping[str, Any]) -> str:
        """Why the stored position is of another change stream than ours; "": it is not."""
        if any(same_stream(state.fingerprint, fingerprint) for state in stored.routes.values()):
            return ""
        return "the position is of another source"

    async def _why_suspect(self, stored: Pipeline, trouble: Trouble) -> tuple[str, set[str]]:
        """Why the epoch cannot be continued ("": it can), and the tiers that could be the next one's."""
        suspect = trouble.tier or (stored.tier_suspect.reason if stored.tier_suspect else "")
        if stored.partitions != self._tools.settings.partitions:
            suspect = f"PARTITIONS was {stored.partitions}"
        if not suspect and not trouble.unavailable:
            return "", set()
        healthy = await self._healthy_tiers()
        if not suspect and trouble.times >= MOST_TIMES_UNAVAILABLE:
            healthy.discard(stored.epoch.tier)
        if suspect or stored.epoch.tier not in healthy:
            return suspect or trouble.unavailable, healthy
        return "", healthy  # it answers again

    async def _fingerprint(self, target: Mapping[str, Any]) -> dict[str, Any]:
        tools, route = self._tools, self._tools.route
        uuid = await source_uuid(tools.client, route.database, route.collection)
        return fingerprint_of(route, uuid, target, tools.settings)

    async def _other_target(self, state: RouteState) -> str:
        """Why the Typesense collection, which is made if there is none, is not the one that was filled; "": it is.

        While Typesense cannot be asked it is taken for that: capture goes on, and asks again.
        """
        tools = self._tools
        try:
            found = await tools.target_watch.difference(state)
            if found:
                await prepare_collection(tools.target, tools.settings)
        except TsyncError:
            return ""
        return found

    async def _first_start(self, fence: int) -> CaptureTerm:
        tools = self._tools
        fingerprint = await self._fingerprint({})  # without a source nothing is made in Typesense
        await prepare_collection(tools.target, tools.settings)
        start = await self._position_of_now()
        part, marked = await tools.target_watch.make_ours(start.cluster_time)
        state = RouteState(fingerprint | part, ReconcileNeed(new_nonce(), "the first start"), marked)
        epoch = EpochRef(secrets.token_hex(4), 1, new_nonce(), choose_tier(await self._healthy_tiers()))
        pipeline = Pipeline(
            epoch=epoch,
            capture_fence=fence,
            partitions=tools.settings.partitions,
            began=start,
            captured=start,
            routes={tools.route.name: state},
        )
        tier = tools.tiers[epoch.tier]
        await tier.start()
        await tier.create(epoch, pipeline.partitions, fence, start.token)
        if not await tools.positions.create(pipeline):
            await tier.remove(epoch, pipeline.partitions)
            raise Fenced("another replica made the first epoch")
        log.info("capture: first start, deployment %s: every document is queued", epoch.deployment)
        return self._term(pipeline, _empty_heads(pipeline), start)

    async def _open_epoch(self, stored: Pipeline, following: Pipeline, reason: str) -> CaptureTerm:
        """First the new streams, then the compare-and-set that makes them the queue; the term then cleans up."""
        tools = self._tools
        tier = tools.tiers[following.epoch.tier]
        try:
            await tier.start()  # it may be another server by now, with its own settings
            await tier.create(following.epoch, following.partitions, following.capture_fence, following.began.token)
        except (TierLost, TierRefused, TierUnavailable):
            self.set_aside.failed(tier.name, 0.0, clock.now_s())
            raise
        if not await tools.positions.replace(stored, following):
            await tier.remove(following.epoch, following.partitions)
            raise Fenced("the epoch document changed meanwhile")
        tools.metrics.epochs_opened.inc()
        log.warning("capture: epoch %d on the %s tier (%s)", following.epoch.epoch, tier.name, reason)
        return self._term(following, _empty_heads(following), following.began)

    async def _continue(self, pipeline: Pipeline, fence: int) -> CaptureTerm:
        """Go on in the same epoch from the smallest head's token; the jobs from their synced cursors."""
        tools = self._tools
        tier = tools.tiers[pipeline.epoch.tier]
        try:
            heads = await tier.take_over(pipeline.epoch, pipeline.partitions, fence)
        except Fenced as error:
            if await tools.leases.confirm(CAPTURE, fence):
                # Nobody newer: the tier's fences are from a state database that was restored or is lost.
                raise TierLost(f"{tier.name}: its fences are newer than the state database's") from error
            raise
        records = await tools.positions.records()
        for partition, record in records.items():
            same_epoch = record.order.epoch == pipeline.epoch.epoch
            if partition < len(heads) and same_epoch and record.offset > heads[partition].last_offset:
                raise TierLost(f"partition {partition}: entries that were synced are gone from the stream")
        synced = synced_position(pipeline, records)
        token = min((head.token for head in heads), key=_token_order)
        start = Position(token, synced.cluster_time, synced.cursors)
        following = replace(pipeline, capture_fence=fence, began=synced, captured=start)
        if not await tools.positions.replace(pipeline, following):
            raise Fenced("the epoch document changed meanwhile")
        log.info("capture: going on in epoch %d on %s", pipeline.epoch.epoch, tier.name)
        return self._term(following, heads, start)

    async def _position_of_now(self) -> Position:
        """Where a stream that is opened now begins: what changes from here on will be in it."""
        tools = self._tools
        stream = await ChangeStream.open(tools.client[tools.route.database], tools.route.collection, None, 1)
        try:
            batch = await stream.next_batch(1, POSITION_WAIT_S)
        finally:
            await stream.close()
        return Position(batch.token, batch.cluster_time)

    async def _healthy_tiers(self) -> set[str]:
        """The tiers that take entries now."""

        async def is_healthy(tier: Tier) -> bool:
            if why := self.set_aside.why(tier.name, clock.now_s()):
                log.warning("capture: %s", why)
                return False
            try:
                await probe_within_deadline(tier)
            except TsyncError as error:
                log.warning("capture: %s; it cannot be the queue now", error)
                return False
            return True

        tiers = self._tools.tiers
        answers = await asyncio.gather(*map(is_healthy, tiers.values()))
        return {name for name, healthy in zip(tiers, answers, strict=True) if healthy}

    def _next_epoch(
        self,
        stored: Pipeline,
        fence: int,
        healthy: Collection[str],
        began: Position,
        routes: Mapping[str, RouteState],
    ) -> Pipeline:
        tier = choose_tier(healthy)
        flaps = count_flaps(stored.flaps, stored.epoch.tier, tier, self._tools.epochs.age_s())
        following = stored.next_epoch(fence, tier, began, routes)
        return replace(following, flaps=flaps, partitions=self._tools.settings.partitions)

    def _term(self, pipeline: Pipeline, heads: list[Head] | Any, start: Position) -> CaptureTerm:
        tier = self._tools.tiers[pipeline.epoch.tier]
        return CaptureTerm(pipeline, tier, self._tools.route, heads, start)


def _token_order(token: Token) -> str:
    """Resume tokens are key strings: in hexadecimal they sort as the changes do."""
    return str(token["_data"])


def _empty_heads(pipeline: Pipeline) -> list[Head]:
    return [Head(0, 0, pipeline.began.token) for _ in range(pipeline.partitions)]
