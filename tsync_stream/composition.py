"""The composition root: what one replica is made of. Each part is given what it uses, and nothing else.

To be read from top to bottom: MongoDB and what we keep there, Typesense, the queue, who does what, then the two stages
that stand on all of it. Nothing is connected or started here; `replica.py` does that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tsync_stream.backups.making import BackupMaker
from tsync_stream.backups.scheduled import ScheduledBackups
from tsync_stream.capture.backlog import Backlog
from tsync_stream.capture.begin import Beginning
from tsync_stream.capture.epochs import Epochs
from tsync_stream.capture.fan_out import FanOut
from tsync_stream.capture.feed import ChangeStreams, Feed
from tsync_stream.capture.leader import CaptureLeader, TermRunner, TermWork
from tsync_stream.capture.monitor import Monitor
from tsync_stream.capture.source_facts import SourceFacts
from tsync_stream.capture.source_watch import until_a_source_appears
from tsync_stream.capture.sources import Sources
from tsync_stream.capture.target_watch import CHECK as TARGET
from tsync_stream.capture.target_watch import TargetWatch
from tsync_stream.capture.targets import Targets
from tsync_stream.capture.term import CapturedChanges, CaptureTerm, EntryBatch
from tsync_stream.capture.tier_watch import TierWatch
from tsync_stream.capture.tiers import Tiers
from tsync_stream.cluster.assignment import CAPTURE, Held
from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.cluster.identity import own_identity
from tsync_stream.cluster.leases import LeaseKeeper
from tsync_stream.cluster.membership import Membership
from tsync_stream.cluster.reachability import MONGODB, TYPESENSE, AnyOf, Look, OneAtATime, Reach
from tsync_stream.core.health import Health
from tsync_stream.core.linger import SyncPace
from tsync_stream.core.model import Route
from tsync_stream.core.pacer import MaxRates
from tsync_stream.core.wake import Backoff, Wake
from tsync_stream.jobs.continuous import verification_at
from tsync_stream.jobs.job_pace import JobPace
from tsync_stream.jobs.kinds import JobKinds
from tsync_stream.jobs.ledger import JobLedger
from tsync_stream.jobs.need import NeededReconcile
from tsync_stream.jobs.refresh import RefreshJobs
from tsync_stream.jobs.reindex.under import Reindexing
from tsync_stream.jobs.runner import FiledJobs, TermJobs
from tsync_stream.jobs.scan import Sides
from tsync_stream.jobs.term import JobTerm
from tsync_stream.observe.conditions import State, stages
from tsync_stream.observe.dead_letter_watch import DeadLetterWatch
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.process_watch import ProcessWatch
from tsync_stream.observe.publishing import Publisher
from tsync_stream.observe.stalls import StallDetector
from tsync_stream.queue.mongo_tier import MongoFallback
from tsync_stream.queue.redis_tier import RedisStreams
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.preparation import found_schema, prepare_collection
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.transform_runner import TransformRunner
from tsync_stream.routes.usability import Usability
from tsync_stream.routes.view import source_views
from tsync_stream.settings.in_force import InForce
from tsync_stream.settings.rotation import Rotation, at_once
from tsync_stream.settings.secrets import Secret
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.sink.mapping_plan import MappingOptions
from tsync_stream.source.documents import REPLY_DEADLINE_S, DocumentReader, count_documents, look_at_source
from tsync_stream.source.driver import MongoHealth, connect_anew, mongo_client
from tsync_stream.source.references import References
from tsync_stream.state.backups import BackupStore
from tsync_stream.state.database import state_database
from tsync_stream.state.dead_letter_search import DeadLetterRecords
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.generation_store import GenerationStore
from tsync_stream.state.history import History
from tsync_stream.state.jobs import JobStore
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.state.rechecks import Rechecks
from tsync_stream.state.refreshes import Refreshes, nothing_refreshed
from tsync_stream.state.verifications import VerificationStore
from tsync_stream.sync.agent import PARTS_AT_ONCE, Sync
from tsync_stream.sync.attempt import Attempt
from tsync_stream.sync.batch import SyncBatch
from tsync_stream.sync.current_queue import CurrentQueue, ReadLimits
from tsync_stream.sync.dispatch import AgentCall, Dispatch
from tsync_stream.sync.in_doubt import InDoubt, doubts_s
from tsync_stream.sync.lane import Lane, LaneSteps
from tsync_stream.sync.losses import LossReports
from tsync_stream.sync.owned import OwnedPartitions
from tsync_stream.sync.rate_limit import RateLimit
from tsync_stream.sync.reader import Reader
from tsync_stream.sync.recheck_turns import RecheckTurns
from tsync_stream.sync.suspended import SuspendedRoutes


@dataclass(slots=True)
class Channels:
    """How the parts give work to the agents."""

    send_changes: Callable[[CapturedChanges], Awaitable[object]]
    send_entries: Callable[[EntryBatch], Awaitable[object]]
    send_batch: Callable[[SyncBatch], Awaitable[object]]


class Parts:
    """The parts of one replica. Made inside the event loop."""

    def __init__(
        self, in_force: InForce, table: RouteTable, channels: Channels, health: Health, metrics: Metrics
    ) -> None:
        self._in_force = in_force
        self._settings = settings = in_force.settings
        self._channels = channels
        self._health, self._metrics = health, metrics
        self.table = table
        self._views = source_views(self.table, self._transform_of)
        self._wake = Wake()
        self._pace = SyncPace()
        self.max_rates = MaxRates(settings.typesense.max_rate or None, self.table.max_rates)

        # MongoDB: the source, and what we keep there
        self.client = mongo_client(settings)
        self._dense_turn = asyncio.Lock()
        self._mongo_health = MongoHealth(health, partial(connect_anew, self.client))
        database = state_database(self.client, settings.state_database)
        self.positions = PositionStore(database)
        self.jobs = JobStore(database)
        self._verifications = VerificationStore(database)
        self.history = History(database)
        self.generations = GenerationStore(database)
        self.refreshes = Refreshes(database)
        self.fan_out = FanOut(self.table, References(self.client), self.refreshes, settings.fan_out_inline)
        self.rechecks = Rechecks(database, settings.longest_request_s, self.table, settings.partitions)
        self.dead_letters = DeadLetters(database, metrics.count_refused)
        self._dead_letter_records = DeadLetterRecords(database)

        # The queue
        manage = settings.redis_manage_persistence
        redis = [RedisStreams(tier, manage_persistence=manage) for tier in settings.redis_tiers]
        tiers: list[Tier] = [*redis, MongoFallback(database)]
        self.tiers = {tier.name: tier for tier in tiers}
        self.epochs = EpochWatch(self.positions, self._wake, self._mongo_health, table.version, tiers[0].name)

        # Typesense
        self.target = TypesenseTarget(settings.typesense, settings.sync_lanes * min(PARTS_AT_ONCE, len(self.table)))
        options = MappingOptions(date_unit=settings.date_unit)
        self.schemas = {
            route.name: LiveSchema(self.target, route.target, options, self.epochs.epoch) for route in self.table.routes
        }

        # Who does what
        look_at = partial(look_at_source, self.client, self._mongo_health)
        looks: dict[str, Look] = {
            MONGODB: OneAtATime("MongoDB", AnyOf(partial(look_at, route) for route in self.table.routes)),
            TYPESENSE: AnyOf(partial(self.target.look, route.target) for route in self.table.routes),
            **{tier.name: tier.look for tier in redis},
        }
        self.reach = Reach(looks, settings.lease_ttl_s, self._wake, health, self.epochs.tier)
        common, instead_of = in_force.common, in_force.instead_of
        self.membership = Membership(database, common, self.table, settings.lease_ttl_s, health, instead_of)
        self.leases = LeaseKeeper(
            database,
            own_identity(),
            settings.partitions,
            settings.lease_ttl_s,
            doubts_s(settings.longest_request_s),
            self._released,
            self._wake,
            self.membership,
            Publisher(metrics, health, self._published).statistics,
            self.reach.report,
            self._mongo_health,
        )

        # Sync, then capture with its jobs
        held, partitions = lambda: self.leases.held, settings.partitions
        self._rate_limit = RateLimit(
            self.max_rates, held, partitions, settings.sync_lanes, metrics, self.target.write_gate.load
        )
        self.sync = Sync({route.name: self._attempt(route) for route in self.table.routes})
        self._job_pace = JobPace(self.max_rates, self.target.ask if settings.jobs_yield_to_searches else None)
        self._usability = Usability(self.table, self.client, self.target, self._open_reader)
        self._suspended = SuspendedRoutes(self.table, self.epochs, self.positions, self._usability)
        lanes = [self._lane(number) for number in range(settings.sync_lanes)]
        self.reader = Reader(lanes, self.positions, health)
        self.targets = Targets(self.table, {name: self._target_watch(each) for name, each in self.table.items()})
        self._reindexing = Reindexing(database, self.target, self._capture_lease_left_s, health, metrics)
        self.leader = self._capture_leader()

        # Secrets that may change while we run
        self.rotations = [Rotation(tier.password, tier.take_up_password) for tier in redis]
        key = Secret("TYPESENSE_API_KEY", settings.typesense.api_key, settings.typesense.api_key_file)
        take_up_key = partial(self.target.take_up_key, collection=self.table.routes[0].target)
        token = Secret("API_TOKEN", settings.api_token, settings.api_token_file)
        self.rotations += [Rotation(key, take_up_key), Rotation(token, at_once)]

        # Backups, which the replica makes that captures
        maker = BackupMaker(database, settings, self.table, lambda: key.value)
        store, replica, captures = BackupStore(database), self.leases.replica, partial(self.leases.holding, CAPTURE)
        self.backups = ScheduledBackups(settings.backup, store, maker, replica, captures, health, metrics)

        # What health and metrics watch
        self.process_watch = ProcessWatch(lambda: self.leases.held, metrics)
        self.stalls = StallDetector(self.leases, self.epochs, lanes, health)
        count, share = self._count_documents, settings.dead_letter_alert_share
        self.dead_letter_watch = DeadLetterWatch(self.table, self._dead_letter_records, count, health, metrics, share)

    def show(self) -> None:
        """From now on, the metrics show these parts."""
        load = self.target.write_gate.load
        self._metrics.typesense_writes_limit.set_function(lambda: load.writes)
        self._metrics.typesense_write_documents_limit.set_function(lambda: load.documents)
        self._metrics.typesense_breaker_open.set_function(lambda: self.target.breaker.is_open)
        self._metrics.typesense_one_write_at_a_time.set_function(lambda: self.target.write_gate.is_narrow)
        for name in self.table:
            self._metrics.show_route(name)

    def _transform_of(self, declaration: Declaration) -> TransformRunner:
        return TransformRunner(declaration.route.name, declaration.transform, self._settings.transform_timeout_s)

    def _open_reader(self) -> DocumentReader:
        return DocumentReader(self.client, REPLY_DEADLINE_S, self._views, self._dense_turn)

    async def _count_documents(self, route: Route) -> int:
        return await count_documents(self.client, route.database, route.collection)

    async def _released(self, lease: Held) -> bool:
        """The reader needs the leases and the leases the reader: this one is made later."""
        return await self.reader.released(lease)

    def stages(self) -> dict[str, State]:
        """What each stage is doing."""
        return stages(self.leader.state, self.reader.states)

    def _published(self) -> dict[str, Any]:
        return {
            "stages": {name: state.word for name, state in self.stages().items()},
            "slowing": [*self._rate_limit.slowing, *self._job_pace.slowing],
            "settings": self._in_force.published,
        }

    def _partitions_of_lane(self, number: int) -> range:
        return range(number, self._settings.partitions, self._settings.sync_lanes)

    def _attempt(self, route: Route) -> Attempt:
        schema = self.schemas[route.name]
        return Attempt(route, self.target, self.dead_letters, self._metrics, self._settings, schema)

    def _lane(self, number: int) -> Lane:
        settings, health, metrics, wake = self._settings, self._health, self._metrics, self._wake
        name, typesense, buffer = f"lane {number}", settings.typesense, settings.buffer
        in_doubt = InDoubt(settings.longest_request_s)
        call = AgentCall(self._channels.send_batch, self._open_reader(), self.leases, settings.longest_request_s)
        limit, busy = self._rate_limit, Backoff(typesense.retry_backoff_s, wake, busy_s=typesense.connection_timeout_s)
        limits = ReadLimits(buffer.batch_size, buffer.max_buffer_size, buffer.longest_linger_s)
        steps = LaneSteps(
            OwnedPartitions(self._partitions_of_lane(number), self.leases, in_doubt, self.dead_letters.look_again),
            CurrentQueue(self.epochs, self.tiers, self.table, settings.partitions, limits),
            Dispatch(name, call, in_doubt, self._suspended, limit, busy, typesense.max_retries, health, metrics),
            self.rechecks,
            RecheckTurns(typesense.connection_timeout_s),
            metrics,
            self._pace,
        )
        losses = LossReports(self.table, self.epochs, self.positions, health)
        return Lane(name, steps, losses, health, wake, Backoff(typesense.retry_backoff_s, wake))

    def _capture_leader(self) -> CaptureLeader:
        settings, health, metrics = self._settings, self._health, self._metrics
        tiers = Tiers(self.tiers, settings.fail_back_after_s, self.epochs.age_s)
        sources = SourceFacts(self.client, self.table)
        targets = self.targets
        since = self.refreshes.since if self.table.looks_up else nothing_refreshed
        backlog = Backlog(self.client, self.tiers, settings.max_backlog, health, metrics, since)
        feed = Feed(
            ChangeStreams(settings, Sources(self.table).scope, health, metrics),
            self._channels.send_changes,
            settings.buffer.max_buffer_size,
            settings.buffer.longest_linger_s,
            self._pace,
            backlog,
        )
        monitor = Monitor(self.leases, self.epochs, self.positions, backlog)
        kinds = {route.name: self._job_kinds(route) for route in self.table.routes}

        def beside_feed(term: CaptureTerm) -> list[TermWork]:
            jobs = self._jobs_of(term, kinds)
            tier_watch = TierWatch(term, tiers, self.positions, health)
            watches = [
                watch.run(term, lambda: self.epochs.current)
                for name, watch in targets.watches.items()
                if name not in term.without_source
            ]
            missing = [until_a_source_appears(term, sources)] if term.without_source else []
            tier_work = [tier_watch.go_back(), tier_watch.clean_up()]
            return [monitor.run(term, jobs), *watches, *missing, *tier_work, *jobs.work()]

        epochs = Epochs(self.table, self.positions, tiers, partial(self.leases.confirm, CAPTURE), metrics)
        beginning = Beginning(self.table, settings, sources, targets, tiers, self.positions, epochs)
        terms = TermRunner(feed, beside_feed, tiers, self.epochs, metrics)
        return CaptureLeader(self.leases, beginning, terms, targets, health, self._wake)

    def _target_watch(self, declaration: Declaration) -> TargetWatch:
        find = partial(found_schema, self.client, self._open_reader, MappingOptions(date_unit=self._settings.date_unit))
        schema_file, like = self._settings.typesense.schema_file, self.table.shown_instead_of(declaration.route.name)
        after = self.table.created_after(declaration.route.name)
        prepare = partial(prepare_collection, self.target, declaration, schema_file, find, like, after)
        check, left_s = self.table.title(TARGET, declaration.route.name), self._capture_lease_left_s
        return TargetWatch(self.target, declaration.route, check, self.positions, self._health, prepare, left_s)

    def _capture_lease_left_s(self) -> float:
        return self.leases.time_left_s() if self.leases.holding(CAPTURE) else 0.0

    def _job_kinds(self, route: Route) -> JobKinds:
        settings = self._settings

        def open_sides() -> Sides:
            return Sides(route, self._open_reader(), self.target, settings.buffer.max_buffer_size)

        return JobKinds(
            open_sides,
            partial(self._usability.require, route),
            partial(self._count_documents, route),
            self.schemas[route.name],
            self.dead_letters,
            self._dead_letter_records,
            self.jobs.keys,
            settings.mass_delete_share,
        )

    def _jobs_of(self, term: CaptureTerm, kinds: Mapping[str, JobKinds]) -> TermJobs:
        batch_size, refreshes = self._settings.buffer.batch_size, self.refreshes
        job_term = JobTerm(term, self._channels.send_entries, batch_size, self._health, refreshes.open, self._job_pace)
        ledger = JobLedger(self.jobs, self._dead_letter_records, self.table, self._health)
        needed = [
            NeededReconcile(route, job_term, made, ledger, self.positions, self._health)
            for route, made in kinds.items()
        ]
        refresh = RefreshJobs(job_term, self.table, refreshes, partial(References, self.client))
        filed = FiledJobs(job_term, kinds, ledger)
        rate = self._settings.verify_rate
        continuous = verification_at(rate, job_term, kinds, self._verifications, self._metrics, filed.has_open)
        reindexes = self._reindexing.under(job_term, kinds)
        return TermJobs(job_term, filed, needed, self._metrics, refresh, continuous, reindexes)
