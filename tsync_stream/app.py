"""The Faust application: three agents, joined by in-memory channels, with the queue in the middle. No Kafka.

    MongoDB ─change stream─▶ changes ─▶ capture ─▶ entries ─▶ persist ─▶ queue (Redis Streams)
                                                                            │
    MongoDB ◀─reads the documents─ sync ◀─ batches ◀──────── reader ◀───────┘
                                    └─▶ Typesense

What feeds the first channel and the last one, and everything that the agents use, is `replica.Replica`.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from typing import Any

import mode.loop
from faust.app.base import BootStrategy

from tsync_stream.capture.agent import capture_agent
from tsync_stream.capture.persist import persist_agent
from tsync_stream.cli.process import OurApp, Worker, end_at_once
from tsync_stream.cli.shared import exit_for
from tsync_stream.cli.worker import add_commands
from tsync_stream.composition import Channels
from tsync_stream.core import malloc
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.health import Health
from tsync_stream.core.tasks import end_tasks
from tsync_stream.core.terminal import write_anywhere
from tsync_stream.embedded.environment import embedded_stack
from tsync_stream.observe.health_report import ReplicaView
from tsync_stream.observe.metrics import Metrics
from tsync_stream.observe.otlp import require_exporter
from tsync_stream.replica import Replica
from tsync_stream.routes.declared import declared_routes, load_all
from tsync_stream.settings.load import Settings, default_settings, with_servers
from tsync_stream.sync.agent import sync_agent
from tsync_stream.web.address import page_url, refuse_taken_address
from tsync_stream.web.pages import add_pages


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
        self._replica: Replica | None = None
        self._starting: asyncio.Task[None] | None = None
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
            self.settings = with_servers(self.settings, environment)
            yield

    async def on_started(self) -> None:
        """The agents run: start feeding them. Without Kafka, nobody else lets the channels flow."""
        self.flow_control.resume()
        malloc.tune()
        self._replica = Replica(self.settings, self._channels, self._health, self._metrics)
        self._starting = asyncio.create_task(self._replica.start(end_at_once))
        self._starting.add_done_callback(_end_if_failed)
        await super().on_started()

    async def on_stop(self) -> None:
        """Finish what is in hand while the agents still run, then let Faust stop them."""
        if self._starting is not None:
            await end_tasks([self._starting])
        if self._replica is not None:
            await self._replica.stop()
            self._replica = None
        await super().on_stop()

    @property
    def _running(self) -> Replica:
        assert self._replica is not None, "agents get work from the replica only"
        return self._replica

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
