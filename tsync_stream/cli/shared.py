"""What the commands share: exit codes, output, and how they find the servers.

Invariants: results go to stdout, everything else to stderr, so `--json` prints nothing but JSON. A server that does not
answer is reported in a sentence, never by a stack trace.
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import orjson

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.routes.declared import load_all
from tsync_stream.settings.load import Settings, lines_for_exit, with_servers

if TYPE_CHECKING:
    from rich.console import Console

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# The width without a terminal: a report in a log should not be narrower.
PIPED_WIDTH = 120


def usable_settings(*, imports: bool = False) -> Settings:
    """The settings. Ends the process with every problem of settings and routes, if there is one.

    `imports`: a transform that cannot be imported is one. Who does not run it need not have its module.
    """
    try:
        return load_all(imports=imports)
    except ConfigurationError as error:
        exit_for(error)


def exit_for(error: ConfigurationError) -> NoReturn:
    """Print every problem, and exit with 2."""
    say(lines_for_exit(error))
    sys.exit(EXIT_USAGE)


def reachable_settings(settings: Settings) -> Settings:
    """The settings, pointed at the embedded stack if that is used. Ends the command if no stack is running."""
    if not settings.embedded:
        return settings
    from tsync_stream.embedded.environment import running_stack_environment

    environment = running_stack_environment(settings)
    if environment is None:
        say(
            f"TSYNC_EMBEDDED is true, but no embedded stack is running in {settings.embedded_dir}: its servers live as "
            "long as a worker does. Start one in another terminal: `tsync worker`."
        )
        sys.exit(EXIT_WRONG)
    return with_servers(settings, environment)


def console(stream: TextIO | None = None) -> "Console":
    """Output for people, to stdout or another stream. Colours only on a terminal, and none with NO_COLOR."""
    from rich.console import Console

    stream = stream or sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else PIPED_WIDTH)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one line, so that repeated output is JSON Lines."""
    print(orjson.dumps(value).decode(), flush=True)


def say(text: str) -> None:
    """Print a message for the person at the terminal, which is not a result."""
    print(text, file=sys.stderr, flush=True)


def close_output() -> None:
    """Our reader has closed the pipe: the interpreter's final flush must not fail because of that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
