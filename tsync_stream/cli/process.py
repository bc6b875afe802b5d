"""The worker's process: what it is started in, how it logs, and how it ends.

Exit codes: 2 for settings that cannot be used, 70 for an error that nobody foresaw, 128 + the signal's number after a
second signal.
"""

import logging
import os
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn, cast

import click
import faust
from click.core import ParameterSource
from faust.worker import Worker as FaustWorker

from tsync_stream.cli import logs
from tsync_stream.cli.shared import EXIT_USAGE, exit_for
from tsync_stream.cluster.membership import ForeignSettings
from tsync_stream.core.errors import ConfigurationError, unforeseen
from tsync_stream.core.events import event
from tsync_stream.routes.declared import declared_routes
from tsync_stream.settings.cautions import left_out, unverified
from tsync_stream.settings.load import Settings, lines_for_exit
from tsync_stream.settings.texts import unused

log = logging.getLogger(__name__)

EXIT_UNFORESEEN = 70  # sysexits.h: EX_SOFTWARE


class OurApp(faust.App):
    """What the worker's process knows about the app, which is a layer above it."""

    settings: Settings
    log_level_given = False  # on the command line, which takes precedence over LOG_LEVEL

    def on_hangup(self) -> None:
        """A SIGHUP asks for a look at the settings."""
        raise NotImplementedError

    def refuse_bad_settings(self, *, imports: bool = False) -> None:
        """End the process if settings or routes are wrong, and print every problem.

        `imports`: a transform that cannot be imported is one.
        """
        raise NotImplementedError

    def surroundings(self) -> AbstractContextManager[None]:
        """What a worker runs in. Raises `ConfigurationError` if it cannot be had."""
        raise NotImplementedError


class Worker(FaustWorker):
    """A worker that logs at LOG_LEVEL, runs inside `app.surroundings()`, and stops at once on a second signal.

    What it had in hand then stays unacked in the queue.
    """

    def __init__(self, app: OurApp, *services: Any, loglevel: Any = None, **options: Any) -> None:
        app.refuse_bad_settings()
        # Beside other routes, one whose transform cannot be imported is suspended, and keeps none of them from working.
        app.refuse_bad_settings(imports=len(declared_routes(app.settings)) == 1)
        app.log_level_given = _on_command_line("loglevel")
        if not app.log_level_given:
            loglevel = app.settings.log_level
        self._terminal = terminal_of_this_process()
        super().__init__(app, *services, loglevel=loglevel, **options)

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Give the log its form."""
        super().on_setup_root_logger(logger, level)
        logging.getLogger("asyncio").addFilter(_says_something)
        logs.set_up(logger, cast(OurApp, self.app).settings.log_format)

    def _install_signal_handlers_unix(self) -> None:
        super()._install_signal_handlers_unix()
        self.loop.add_signal_handler(signal.SIGHUP, self._on_sighup)

    def _on_sighup(self) -> None:
        """Look at the settings; but a terminal that is closed sends the same signal, and ends its worker."""
        if self._terminal and not terminal_of_this_process():
            self._schedule_shutdown(signal.SIGHUP)
        else:
            cast(OurApp, self.app).on_hangup()

    def _schedule_shutdown(self, number: Any) -> None:
        if self._signal_stop_time:
            log.warning(
                "second signal: stopping at once; unfinished entries stay in the queue",
                extra=event("worker.second_signal"),
            )
            os._exit(128 + int(number))
        super()._schedule_shutdown(number)

    async def on_first_start(self) -> None:
        """Log which variables are ignored, and which certificates nobody checks: logging is set up only now."""
        await super().on_first_start()
        settings = cast(OurApp, self.app).settings
        for warning in unused(Path.cwd()):
            log.warning("settings: %s", warning, extra=event("settings.ignored"))
        for warning in unverified(settings).values():
            log.warning("settings: %s", warning, extra=event("settings.unverified"))
        if without := left_out(settings):
            log.info("settings: %s", without, extra=event("settings.left_out"))

    def execute_from_commandline(self) -> NoReturn:
        """Run the app. What its surroundings refuse ends the process before anything has started."""
        try:
            with cast(OurApp, self.app).surroundings():
                super().execute_from_commandline()
        except ConfigurationError as error:
            exit_for(error)


def _says_something(record: logging.LogRecord) -> bool:
    """Whether a record is about more than uvloop, which stumbles over a TLS connection that closes while it writes."""
    return not record.getMessage().startswith("Fatal error on SSL protocol")


def terminal_of_this_process() -> bool:
    """Whether it has a controlling terminal, which it loses when that is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _on_command_line(option: str) -> bool:
    """Whether a person gave this option of `faust`, before or after the command's name."""
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            return True
        context = context.parent
    return False


def end_at_once(error: BaseException) -> NoReturn:
    """End the process without a tidy stop, since whatever failed cannot be trusted with one. The queue keeps all."""
    if isinstance(error, ForeignSettings):  # raised before any work was taken
        print(lines_for_exit(error), file=sys.stderr, flush=True)
        os._exit(EXIT_USAGE)
    log.critical(
        "unforeseen %s; this replica ends, and others take its leases over",
        unforeseen(error),
        extra=event("worker.unforeseen"),
    )
    os._exit(EXIT_UNFORESEEN)
