"""Capturing: what the one replica with the capture lease does, from finding where to begin to feeding the stream.

Invariants: a term begins where everything was synced or durable, never later; a tier that is not whole, and a
position that cannot be resumed, each lead to a new epoch, and the second also to a reconcile; faults end the term
and the next one begins from what MongoDB says, so there is one way to start and to recover.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from tsync_stream.config import Settings
from tsync_stream.coordination.leases import LeaseKeeper
from tsync_stream.coordination.positions import (
    Pipeline,
    PositionStore,
    ReconcileNeed,
    new_nonce,
    synced_position,
)
from tsync_stream.coordination.sharing import CAPTURE
from tsync_stream.coordination.term import BatchLost, CapturedChanges, CaptureTerm, EntryBatch
from tsync_stream.dead_letters import DeadLetters
from tsync_stream.errors import ConfigurationError, DependencyUnavailable, Fenced, PositionLost, TierLost, TsyncError
from tsync_stream.jobs.reconcile import DONE, MAX_WAITING_BATCHES, Reconcile, ReconcileTools
from tsync_stream.model import EpochRef, Head, Position, Route, Token
from tsync_stream.observe.health import Health
from tsync_stream.observe.metrics import Metrics
from tsync_stream.queue.base import Tier
from tsync_stream.replica.epoch_watch import EpochWatch
from tsync_stream.replica.fingerprint import changes, prepare_collection, take_fingerprint
from tsync_stream.source.change_stream import ChangeBatch, ChangeStream
from tsync_stream.source.documents import DocumentReader
from tsync_stream.target.typesense import TypesenseTarget
from tsync_stream.wake import Wake

log = logging.getLogger(__name__)

MONITOR_INTERVAL_S = 1.0
PAUSE_AFTER_FAULT_S = 1.0
LASTING_TERM_S = 10.0
MOST_SHORT_TERMS = 5
JOB_RETRY_S = 2.0
FINGERPRINT_INTERVAL_S = 5.0
# How long a stop waits for batches that are between capture and persist.
DRAIN_S = 5.0


class TermOver(TsyncError):
    """Nothing is wrong: the epoch document asks for something that a new term begins with."""


@dataclass(slots=True)
class CaptureTools:
    """What capturing works with."""

    settings: Settings
    route: Route
    client: AsyncIOMotorClient[Any]
    leases: LeaseKeeper
    epochs: EpochWatch
    positions: PositionStore
    tiers: Mapping[str, Tier]
    target: TypesenseTarget
    dead_letters: DeadLetters
    send_changes: Callable[[CapturedChanges], Awaitable[object]]
    send_entries: Callable[[EntryBatch], Awaitable[object]]
    health: Health
    metrics: Metrics
    wake: Wake


class Capturing:
    """`run` captures whenever this replica holds the capture lease, until `stop`."""

    def __init__(self, tools: CaptureTools) -> None:
        self._tools = tools
        self._stopping = False
        self._tier_lost = ""
        self._position_lost = ""
        self._queue_full = False
        self._short_terms = 0

    def stop(self) -> None:
        """Read no further changes; what was read is still appended."""
        self._stopping = True
        self._tools.wake.ring()

    async def run(self) -> None:
        """Terms, one after the other."""
        tools = self._tools
        while not self._stopping:
            began_s, held = time.monotonic(), None
            try:
                # Every term has a fence of its own: barriers are in one order only within a term, and what an
                # older term sent late must not be taken for the present one's.
                held = await tools.leases.raise_fence(CAPTURE)
                if held is not None:
                    await self._run_term(held.fence)
            except TsyncError as error:
                self._note(error)
            tools.metrics.capturing.set(0)
            lasted = held is not None and time.monotonic() - began_s > LASTING_TERM_S
            self._short_terms = 0 if lasted else min(self._short_terms + 1, MOST_SHORT_TERMS) if held else 1
            await self._pause()

    def _note(self, error: TsyncError) -> None:
        """Say why a term ended and what happens next; the next `_begin` does it."""
        health = self._tools.health
        if isinstance(error, TermOver):
            log.info("capture: %s; beginning again", error)
        elif isinstance(error, TierLost):
            self._tier_lost = str(error)
            health.red("tier", f"{error}; opening the next epoch from the synced position")
        elif isinstance(error, PositionLost):
            self._position_lost = str(error)
            health.red("position", f"{error}; a reconcile will repair it")
        elif isinstance(error, Fenced):
            log.warning("capture: %s; leaving it to them", error)
        else:
            person = isinstance(error, ConfigurationError)
            health.red("capture", f"{error}; trying again until it is mended", needs_person=person)

    async def _run_term(self, fence: int) -> None:
        term = await self._begin(fence)
        tools = self._tools
        tools.metrics.capturing.set(1)
        for check in ("capture", "position", "tier"):
            tools.health.green(check)
        await tools.epochs.refresh()
        work = [self._feed(term), self._monitor(term), term.broken()]
        if term.pipeline.reconcile is not None:
            work.append(self._reconcile(term, term.pipeline.reconcile))
        try:
            await _first_to_end(work)
        finally:
            if self._stopping:
                await self._drain(term)
            term.fail(TermOver("the term is over"))

    # -- where to begin ------------------------------------------------------------------------------------------

    async def _begin(self, fence: int) -> CaptureTerm:
        """The term that goes on from what is stored: the same epoch if its tier is whole, the next one otherwise."""
        tools = self._tools
        stored = await tools.positions.load()
        fingerprint = await self._fingerprint(stored)
        if stored is None:
            return await self._first_start(fence, fingerprint)
        if stored.partitions != tools.settings.partitions:
            raise ConfigurationError(
                f"PARTITIONS: the pipeline has {stored.partitions}; set PARTITIONS={stored.partitions}"
            )
        differing = changes(stored.fingerprint, fingerprint)
        lost = f"changed: {', '.join(differing)}" if differing else self._position_lost
        if lost:
            need = ReconcileNeed(new_nonce(), lost)
            following = stored.next_epoch(fence, self._choose_tier(), await self._position_of_now(), need)
            return await self._open_epoch(stored, replace(following, fingerprint=fingerprint), lost)
        doubt = self._tier_lost or (stored.doubt.reason if stored.doubt else "")
        if doubt:
            following = stored.next_epoch(fence, self._choose_tier(), await self._synced(stored), stored.reconcile)
            return await self._open_epoch(stored, following, doubt)
        return await self._continue(stored, fence)

    async def _fingerprint(self, stored: Pipeline | None) -> dict[str, Any]:
        """The present fingerprint. While Typesense cannot be asked, its part is taken as unchanged: capture goes on."""
        tools = self._tools
        try:
            schema = await prepare_collection(tools.target, tools.settings)
        except TsyncError:
            if stored is None:
                raise
            schema = {"created_at": stored.fingerprint["target_created_at"]}
        return await take_fingerprint(tools.client, tools.route, schema, tools.settings)

    async def _first_start(self, fence: int, fingerprint: Mapping[str, Any]) -> CaptureTerm:
        tools = self._tools
        start = await self._position_of_now()
        epoch = EpochRef(secrets.token_hex(4), 1, new_nonce(), self._choose_tier())
        pipeline = Pipeline(
            epoch=epoch,
            capture_fence=fence,
            partitions=tools.settings.partitions,
            began=start,
            captured=start,
            fingerprint=fingerprint,
            reconcile=ReconcileNeed(new_nonce(), "the first start"),
        )
        tier = tools.tiers[epoch.tier]
        await tier.create(epoch, pipeline.partitions, fence, start.token)
        if not await tools.positions.create(pipeline):
            await tier.remove(epoch, pipeline.partitions)
            raise Fenced("another replica made the first epoch")
        log.info("capture: first start, deployment %s: every document is queued", epoch.deployment)
        return self._term(pipeline, _empty_heads(pipeline), start)

    async def _open_epoch(self, stored: Pipeline, following: Pipeline, reason: str) -> CaptureTerm:
        """First the new streams, then the compare-and-set that makes them the queue, then the clean-up."""
        tools = self._tools
        tier = tools.tiers[following.epoch.tier]
        await tier.create(following.epoch, following.partitions, following.capture_fence, following.began.token)
        if not await tools.positions.replace(stored, following):
            await tier.remove(following.epoch, following.partitions)
            raise Fenced("the epoch document changed meanwhile")
        self._tier_lost = self._position_lost = ""
        tools.metrics.epochs_opened.inc()
        log.warning("capture: epoch %d on the %s tier (%s)", following.epoch.epoch, tier.name, reason)
        try:
            await tier.remove_older(following.epoch)
        except TsyncError as error:
            log.warning("capture: older epochs are not removed yet: %s; the next epoch tries again", error)
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
            if partition < len(heads) and same_epoch and record.number > heads[partition].last_number:
                raise TierLost(f"partition {partition}: entries that were synced are gone from the stream")
        synced = synced_position(pipeline, records)
        token = min((head.token for head in heads), key=_token_order)
        start = Position(token, synced.cluster_time, synced.cursors)
        following = replace(pipeline, capture_fence=fence, began=synced, captured=start)
        if not await tools.positions.replace(pipeline, following):
            raise Fenced("the epoch document changed meanwhile")
        log.info("capture: going on in epoch %d on %s", pipeline.epoch.epoch, tier.name)
        return self._term(following, heads, start)

    async def _synced(self, pipeline: Pipeline) -> Position:
        return synced_position(pipeline, await self._tools.positions.records())

    async def _position_of_now(self) -> Position:
        """Where a stream that is opened now begins: what changes from here on will be in it."""
        stream = await self._open_stream(None)
        try:
            batch = await stream.next_batch(1, MONITOR_INTERVAL_S)
        finally:
            await stream.close()
        return Position(batch.token, batch.cluster_time)

    def _choose_tier(self) -> str:
        return "primary"

    def _term(self, pipeline: Pipeline, heads: list[Head] | Any, start: Position) -> CaptureTerm:
        tier = self._tools.tiers[pipeline.epoch.tier]
        return CaptureTerm(pipeline, tier, self._tools.route, heads, start)

    # -- a term's work -------------------------------------------------------------------------------------------

    async def _feed(self, term: CaptureTerm) -> None:
        """Read whole batches of the change stream into the capture agent's channel, until stopped."""
        tools, buffer = self._tools, self._tools.settings.buffer
        read_size = buffer.max_buffer_size
        wait_s = min(MONITOR_INTERVAL_S, buffer.flush_interval_s)
        token: Token = term.appended.token
        stream = await self._open_stream(token)
        try:
            while not self._stopping:
                if self._queue_full:
                    # The oplog holds the changes meanwhile; the empty batch lets the next barrier through.
                    await asyncio.sleep(wait_s)
                    batch = ChangeBatch((), token, term.appended.cluster_time)
                else:
                    batch = await stream.next_batch(read_size, wait_s)
                with term.sending():
                    await tools.send_changes(CapturedChanges(term, token, batch))
                token = batch.token
        finally:
            await stream.close()

    async def _open_stream(self, after: Token | None) -> ChangeStream:
        tools = self._tools
        database = tools.client[tools.route.database]
        return await ChangeStream.open(database, tools.route.collection, after, tools.settings.buffer.batch_size)

    async def _monitor(self, term: CaptureTerm) -> None:
        """Once a second: is it still ours, is the tier in doubt, how far are we, is the reconcile done?"""
        tools = self._tools
        looks = 0
        while True:
            await asyncio.sleep(MONITOR_INTERVAL_S)
            held = tools.leases.holding(CAPTURE)
            if held is None or held.fence != term.fence:
                raise Fenced("the capture lease is gone")
            stored = await tools.positions.load()
            if stored is None or (stored.epoch, stored.capture_fence) != (term.pipeline.epoch, term.fence):
                raise Fenced("another term has begun")
            if stored.doubt is not None:
                raise TierLost(stored.doubt.reason)
            if (stored.reconcile and stored.reconcile.job) != (term.pipeline.reconcile and term.pipeline.reconcile.job):
                raise TermOver("a reconcile was asked for")
            await tools.positions.save_captured(stored, term.appended)
            await self._finish_reconcile(term, stored)
            await self._measure(term, stored)
            looks += 1
            if looks % int(FINGERPRINT_INTERVAL_S / MONITOR_INTERVAL_S) == 0:
                await self._check_fingerprint(stored)

    async def _finish_reconcile(self, term: CaptureTerm, stored: Pipeline) -> None:
        """The need is met when a barrier behind the job's last entry is synced."""
        if stored.reconcile is None:
            return
        job = stored.reconcile.job
        cursor = (await self._synced(stored)).cursors.get(job)
        if cursor is not None and cursor["phase"] == DONE:
            await self._tools.positions.clear_reconcile(stored, job)
            term.pipeline = replace(term.pipeline, reconcile=None)
            term.forget_job(job)
            log.info("reconcile: done, Typesense shows what MongoDB holds (%s)", stored.reconcile.reason)

    async def _check_fingerprint(self, stored: Pipeline) -> None:
        tools = self._tools
        try:
            live = await tools.target.collection(tools.route.target)
        except TsyncError:
            return  # sync is the one to say so; capture goes on without Typesense
        if live is None or live["created_at"] != stored.fingerprint["target_created_at"]:
            raise TermOver("the Typesense collection is not the one we filled")

    async def _measure(self, term: CaptureTerm, stored: Pipeline) -> None:
        """Backlog and lag; over MAX_BACKLOG the feed pauses until a tenth of it is worked off."""
        tools = self._tools
        backlog = await term.tier.backlog(term.pipeline.epoch, term.partitions)
        for partition, entries in enumerate(backlog):
            tools.metrics.backlog_entries.labels(str(partition)).set(entries)
        tools.metrics.epoch.set(term.pipeline.epoch.epoch)
        synced = await self._synced(stored)
        behind = sum(backlog) > 0 or term.in_flight > 0
        tools.metrics.lag_seconds.set(max(0.0, time.time() - synced.cluster_time.time) if behind else 0.0)
        limit = tools.settings.max_backlog
        self._queue_full = sum(backlog) > (0.9 * limit if self._queue_full else limit)
        if self._queue_full:
            tools.health.red(
                "backlog",
                f"{sum(backlog)} entries wait (MAX_BACKLOG {limit}); changes stay in the oplog until some are synced",
            )
        else:
            tools.health.green("backlog")

    async def _reconcile(self, term: CaptureTerm, need: ReconcileNeed) -> None:
        tools, settings = self._tools, self._tools.settings

        async def mass_delete_allowed() -> bool:
            stored = await tools.positions.load()
            return stored is not None and stored.reconcile is not None and stored.reconcile.allow_mass_delete

        async def wait_for_room() -> None:
            most = MAX_WAITING_BATCHES * settings.buffer.batch_size * term.partitions
            while sum(await term.tier.backlog(term.pipeline.epoch, term.partitions)) + term.in_flight > most:
                await asyncio.sleep(0.05)

        source = DocumentReader(tools.client, settings.lease_ttl_s)
        job_tools = ReconcileTools(
            source=source,
            target=tools.target,
            dead_letters=tools.dead_letters,
            health=tools.health,
            send=tools.send_entries,
            wait_for_room=wait_for_room,
            mass_delete_allowed=mass_delete_allowed,
            mass_delete_share=settings.mass_delete_share,
            batch_size=settings.buffer.max_buffer_size,
        )
        log.info("reconcile: began (%s)", need.reason)
        job = Reconcile(need.job, term, job_tools)
        try:
            await self._run_job(job)
        finally:
            await source.close()
        await self._until_persisted(term, job)

    async def _run_job(self, job: Reconcile) -> None:
        """Run it to its end. An outage is the job's own: it goes on from its cursor, and capture never stops for it."""
        health = self._tools.health
        while True:
            try:
                await job.run()
            except (DependencyUnavailable, ConfigurationError) as error:
                person = isinstance(error, ConfigurationError)
                health.red("reconcile", f"{error}; it goes on where it is when that is mended", needs_person=person)
                await asyncio.sleep(JOB_RETRY_S)
            else:
                health.green("reconcile")
                return

    async def _until_persisted(self, term: CaptureTerm, job: Reconcile) -> None:
        """All is queued when the last batch is; the monitor sees when it is synced. Raises `BatchLost` if it is not."""
        while term.pipeline.reconcile is not None:
            await asyncio.sleep(MONITOR_INTERVAL_S)
            arrived = term.pipeline.reconcile is None or term.appended.cursors.get(job.name) == job.cursor
            if term.in_flight == 0 and not arrived:
                raise BatchLost("the last batch of a reconcile was lost before it was persisted")
        await asyncio.Event().wait()  # the term ends by other means

    async def _drain(self, term: CaptureTerm) -> None:
        """What was read from the stream is appended before we go; if not, it is read again later."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while term.in_flight > 0 and not term.failed:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning("capture: %d batches were not appended in time; they will be read again", term.in_flight)

    async def _pause(self) -> None:
        """Not at all after a term that lasted; longer and longer after terms that ended as soon as they began."""
        if not self._stopping:
            await self._tools.wake.wait(PAUSE_AFTER_FAULT_S * self._short_terms)


def _token_order(token: Token) -> str:
    """Resume tokens are key strings: in hexadecimal they sort as the changes do."""
    return str(token["_data"])


def _empty_heads(pipeline: Pipeline) -> list[Head]:
    return [Head(0, 0, pipeline.began.token) for _ in range(pipeline.partitions)]


async def _first_to_end(work: list[Coroutine[Any, Any, None]]) -> None:
    """Run side by side until one returns or raises; the others are cancelled and waited for."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
