"""How a command is declared: once, for `tsync` and for `faust -A tsync_stream`.

Invariants: every command takes `--json`, and its exit codes are 0 for success, 1 if something is wrong or could not be
read, 2 for wrong settings or usage, 130 if it was interrupted. A server that does not answer is reported in a sentence,
never by a stack trace. Declaring imports nothing but click.
"""

import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import click

# The headings of `tsync --help`, in this order.
RUN = "Run"
PREPARE = "Before a first start"
LOOK = "Look"
ACT = "Act"
SECTIONS = (RUN, PREPARE, LOOK, ACT)

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

Handler: TypeAlias = Callable[..., Coroutine[Any, Any, int]]


class OurCommand(click.Command):
    """A command with the heading under which `tsync --help` lists it."""

    def __init__(self, name: str, section: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.section = section


# All that were declared, by their names.
DECLARED: dict[str, OurCommand] = {}


def command(section: str, *options: Callable[[Any], Any], imports: bool = False) -> Callable[[Handler], Handler]:
    """Declare a command that calls the decorated function, whose name and docstring are the command's.

    The function is called with the settings, and with the options by name; what it returns is the exit code. `imports`:
    a transform that cannot be imported makes the settings wrong.
    """

    def declare(handler: Handler) -> Handler:
        @click.pass_context
        def run(context: click.Context, /, *, as_json: bool, **asked: Any) -> None:
            # `faust --json COMMAND` asks for it too.
            as_json = as_json or bool(getattr(context.find_root().obj, "json", False))
            _run(handler, imports=imports, as_json=as_json, **asked)

        name = handler.__name__.replace("_", "-")
        DECLARED[name] = made = OurCommand(name, section, callback=run, help=handler.__doc__)
        for add in (*options, AS_JSON):
            add(made)
        return handler

    return declare


def _run(handler: Handler, *, imports: bool, **asked: Any) -> None:
    """Run a command to its end, which ends the process."""
    import asyncio

    from tsync_stream.cli.shared import EXIT_INTERRUPTED, EXIT_USAGE, EXIT_WRONG, close_output, say, usable_settings
    from tsync_stream.core.errors import TsyncError

    settings = usable_settings(imports=imports)
    try:
        code = asyncio.run(handler(settings, **asked))
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except click.UsageError as error:
        say(error.format_message())
        sys.exit(EXIT_USAGE)
    except BrokenPipeError:
        close_output()
        sys.exit(EXIT_WRONG)
    except TsyncError as error:
        say(f"{error}\n`tsync check` says what is wrong and how to fix it.")
        sys.exit(EXIT_WRONG)
    sys.exit(code)
