"""One replica: the order in which its parts start and stop. A process has one after another when its settings change.

Invariants: on a stop, changes that were read are appended, batches in hand are synced and acked (or left unacked for
the next owner), and only then are the leases given back and the connections closed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

from tsync_stream.capture.fan_out import FanOut
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.composition import Channels, Parts
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.core.events import event
from tsync_stream.core.health import Health
from tsync_stream.core.log_lines import ThisReplica
from tsync_stream.core.tasks import end_tasks
from tsync_stream.observe.conditions import (
    PARTITIONS,
    ROUTES,
    SERVERS,
    STAGES,
    Conditions,
    State,
    States,
    routes,
    servers,
)
from tsync_stream.observe.field_watch import watch_fields
from tsync_stream.observe.health_report import RUNNING, STARTING, STOPPING, Phase, ReplicaView, SettingsReport
from tsync_stream.observe.history_keeper import HistoryKeeper
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.otlp import OtlpExport
from tsync_stream.observe.stalls import BOUND_S
from tsync_stream.queue.tier import Tier
from tsync_stream.routes.generations import EffectiveTable
from tsync_stream.settings.in_force import InForce
from tsync_stream.settings.rotation import take_up_rotated
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.state.generations import Generations
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.sync.agent import Sync

log = logging.getLogger(__name__)

START_RETRY_S = 1.0
START_TIER_S = 3.0
# A schema is found in a sample within some seconds.
WARM_UP_S = 15.0
# Every check is looked at more often than that.
SETTLE_S = 15.0


class Replica:
    """Everything of one process but its agents. Made inside the event loop."""

    def __init__(
        self, in_force: InForce, table: EffectiveTable, channels: Channels, health: Health, metrics: Metrics
    ) -> None:
        settings = in_force.settings
        self._in_force = in_force
        self._health = health
        self.table = table
        self._parts = Parts(in_force, table, channels, health, metrics)
        self._watch_fields = partial(watch_fields, self._parts.schemas, self._parts.table, health, settings.max_fields)
        self._tasks: list[asyncio.Task[None]] = []
        self._metrics, self._otlp_endpoint = metrics, settings.otlp_endpoint
        self._opened = False
        self._phase: Phase = STARTING
        self._conditions = Conditions(self._states)

    def __repr__(self) -> str:
        return f"<Replica {self._phase}, {self._parts.leases}>"

    @property
    def dead_letters(self) -> DeadLetters:
        """For the agent *capture*."""
        return self._parts.dead_letters

    @property
    def positions(self) -> PositionStore:
        """For the agent *capture*."""
        return self._parts.positions

    @property
    def fan_out(self) -> FanOut:
        """For the agent *capture*."""
        return self._parts.fan_out

    @property
    def sync(self) -> Sync:
        """For the agent *sync*."""
        return self._parts.sync

    @property
    def joined(self) -> bool:
        """Whether it was a member of the replicas that take leases when it last looked."""
        return self._parts.membership.joined

    @property
    def captures(self) -> bool:
        """Whether it holds the capture lease now."""
        return self._parts.leases.holding(CAPTURE) is not None

    @property
    def nobody_captures(self) -> bool:
        """Whether the capture lease was free when it last looked."""
        seen = self._parts.leases.seen
        return seen is not None and seen.nobody_captures

    def take_no_more(self) -> None:
        """Take no further leases: another replica is about to take this one's place."""
        self._parts.leases.takes_more = False

    async def table_in_force(self) -> str:
        """The version of the table that replicas which take leases have. Raises the errors of MongoDB calls."""
        return await self._parts.membership.version_in_force()

    async def generations(self) -> Mapping[str, Generations]:
        """The generations of all routes, as they are stored now. Raises the errors of MongoDB calls."""
        return await self._parts.generations.all()

    @property
    def deployment(self) -> str | None:
        """The deployment whose state it works with; None while that is not known."""
        pipeline = self._parts.epochs.current
        return None if pipeline is None else pipeline.epoch.deployment

    def view(self) -> ReplicaView:
        """What the pages show of it."""
        leases = self._parts.leases
        self._conditions.look()  # so that they agree with the checks that are shown beside them
        return ReplicaView(
            phase=self._phase,
            replica=leases.replica,
            member=self.joined,
            partitions_owned=sum(name != CAPTURE and leases.holding(name) is not None for name in leases.held),
            settings=SettingsReport.model_validate(self._in_force.published),
            by_group=self._conditions.by_group,
        )

    def _states(self) -> States:
        """What each part is doing, for the pages."""
        parts = self._parts
        return {
            SERVERS: servers(parts.reach.checks, self._health),
            STAGES: parts.stages(),
            ROUTES: routes(parts.table, parts.epochs.current),
            PARTITIONS: {str(partition): State(word) for partition, word in sorted(parts.reader.states.items())},
        }

    async def warm_up(self, targets: Collection[str] = ()) -> None:
        """Do ahead what a start does before it takes part, while another replica still works; nothing depends on it.

        Collections of these routes are created if they are missing, which may take some seconds.
        """
        try:
            async with asyncio.timeout(WARM_UP_S):
                await self._open()
                await self._parts.targets.prepare(targets)
        except (TsyncError, TimeoutError):
            return  # the start, and the watches of the targets, try again and report

    async def start(self, crash: Callable[[BaseException], object]) -> None:
        """Wait until MongoDB answers, then start working in the background.

        `crash` is called with an unforeseen error: the process should end then, and others take over.
        """
        self._parts.show()
        ThisReplica.name = self._parts.leases.replica
        await until_it_works(self._prepare, self._health)

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                crash(error)

        self._tasks = [asyncio.create_task(work(), name=name) for name, work in self._work().items()]
        for task in self._tasks:
            task.add_done_callback(ended)
        self._phase = RUNNING

    def _work(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        parts = self._parts
        export = {}
        if self._otlp_endpoint:
            export["otlp"] = OtlpExport(self._otlp_endpoint, self._metrics.registry, parts.leases.replica).run
        return {
            **export,
            "leases": parts.leases.keep,
            "epochs": parts.epochs.run,
            "reach": parts.reach.run,
            "stalls": parts.stalls.run,
            "conditions": self._conditions.run,
            "process": parts.process_watch.run,
            "history": HistoryKeeper(parts.history, parts.leases, self._metrics).run,
            "dead letters": parts.dead_letter_watch.run,
            "reader": parts.reader.run,
            "leader": parts.leader.run,
            "backups": parts.backups.run,
            "schema": self._watch_fields,
            "settle": self._settle,
            "secrets": partial(take_up_rotated, parts.rotations, self._health),
        }

    async def _settle(self) -> None:
        """Whatever the replica before reported, and this one does not, is over."""
        await asyncio.sleep(SETTLE_S)
        self._health.settle()

    async def take_up_secrets(self, secrets: Mapping[str, str]) -> None:
        """Use other secrets, by the names of their settings, as soon as their servers accept them."""
        for rotation in self._parts.rotations:
            if rotation.secret.name in secrets:
                rotation.offer(secrets[rotation.secret.name])
                await rotation.look(self._health)

    async def stop(self) -> None:
        """Finish what is in hand and give everything back. The agents must still be running."""
        self._phase = STOPPING
        parts = self._parts
        parts.leader.stop()
        await self._finished("leader")
        parts.reader.stop()
        await self._finished("reader")
        await end_tasks(self._tasks)
        try:
            await parts.leases.stop()
        except TsyncError as error:
            log.warning("leases: %s; they expire by themselves", error, extra=event("leases.not_returned"))
        await self.close()

    async def close(self) -> None:
        """Close the connections. Nothing else is needed for a replica that was never started."""
        await self._parts.target.close()
        for tier in self._parts.tiers.values():
            await tier.close()
        self._parts.client.close()

    async def _prepare(self) -> None:
        await self._open()
        await self._parts.leases.start()

    async def _open(self) -> None:
        """What needs to be done once before the work, and takes part in nothing yet."""
        if self._opened:
            return
        parts = self._parts
        await asyncio.gather(
            parts.dead_letters.start(),
            parts.rechecks.start(),
            parts.jobs.start(),
            *map(_start_tier, parts.tiers.values()),
        )
        self._opened = True

    async def _finished(self, name: str) -> None:
        for task in self._tasks:
            if task.get_name() == name:
                await asyncio.gather(task, return_exceptions=True)


async def until_it_works(step: Callable[[], Awaitable[None]], health: Health) -> None:
    """Repeat a step of the start until no server is in its way; health says what is."""
    began_s = clock.now_s()
    while True:
        try:
            await step()
        except TsyncError as error:
            text = f"{error}; trying again every {START_RETRY_S:g} s"
            if clock.now_s() - began_s > BOUND_S:
                health.red("start", text, needs_person=isinstance(error, ConfigurationError))
            else:
                health.fault("start", text, needs_person=isinstance(error, ConfigurationError))
            await asyncio.sleep(START_RETRY_S)
        else:
            health.green("start")
            return


async def _start_tier(tier: Tier) -> None:
    """Start a tier. One that is unreachable now is started when it becomes the queue; nothing waits for it."""
    try:
        async with asyncio.timeout(START_TIER_S):
            await tier.start()
    except (TsyncError, TimeoutError) as error:
        log.warning(
            "%s tier: %s; going on without it until it answers",
            tier.name,
            error or "no answer",
            extra=event("tier.absent", tier=tier.name),
        )
