"""One replica: its clients, its coordination objects, and the order in which they start and stop.

Invariants: on a stop, changes that were read are appended, batches in hand are synced and acked (or left unacked for
the next owner), and only then are the leases given back and the connections closed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from tsync_stream.capture.backlog import Backlog
from tsync_stream.capture.begin import Beginning
from tsync_stream.capture.epochs import Epochs
from tsync_stream.capture.feed import ChangeStreams, Feed
from tsync_stream.capture.leader import CaptureLeader, TermRunner, TermWork
from tsync_stream.capture.monitor import Monitor
from tsync_stream.capture.source_facts import SourceFacts
from tsync_stream.capture.target_watch import TargetWatch
from tsync_stream.capture.term import CapturedChanges, CaptureTerm, EntryBatch
from tsync_stream.capture.tier_watch import TierWatch
from tsync_stream.capture.tiers import Tiers
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.cluster.identity import own_identity
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.cluster.membership import Membership
from tsync_stream.cluster.reachability import MONGODB, TYPESENSE, Look, OneAtATime, Reach
from tsync_stream.core import clock
from tsync_stream.core.errors import TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.linger import SyncPace
from tsync_stream.core.tasks import end_tasks
from tsync_stream.core.wake import Backoff, Wake
from tsync_stream.jobs.kinds import JobKinds
from tsync_stream.jobs.ledger import JobLedger
from tsync_stream.jobs.need import NeededReconcile
from tsync_stream.jobs.runner import FiledJobs, TermJobs
from tsync_stream.jobs.scan import Sides
from tsync_stream.jobs.term import JobTerm
from tsync_stream.observe.dead_letter_watch import DeadLetterWatch
from tsync_stream.observe.field_watch import watch_fields
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.rates import Rates
from tsync_stream.observe.stalls import StallDetector, own_problems
from tsync_stream.queue.mongo_tier import MongoFallback
from tsync_stream.queue.redis_tier import RedisStreams
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declared import route_of
from tsync_stream.routes.fingerprint import prepare_collection
from tsync_stream.settings.common import common_settings
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.sink.mapping_plan import MappingOptions
from tsync_stream.source.documents import DocumentReader, count_documents, source_collection
from tsync_stream.source.driver import TIMEOUT_MS, MongoHealth, connect_anew, mongo_client
from tsync_stream.source.errors import translated
from tsync_stream.state.database import state_database
from tsync_stream.state.dead_letter_search import DeadLetterRecords
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.jobs import JobStore
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.state.rechecks import Rechecks
from tsync_stream.sync.agent import Sync
from tsync_stream.sync.batch import SyncBatch
from tsync_stream.sync.current_queue import CurrentQueue, ReadLimits
from tsync_stream.sync.dispatch import AgentCall, Dispatch
from tsync_stream.sync.in_doubt import InDoubt
from tsync_stream.sync.lane import Lane, LaneSteps
from tsync_stream.sync.losses import LossReports
from tsync_stream.sync.owned import OwnedPartitions
from tsync_stream.sync.reader import Reader
from tsync_stream.sync.recheck_turns import RecheckTurns

log = logging.getLogger(__name__)

START_RETRY_S = 1.0
START_TIER_S = 3.0


@dataclass(slots=True)
class Channels:
    """How the services put work before the agents."""

    send_changes: Callable[[CapturedChanges], Awaitable[object]]
    send_entries: Callable[[EntryBatch], Awaitable[object]]
    send_batch: Callable[[SyncBatch], Awaitable[object]]


class Replica:
    """Everything of one process but its agents. Made inside the event loop."""

    def __init__(self, settings: Settings, channels: Channels, health: Health, metrics: Metrics) -> None:
        self._settings = settings
        self.health = health
        self._metrics = metrics
        self._rates = Rates(clock.now_s())
        self.route = route_of(settings)
        self.client = mongo_client(settings)
        database = state_database(self.client, settings.state_database)
        self.target = TypesenseTarget(settings.typesense)
        self.dead_letters = DeadLetters(database, metrics.count_refused)
        self._dead_letter_records = DeadLetterRecords(database)
        self._count_documents = partial(count_documents, self.client, self.route.database, self.route.collection)
        self._refusals = DeadLetterWatch(
            self.route.name,
            self._dead_letter_records,
            self._count_documents,
            health,
            metrics,
            settings.dead_letter_alert_share,
        )
        self._jobs = JobStore(database)
        self.rechecks = Rechecks(database, settings.longest_request_s, self.route.name, settings.partitions)
        self.positions = PositionStore(database)
        manage = settings.redis_manage_persistence
        redis = [
            RedisStreams(tier, manage_persistence=manage) for tier in (settings.primary_redis, settings.backup_redis)
        ]
        tiers: list[Tier] = [*redis, MongoFallback(database)]
        self.tiers = {tier.name: tier for tier in tiers}
        self._wake = Wake()
        self._dense_turn = asyncio.Lock()
        self._pace = SyncPace()
        self._mongo_health = MongoHealth(health, partial(connect_anew, self.client))
        self._epochs = EpochWatch(self.positions, self._wake, self._mongo_health)
        options = MappingOptions(date_unit=settings.date_unit)
        self.schema = LiveSchema(self.target, self.route.target, options, self._epochs.epoch)
        looks: dict[str, Look] = {
            MONGODB: OneAtATime("MongoDB", self._look_at_mongo),
            TYPESENSE: partial(self.target.look, self.route.target),
            **{tier.name: tier.look for tier in redis},
        }
        self._reach = Reach(looks, settings.lease_ttl_s, self._wake, health, self._present_tier)
        self.leases = LeaseKeeper(
            database,
            own_identity(),
            settings.partitions,
            settings.lease_ttl_s,
            self._before_giving_back,
            self._wake,
            Membership(database, common_settings(settings), settings.lease_ttl_s, health),
            self._statistics,
            self._reach.report,
            self._mongo_health,
        )
        self.sync = Sync(self.route, self.target, self.dead_letters, metrics, settings, self.schema)
        lanes = [self._lane(number, channels.send_batch) for number in range(settings.sync_lanes)]
        self._reader = Reader(lanes, self.positions, health)
        self._stalls = StallDetector(self.leases, self._epochs, lanes, health)
        self._leader = self._capture_leader(channels)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, crash: Callable[[BaseException], object]) -> None:
        """Wait until MongoDB and Redis answer, then start working in the background.

        `crash` is told an error that nobody foresaw: the process should end then, and another takes over.
        """
        await self._until_it_works(self._prepare)

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                crash(error)

        self._tasks = [asyncio.create_task(work(), name=name) for name, work in self._work().items()]
        for task in self._tasks:
            task.add_done_callback(ended)

    def _work(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        return {
            "leases": self.leases.keep,
            "epochs": self._epochs.run,
            "reach": self._reach.run,
            "stalls": self._stalls.run,
            "refusals": self._refusals.run,
            "reader": self._reader.run,
            "capturing": self._leader.run,
            "schema": partial(watch_fields, self.schema, self.health, self._settings),
        }

    async def stop(self) -> None:
        """Finish what is in hand and give everything back. The agents must still be running."""
        self._leader.stop()
        await self._finished("capturing")
        self._reader.stop()
        await self._finished("reader")
        await end_tasks(self._tasks)
        try:
            await self.leases.stop()
        except TsyncError as error:
            log.warning("leases: %s; they run out by themselves", error)
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.target.close()
        for tier in self.tiers.values():
            await tier.close()
        self.client.close()

    @property
    def partitions_owned(self) -> int:
        """How many partitions this replica works on now."""
        return sum(name != CAPTURE and self.leases.holding(name) is not None for name in self.leases.held)

    async def _prepare(self) -> None:
        await self.dead_letters.start()
        await self.rechecks.start()
        await self._jobs.start()
        await asyncio.gather(*map(self._start_tier, self.tiers.values()))
        await self.leases.start()

    async def _start_tier(self, tier: Tier) -> None:
        """A tier that cannot be reached now is started when it becomes the queue; nothing waits for it."""
        try:
            async with asyncio.timeout(START_TIER_S):
                await tier.start()
        except (TsyncError, TimeoutError) as error:
            log.warning("%s tier: %s; going on without it until it answers", tier.name, error or "no answer")

    async def _until_it_works(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except TsyncError as error:
                self.health.red("start", f"{error}; trying again every {START_RETRY_S:g} s")
                await asyncio.sleep(START_RETRY_S)
            else:
                self.health.green("start")
                return

    async def _finished(self, name: str) -> None:
        for task in self._tasks:
            if task.get_name() == name:
                await asyncio.gather(task, return_exceptions=True)

    def _statistics(self) -> dict[str, Any]:
        captured, synced = self._metrics.total("changes_captured"), self._metrics.total("entries_acked")
        return {
            **self._rates.measure(clock.now_s(), captured, synced),
            "problems": own_problems(self.health.report()["problems"]),
        }

    async def _look_at_mongo(self) -> None:
        """What sync does with it. That our own state can be read and written, the leases and the epoch watch tell."""
        source = source_collection(self.client, self.route)
        try:
            async with translated():
                await source.find_one({}, {"_id": 1}, max_time_ms=TIMEOUT_MS)
        except TsyncError as error:
            self._mongo_health.note(error)
            raise

    def _present_tier(self) -> str | None:
        pipeline = self._epochs.current
        return None if pipeline is None else pipeline.epoch.tier

    async def _before_giving_back(self, lease: str) -> bool:
        return await self._reader.released(lease)

    def _partitions_of_lane(self, number: int) -> range:
        return range(number, self._settings.partitions, self._settings.sync_lanes)

    def _lane(self, number: int, send: Callable[[SyncBatch], Awaitable[object]]) -> Lane:
        settings, health, metrics, wake = self._settings, self.health, self._metrics, self._wake
        name, typesense, buffer = f"lane {number}", settings.typesense, settings.buffer
        in_doubt = InDoubt(settings.longest_request_s)
        reader = DocumentReader(self.client, settings.lease_ttl_s, self._dense_turn)
        call = AgentCall(send, reader, self.leases, settings.longest_request_s)
        busy_backoff = Backoff(typesense.retry_backoff_s, wake, busy_s=typesense.connection_timeout_s)
        limits = ReadLimits(buffer.batch_size, buffer.max_buffer_size, min(1.0, buffer.longest_linger_s))
        partitions = self._partitions_of_lane(number)
        steps = LaneSteps(
            OwnedPartitions(partitions, self.leases, in_doubt, self.dead_letters.look_again),
            CurrentQueue(self._epochs, self.tiers, self.route, settings.partitions, limits),
            Dispatch(name, call, in_doubt, busy_backoff, typesense.max_retries, health, metrics),
            self.rechecks,
            RecheckTurns(typesense.connection_timeout_s),
            metrics,
            self._pace,
        )
        losses = LossReports(self.route.name, self._epochs, self.positions, health)
        return Lane(name, steps, losses, health, wake, Backoff(typesense.retry_backoff_s, wake))

    def _capture_leader(self, channels: Channels) -> CaptureLeader:
        settings, route, health, metrics = self._settings, self.route, self.health, self._metrics
        tiers = Tiers(self.tiers, settings.fail_back_after_s, self._epochs.age_s)
        prepare = partial(prepare_collection, self.target, settings)
        target = TargetWatch(self.target, route.target, self.positions, health, prepare)
        backlog = Backlog(self.client, self.tiers, settings.max_backlog, health, metrics)
        feed = Feed(
            ChangeStreams(settings, route, health, metrics),
            channels.send_changes,
            settings.buffer.max_buffer_size,
            settings.buffer.longest_linger_s,
            self._pace,
            backlog,
        )
        monitor = Monitor(self.leases, self._epochs, self.positions, target, backlog)
        kinds = self._job_kinds()

        def beside_feed(term: CaptureTerm) -> list[TermWork]:
            jobs = self._jobs_of(term, kinds, channels)
            tier_watch = TierWatch(term, tiers, self.positions, health)
            return [monitor.run(term, jobs), tier_watch.go_back(), tier_watch.clean_up(), *jobs.work()]

        epochs = Epochs(route, self.positions, tiers, partial(self.leases.confirm, CAPTURE), metrics)
        source = SourceFacts(self.client, route, settings)
        beginning = Beginning(settings.partitions, source, target, tiers, self.positions, epochs)
        terms = TermRunner(feed, beside_feed, tiers, self._epochs, metrics)
        return CaptureLeader(self.leases, beginning, terms, target, health, self._wake)

    def _job_kinds(self) -> JobKinds:
        settings = self._settings

        def open_sides() -> Sides:
            source = DocumentReader(self.client, settings.lease_ttl_s, self._dense_turn)
            return Sides(self.route, source, self.target, settings.buffer.max_buffer_size)

        return JobKinds(
            open_sides,
            self._count_documents,
            self.schema,
            self.dead_letters,
            self._dead_letter_records,
            settings.mass_delete_share,
        )

    def _jobs_of(self, term: CaptureTerm, kinds: JobKinds, channels: Channels) -> TermJobs:
        job_term = JobTerm(term, channels.send_entries, self._settings.buffer.batch_size, self.health)
        ledger = JobLedger(self._jobs, self._dead_letter_records, self.route.name)
        needed = NeededReconcile(job_term, kinds, ledger, self.positions, self.health)
        return TermJobs(job_term, FiledJobs(job_term, kinds, ledger), needed)
