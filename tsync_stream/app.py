"""The Faust application: three agents, joined by in-memory channels, with the queue in the middle. No Kafka.

    MongoDB ─change stream─▶ changes ─▶ capture ─▶ entries ─▶ persist ─▶ queue (Redis Streams)
                                                                            │
    MongoDB ◀─reads the documents─ sync ◀─ batches ◀──────── reader ◀───────┘
                                    └─▶ Typesense

What stands before and behind the channels (the change feed, the reader, leases) is `replica.runtime.Replica`.
"""

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

import click
import mode.loop
import stamina
import stamina.instrumentation
from click.core import ParameterSource
from faust.app.base import BootStrategy
from faust.web import Request, Response, View
from faust.worker import Worker as FaustWorker

from tsync_stream.capture.agent import capture_agent
from tsync_stream.capture.persist import persist_agent
from tsync_stream.cli.commands import add_commands
from tsync_stream.cli.shared import OurApp
from tsync_stream.cluster.assignment import CAPTURE
from tsync_stream.cluster.membership import ForeignSettings
from tsync_stream.core import malloc
from tsync_stream.core.errors import ConfigurationError, unforeseen
from tsync_stream.core.health import Health
from tsync_stream.core.quiet import keep_quiet
from tsync_stream.core.tasks import end_tasks
from tsync_stream.core.terminal import write_anywhere
from tsync_stream.embedded.environment import embedded_stack
from tsync_stream.observe.metrics import CONTENT_TYPE, Metrics
from tsync_stream.replica import Channels, Replica
from tsync_stream.settings.load import Settings, default_settings, lines_for_exit, load_settings
from tsync_stream.settings.texts import unused
from tsync_stream.state.dead_letters import DeadLetters
from tsync_stream.sync.agent import Sync, sync_agent
from tsync_stream.web.address import page_url, refuse_taken_address

log = logging.getLogger(__name__)

# httpx would log every request; stamina's line says less than ours about the same retry.
logging.getLogger("httpx").setLevel(logging.WARNING)
stamina.instrumentation.set_on_retry_hooks([])

EXIT_CONFIGURATION = 2
EXIT_UNFORESEEN = 70  # sysexits.h: EX_SOFTWARE


class NoKafka(BootStrategy):
    """Start agents and the web server, nothing of a broker's."""

    enable_kafka = False


class Worker(FaustWorker):
    """A worker that logs at LOG_LEVEL, lives in its embedded stack if it has one, and heeds a second signal.

    The second signal stops it at once: what it had in hand stays unacked in the queue.
    """

    def __init__(self, app: "TsyncApp", *services: Any, loglevel: Any = None, **options: Any) -> None:
        app.refuse_bad_settings()
        if not _on_command_line("loglevel"):
            loglevel = app.settings.log_level
        super().__init__(app, *services, loglevel=loglevel, **options)

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """No line repeats more than once a minute."""
        super().on_setup_root_logger(logger, level)
        for handler in logger.handlers:
            keep_quiet(handler)

    def _schedule_shutdown(self, signal: Any) -> None:
        if self._signal_stop_time:
            log.warning("second signal: stopping at once; the queue keeps what was not finished")
            os._exit(128 + int(signal))
        super()._schedule_shutdown(signal)

    async def on_first_start(self) -> None:
        """The log is set up: say what of the environment and `.env` is not used."""
        await super().on_first_start()
        for warning in unused(Path.cwd()):
            log.warning("settings: %s", warning)

    def execute_from_commandline(self) -> NoReturn:
        """Run the app, inside its embedded stack if it has one. A port that is taken ends it before anything starts."""
        app = cast("TsyncApp", self.app)
        try:
            if app.conf.web_enabled and app.conf.web_transport.scheme == "tcp":
                refuse_taken_address(app.conf.web_bind, app.conf.web_port)
            with app.embedded_stack():
                super().execute_from_commandline()
        except ConfigurationError as error:
            exit_for(error)


def _on_command_line(option: str) -> bool:
    """Whether a person gave this option of `faust`, before or behind the command's name."""
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            return True
        context = context.parent
    return False


class TsyncApp(OurApp):
    """The Faust app of one replica. `replica` exists while the worker runs.

    With `problems` it can only be asked for help: `settings` are the defaults then, and nothing works with them.
    Faust takes its own settings from here alone: `env` is what it reads instead of the environment, where some ninety
    names without a prefix (BROKER_URL, APP_VERSION, TIMEZONE) may mean anything.
    """

    BootStrategy = NoKafka

    def __init__(self, settings: Settings, problems: ConfigurationError | None = None) -> None:
        self.settings = settings
        self._problems = problems
        self.health = Health()
        self.metrics = Metrics()
        self._sync: Sync
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
        self._build()

    def _init_fixups(self) -> MutableSequence[Any]:
        """None: Faust would set up Django where DJANGO_SETTINGS_MODULE is set for somebody else."""
        return []

    def refuse_bad_settings(self) -> None:
        """End the process with every problem of the settings, if there is one."""
        if self._problems is not None:
            exit_for(self._problems)

    def _build(self) -> None:
        buffer = self.settings.buffer
        # A batch on the first two is one read of the change stream: up to a whole buffer of changes.
        changes = self.channel(maxsize=1)
        entries = self.channel(maxsize=1)
        batches = self.channel(maxsize=max(1, buffer.max_buffer_size // buffer.batch_size))

        self.agent(changes, name="capture", sink=[entries])(capture_agent(self._dead_letters, self.metrics))
        self.agent(entries, name="persist")(persist_agent(self.metrics))
        self.agent(batches, name="sync", concurrency=self.settings.sync_lanes)(sync_agent(lambda: self._sync))

        self._channels = Channels(
            send_changes=lambda value: changes.send(value=value),
            send_entries=lambda value: entries.send(value=value),
            send_batch=lambda value: batches.send(value=value),
        )

    @contextmanager
    def embedded_stack(self) -> Iterator[None]:
        """With TSYNC_EMBEDDED: start our own servers, and use settings that lead to them."""
        if not self.settings.embedded:
            yield
            return
        with embedded_stack(self.settings) as environment:
            self.settings = load_settings(environ={**os.environ, **environment})
            yield

    async def on_started(self) -> None:
        """The agents run: start feeding them. Without Kafka nobody else lets the channels flow."""
        self.flow_control.resume()
        malloc.tune()
        replica = Replica(self.settings, self._channels, self.health, self.metrics)
        self._replica = replica
        self._sync = Sync(
            replica.route, replica.target, replica.dead_letters, self.metrics, self.settings, replica.schema
        )
        self._starting = asyncio.create_task(replica.start(self._end_at_once))
        self._starting.add_done_callback(self._after_starting)
        await super().on_started()

    async def on_stop(self) -> None:
        """Finish what is in hand while the agents still run, then let Faust stop them."""
        if self._starting is not None:
            await end_tasks([self._starting])
        if self._replica is not None:
            await self._replica.stop()
            self._replica = None
        await super().on_stop()

    def _after_starting(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._end_at_once(error)

    def _end_at_once(self, error: BaseException) -> None:
        """End the process at once: whatever failed cannot be trusted with a tidy stop. The queue keeps everything."""
        if isinstance(error, ForeignSettings):  # it took no work yet
            print(lines_for_exit(error), file=sys.stderr, flush=True)
            os._exit(EXIT_CONFIGURATION)
        log.critical("unforeseen %s; this replica ends, and its leases are taken over", unforeseen(error))
        os._exit(EXIT_UNFORESEEN)

    def partitions_owned(self) -> int:
        """How many partitions this replica works on."""
        if self._replica is None:
            return 0
        leases = self._replica.leases
        return sum(name != CAPTURE and leases.holding(name) is not None for name in leases.held)

    def _dead_letters(self) -> DeadLetters:
        assert self._replica is not None, "agents get work from the replica only"
        return self._replica.dead_letters


def add_pages(app: TsyncApp) -> None:
    """`/health` (503 while anything is red) and `/metrics` (for Prometheus)."""

    @app.page("/health", name="health")
    async def health(view: View, request: Request) -> Response:
        report = app.health.report()
        return view.json(report, status=503 if report["status"] == "red" else 200)

    @app.page("/metrics", name="metrics")
    async def metrics(view: View, request: Request) -> Response:
        app.metrics.healthy.set(0 if app.health.status == "red" else 1)
        app.metrics.partitions_owned.set(app.partitions_owned())
        return view.bytes(app.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})


def create_app(settings: Settings, problems: ConfigurationError | None = None) -> TsyncApp:
    """The application for these settings; nothing is connected yet."""
    app = TsyncApp(settings, problems)
    add_pages(app)
    add_commands(app)
    return app


def app_from_environment() -> TsyncApp:
    """The application that the environment describes. With bad settings it helps, and refuses to do anything else."""
    if "FAUST_LOOP" not in os.environ:  # where somebody chose one (-L aio), Faust has put it there
        mode.loop.use("uvloop")
    write_anywhere()
    try:
        return create_app(load_settings())
    except ConfigurationError as error:
        return create_app(default_settings(), error)


def exit_for(error: ConfigurationError) -> NoReturn:
    """Print every problem, and exit with 2."""
    print(lines_for_exit(error), file=sys.stderr)
    sys.exit(EXIT_CONFIGURATION)
