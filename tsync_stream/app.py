"""The Faust application: three agents, joined by in-memory channels, with the queue in the middle. No Kafka.

    MongoDB ─change stream─▶ changes ─▶ capture ─▶ entries ─▶ persist ─▶ queue (Redis Streams)
                                                                            │
    MongoDB ◀─reads the documents─ sync ◀─ batches ◀──────── reader ◀───────┘
                                    └─▶ Typesense

What feeds the first channel and the last one, and everything that the agents use, is `replica.Replica`.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, MutableSequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mode.loop
from faust.app.base import BootStrategy

from tsync_stream.capture.agent import capture_agent
from tsync_stream.capture.persist import persist_agent
from tsync_stream.cli import logs
from tsync_stream.cli.process import OurApp, Worker, end_at_once
from tsync_stream.cli.shared import exit_for
from tsync_stream.cli.worker import add_commands
from tsync_stream.composition import Channels
from tsync_stream.core import malloc
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.health import Health
from tsync_stream.core.terminal import write_anywhere
from tsync_stream.embedded.environment import embedded_stack
from tsync_stream.observe.health_report import ReplicaView
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.otlp import require_exporter
from tsync_stream.reload import CHECK, Actions, Reload
from tsync_stream.replica import Replica
from tsync_stream.routes.declared import declared_routes, load_all
from tsync_stream.routes.generations import EffectiveTable
from tsync_stream.settings.difference import value_of
from tsync_stream.settings.in_force import InForce
from tsync_stream.settings.load import Settings, default_settings, with_servers
from tsync_stream.state.same_pipeline import require_same_pipeline
from tsync_stream.succession import Succession
from tsync_stream.sync.agent import sync_agent
from tsync_stream.web.address import page_url, refuse_taken_address
from tsync_stream.web.dashboard import Dashboard
from tsync_stream.web.pages import add_dashboard, add_pages


class NoKafka(BootStrategy):
    """Starts the agents and the web server, and nothing that would need a broker."""

    enable_kafka = False


class TsyncApp(OurApp):
    """The Faust app of one replica, which exists while the worker runs.

    With `problems` the app can only show help: `settings` are the defaults then, and nothing works with them.
    Faust takes its own settings from here alone: it reads `env` instead of the environment, where some ninety names
    without a prefix (BROKER_URL, APP_VERSION, TIMEZONE) may mean anything.
    """

    BootStrategy = NoKafka

    def __init__(self, settings: Settings, problems: ConfigurationError | None = None) -> None:
        self.settings = settings
        self._problems = problems
        self._health = Health()
        self._metrics = Metrics()
        self._servers: Mapping[str, str] | None = None  # of the embedded stack
        self._succession: Succession | None = None
        self._succeeding: asyncio.Task[None] | None = None
        self._reload: Reload | None = None
        self._reloading: asyncio.Task[None] | None = None
        super().__init__(
            "tsync-stream",
            env={},
            broker="memory://",
            datadir=f"{tempfile.gettempdir()}/tsync-stream",
            web_bind=settings.web_bind,
            web_port=settings.web_port,
            web_host=settings.web_bind,
            web_transport="tcp://",
            canonical_url=page_url(settings.web_bind, settings.web_port),
            worker_redirect_stdouts=False,
            Worker=Worker,
            autodiscover=False,
        )
        self._channels = self._add_agents()
        add_pages(self, self._health, self._metrics, self._view)
        self._dashboard = Dashboard(self._in_force, self._health, self._view, self._address)
        add_dashboard(self, self._dashboard)
        add_commands()

    def _init_fixups(self) -> MutableSequence[Any]:
        """None: where DJANGO_SETTINGS_MODULE is set for another program, Faust would set up Django."""
        return []

    def _add_agents(self) -> Channels:
        buffer = self.settings.buffer
        # A batch on the first two is one read of the change stream: up to a whole buffer of changes.
        changes = self.channel(maxsize=1)
        entries = self.channel(maxsize=1)
        batches = self.channel(maxsize=max(1, buffer.max_buffer_size // buffer.batch_size))

        capture = capture_agent(
            lambda: self._running.dead_letters,
            lambda: self._running.positions,
            lambda: self._running.fan_out,
            self._metrics,
        )
        self.agent(changes, name="capture", sink=[entries])(capture)
        self.agent(entries, name="persist")(persist_agent(self._metrics))
        sync = sync_agent(lambda: self._running.sync)
        self.agent(batches, name="sync", concurrency=self.settings.sync_lanes)(sync)

        return Channels(
            send_changes=lambda value: changes.send(value=value),
            send_entries=lambda value: entries.send(value=value),
            send_batch=lambda value: batches.send(value=value),
        )

    def refuse_bad_settings(self, *, imports: bool = False) -> None:
        """End the process with every problem of the settings, if there is one."""
        problems = self._problems
        if imports and (problems is not None or self.settings.routes_file is not None):
            try:
                load_all(imports=True)
            except ConfigurationError as error:
                problems = error
        if problems is not None:
            exit_for(problems)

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """What a worker runs in: a free address for its pages and, with TSYNC_EMBEDDED, servers of its own.

        Raises `ConfigurationError` if the address is taken, a server does not start, or the OTLP exporter is missing.
        """
        if self.conf.web_enabled and self.conf.web_transport.scheme == "tcp":
            refuse_taken_address(self.conf.web_bind, self.conf.web_port)
        if self.settings.otlp_endpoint:
            require_exporter()
        if not self.settings.embedded:
            yield
            return
        table = declared_routes(self.settings)
        with embedded_stack(self.settings, table.namespaces, table.with_pre_images) as environment:
            self._servers = environment
            self.settings = with_servers(self.settings, environment)
            yield

    async def on_started(self) -> None:
        """The agents run: start feeding them. Without Kafka, nobody else lets the channels flow."""
        self.flow_control.resume()
        malloc.tune()
        in_force = InForce.at_start(self.settings)
        self._succession = Succession(in_force, self._made, self._health, end_at_once, kept=(CHECK,))
        self._succeeding = asyncio.create_task(self._succession.run())
        self._succeeding.add_done_callback(_end_if_failed)
        actions = Actions(self._read_again, self._take_up_at_once, self._make_stages_anew)
        self._reload = Reload(in_force, Path.cwd(), actions, self._health, self._metrics)
        self._reloading = asyncio.create_task(self._reload.run())
        self._reloading.add_done_callback(_end_if_failed)
        await super().on_started()

    async def on_stop(self) -> None:
        """Finish what is in hand while the agents still run, then let Faust stop them."""
        await self._dashboard.close()
        if self._succession is not None and self._succeeding is not None:
            await self._succession.stop_following(self._succeeding)
        if self._reload is not None and self._reloading is not None:
            await self._reload.stop(self._reloading)
        if self._succession is not None:
            await self._succession.end()
        await super().on_stop()

    def on_hangup(self) -> None:
        """A SIGHUP: look at the settings now."""
        if self._reload is not None:
            self._reload.now()

    def _made(self, in_force: InForce, table: EffectiveTable) -> Replica:
        return Replica(in_force, table, self._channels, self._health, self._metrics)

    def _read_again(self) -> Settings:
        settings = load_all(imports=True)
        if self._servers is not None:
            settings = with_servers(settings, self._servers)
        if settings.otlp_endpoint:
            require_exporter()
        return settings

    async def _take_up_at_once(self, settings: Settings, names: Collection[str]) -> None:
        level = None if self.log_level_given else settings.log_level
        logs.adapt(logging.getLogger(), level, settings.log_format)
        self._dashboard.take_up_token(settings.api_token)
        if self._replica is not None:
            await self._replica.take_up_secrets({name: value_of(name, settings) for name in names})

    async def _make_stages_anew(self, in_force: InForce) -> None:
        """One replica ends in good order, and the next begins: what is in hand is finished, and the rest is stored."""
        assert self._succession is not None, "a reload comes after the start"
        if in_force.settings.mongo.uri != self.settings.mongo.uri:
            deployment = None if self._replica is None else self._replica.deployment
            await require_same_pipeline(in_force.settings, deployment)
        await self._succession.make_anew(in_force)
        self.settings = in_force.settings

    def _in_force(self) -> Settings:
        return self.settings if self._reload is None else self._reload.in_force.settings

    @property
    def _replica(self) -> Replica | None:
        return None if self._succession is None else self._succession.replica

    @property
    def _running(self) -> Replica:
        assert self._replica is not None, "agents get work from the replica only"
        return self._replica

    def _address(self) -> str:
        """Where the pages are; empty for a socket file."""
        return str(self.conf.web_bind) if self.conf.web_transport.scheme == "tcp" else ""

    def _view(self) -> ReplicaView:
        return ReplicaView() if self._replica is None else self._replica.view()


def _end_if_failed(starting: asyncio.Task[None]) -> None:
    error = None if starting.cancelled() else starting.exception()
    if error is not None:
        end_at_once(error)


def app_from_environment() -> TsyncApp:
    """The application that the environment describes. With bad settings it shows help, and refuses everything else."""
    if "FAUST_LOOP" not in os.environ:  # where somebody chose one (-L aio), Faust has put it there
        mode.loop.use("uvloop")
    write_anywhere()
    try:
        return TsyncApp(load_all())
    except ConfigurationError as error:
        return TsyncApp(default_settings(), error)
