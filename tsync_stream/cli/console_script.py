"""The console script `tsync`: our commands in groups, and `worker`, without those of Faust that mean nothing here.

Invariants: Faust is loaded for `worker` alone, and settings are read by the command that runs, so help, the version and
the completion of a shell work whatever the settings, and at once.
"""

from typing import Any

import click

from tsync_stream.cli import commands
from tsync_stream.cli.declaring import DECLARED, RUN, SECTIONS, OurCommand
from tsync_stream.core import __version__

NAME = "tsync"
HELP = """Keep Typesense equal to MongoDB.

Settings come from the environment, and from the file .env in the working directory.
"""
EPILOG = "COMMAND --help describes a command. Every one but worker takes --json. Exit codes: 0 success, 1 something is \
wrong, 2 wrong settings or usage, 130 interrupted."

# The options of Faust's worker that are of use here, and what they do. The others are accepted, but not shown.
_WORKERS = {
    "with_web": "Serve /health and /metrics.",
    "web_port": "The port of these pages, instead of WEB_PORT.",
    "web_bind": "The address of these pages, instead of WEB_BIND.",
    "loglevel": "The level of the log, instead of LOG_LEVEL.",
    "logfile": "Append the log to this file. Without it, it goes to stderr.",
}


class Worker(OurCommand):
    """Faust's `worker`, loaded when it is needed."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """A context of the command that Faust has made of ours."""
        return _loaded(parent).make_context(info_name, args, parent, **extra)


def _loaded(parent: click.Context | None) -> click.Command:
    """Faust's command. What Faust expects of the outermost context is put there."""
    from faust.cli.base import State, cli

    from tsync_stream.cli import worker as _  # noqa: F401 - subclassing a command registers it

    if parent is not None:
        root: Any = parent.find_root()
        root.app = root.stdout = root.stderr = None
        state = root.ensure_object(State)
        state.app = "tsync_stream"
    found = cli.commands["worker"]
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            parameter.help = _WORKERS.get(parameter.name or "")
            parameter.hidden, parameter.show_default = parameter.help is None, False
    return found


class Tsync(click.Group):
    """The group of all commands, whose help lists them under headings."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command."""
        for section in SECTIONS:
            found = [
                (name, command.get_short_help_str(limit=formatter.width))
                for name, command in self.commands.items()
                if isinstance(command, OurCommand) and command.section == section
            ]
            if found:
                with formatter.section(section):
                    formatter.write_dl(found, col_max=20)


def console_script() -> click.Group:
    """The command `tsync`."""
    assert commands, "importing it declares the commands"
    worker = Worker("worker", RUN, help="Start a replica: capture MongoDB's changes and keep Typesense equal.")
    group = Tsync(NAME, commands={worker.name or "": worker, **DECLARED}, help=HELP, epilog=EPILOG)
    click.version_option(__version__, prog_name="tsync-stream")(group)
    return group
