"""What the commands share: how they end, where they print, and how they find the servers.

Invariants: results go to stdout, everything else to stderr, so that `--json` prints JSON alone. A server that does not
answer is told in a sentence, never by a stack trace.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

import click
import faust
import orjson
from faust.cli import AppCommand

from tsync_stream.core.errors import TsyncError
from tsync_stream.settings.load import Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
LOOK_INTERVAL_S = 1.0
PROGRESS_INTERVAL_S = 5.0
# Long enough for a worker to be started anew.
NOBODY_S = 20.0
# Without a terminal nobody knows the width; a report in a log should not be narrower than this.
PIPED_WIDTH = 120


class OurApp(faust.App):
    """What the commands know of the app, which is a floor above them."""

    settings: Settings

    def refuse_bad_settings(self) -> None:
        """End the process with every problem of the settings, if there is one."""
        raise NotImplementedError

    def surroundings(self) -> AbstractContextManager[None]:
        """What a worker runs in. Raises `ConfigurationError` if it cannot be had."""
        raise NotImplementedError


class OurCommand(AppCommand):
    """A command whose `run` returns the exit code.

    Faust would run it inside a worker, which takes a second to end, sets up logging, and knows no exit codes.
    """

    abstract: ClassVar[bool] = True  # faust registers a subclass as a command unless it says this

    def run_using_worker(self, *args: Any, **kwargs: Any) -> NoReturn:
        cast(OurApp, self.app).refuse_bad_settings()
        try:
            code = asyncio.run(self.run(*self.args, *args, **{**self.kwargs, **kwargs}))
            sys.stdout.flush()
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)
        except click.UsageError as error:
            say(error.format_message())
            sys.exit(EXIT_USAGE)
        except BrokenPipeError:
            # Whoever read our output has gone; the interpreter's own flush at its end must not fail over that.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_WRONG)
        except TsyncError as error:
            say(f"{error}\n`faust -A tsync_stream check` tells what is wrong and how to fix it.")
            sys.exit(EXIT_WRONG)
        sys.exit(code)


def reachable_settings(settings: Settings) -> Settings:
    """The settings themselves, or those that lead to the embedded stack. Ends the command if none runs."""
    if not settings.embedded:
        return settings
    from tsync_stream.embedded.environment import running_stack_environment

    environment = running_stack_environment(settings)
    if environment is None:
        say(
            f"TSYNC_EMBEDDED is true, and no embedded stack runs in {settings.embedded_dir}: its servers live as long "
            "as a worker does. Start one in another terminal: `faust -A tsync_stream worker`."
        )
        sys.exit(EXIT_WRONG)
    return load_settings(environ={**os.environ, **environment})


def console() -> "Console":
    """Where people read; colours only if it is a terminal."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPED_WIDTH)


def print_json(value: Mapping[str, Any]) -> None:
    """One line, so that repeated looks are JSON lines."""
    print(orjson.dumps(value).decode(), flush=True)


def say(text: str) -> None:
    """Tell the person at the terminal something that is no result."""
    print(text, file=sys.stderr, flush=True)


class NobodyWorks(TsyncError):
    """Nothing that is waited for can come, since no replica runs."""


class Patience:
    """What a command bears while it waits: MongoDB away, however long, and no replica at work for `NOBODY_S`."""

    def __init__(self) -> None:
        self._trouble = ""
        self._nobody_since_s: float | None = None

    async def look(self, look: Callable[[], Awaitable[bool]]) -> bool:
        """False, and one line about it, while MongoDB cannot be read: that passes, and what was filed is not lost."""
        try:
            ended = await look()
        except NobodyWorks:
            raise
        except TsyncError as error:
            self._nobody_since_s = None
            if str(error) != self._trouble:
                self._trouble = str(error)
                say(self._trouble)
            return False
        self._trouble = ""
        return ended

    def note_live(self, replicas: int, what: str) -> None:
        """So many replicas are live. Raises `NobodyWorks` when it has been none for too long; `what` then waits."""
        now_s = time.monotonic()
        if replicas:
            self._nobody_since_s = None
        elif self._nobody_since_s is None:
            self._nobody_since_s = now_s
        elif now_s - self._nobody_since_s >= NOBODY_S:
            raise NobodyWorks(
                f"No replica has been live for {NOBODY_S:g} s, so nothing comes of waiting. {what} stays filed, and is "
                "done when a worker is started (`faust -A tsync_stream worker`)."
            )
