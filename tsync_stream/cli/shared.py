"""What the commands share: exit codes, output, and how they find the servers.

Invariants: results go to stdout, everything else to stderr, so `--json` prints nothing but JSON. A server that does not
answer is reported in a sentence, never by a stack trace.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

import click
import faust
import orjson
from faust.cli import AppCommand

from tsync_stream.core.errors import TsyncError
from tsync_stream.settings.load import Settings, with_servers

if TYPE_CHECKING:
    from rich.console import Console

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# The width without a terminal: a report in a log should not be narrower.
PIPED_WIDTH = 120


class OurApp(faust.App):
    """What the commands know about the app, which is a layer above them."""

    settings: Settings

    def refuse_bad_settings(self, *, imports: bool = False) -> None:
        """End the process if settings or routes are wrong, and print every problem.

        `imports`: a transform that cannot be imported is one. Who does not run it need not have its module.
        """
        raise NotImplementedError

    def surroundings(self) -> AbstractContextManager[None]:
        """What a worker runs in. Raises `ConfigurationError` if it cannot be had."""
        raise NotImplementedError


class OurCommand(AppCommand):
    """A command whose `run` returns the exit code.

    Faust would run it inside a worker, which takes a second to end, sets up logging, and has no exit codes.
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
            # Our reader has closed the pipe; the interpreter's final flush must not fail because of that.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_WRONG)
        except TsyncError as error:
            say(f"{error}\n`faust -A tsync_stream check` says what is wrong and how to fix it.")
            sys.exit(EXIT_WRONG)
        sys.exit(code)


def reachable_settings(settings: Settings) -> Settings:
    """The settings, pointed at the embedded stack if that is used. Ends the command if no stack is running."""
    if not settings.embedded:
        return settings
    from tsync_stream.embedded.environment import running_stack_environment

    environment = running_stack_environment(settings)
    if environment is None:
        say(
            f"TSYNC_EMBEDDED is true, but no embedded stack is running in {settings.embedded_dir}: its servers live as "
            "long as a worker does. Start one in another terminal: `faust -A tsync_stream worker`."
        )
        sys.exit(EXIT_WRONG)
    return with_servers(settings, environment)


def console() -> "Console":
    """Output for people, with colours only on a terminal."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPED_WIDTH)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one line, so that repeated output is JSON Lines."""
    print(orjson.dumps(value).decode(), flush=True)


def say(text: str) -> None:
    """Print a message for the person at the terminal, which is not a result."""
    print(text, file=sys.stderr, flush=True)
