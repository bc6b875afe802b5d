"""The command line: `faust -A tsync_stream check | status | reconcile`. What they do is in `observe/` and `jobs/`.

Invariants: results go to stdout, everything else to stderr, so that `--json` prints JSON alone. A server that does not
answer is told in a sentence, never by a stack trace. Exit codes: 0 well, 1 something is wrong or could not be seen,
2 bad settings or usage, 130 interrupted.

What only a command needs is imported by that command: a worker's start must not pay for it.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias

import click
import orjson
from faust.cli import AppCommand, option

from tsync_stream.config import Settings, load_settings, read_texts, unknown_names
from tsync_stream.errors import TsyncError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tsync_stream.app import TsyncApp
    from tsync_stream.jobs.ask_reconcile import Asked
    from tsync_stream.observe.status_reader import StatusReader

Handler: TypeAlias = Callable[..., Awaitable[int]]

EXIT_WRONG = 1
EXIT_INTERRUPTED = 130
LOOK_INTERVAL_S = 1.0
PROGRESS_INTERVAL_S = 5.0
# Without a terminal nobody knows the width; a report in a log should not be narrower than this.
PIPED_WIDTH = 120

AS_JSON = option("--json", "as_json", is_flag=True, help="Print JSON.")
WATCH = option(
    "--watch",
    "watch_s",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Look again every SECONDS, until interrupted.",
)
ALLOW_MASS_DELETE = option(
    "--allow-mass-delete",
    is_flag=True,
    help="Let it delete from Typesense whatever the source no longer has, however much that is.",
)
WAIT = option("--wait", is_flag=True, help="Show its progress until it is done.")


class OurCommand(AppCommand):
    """A command whose `run` returns the exit code.

    Faust would run it inside a worker, which takes a second to end, sets up logging, and knows no exit codes.
    """

    abstract: ClassVar[bool] = True  # faust registers a subclass as a command unless it says this

    def run_using_worker(self, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            code = asyncio.run(self.run(*self.args, *args, **{**self.kwargs, **kwargs}))
            sys.stdout.flush()
        except KeyboardInterrupt:
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output has gone; the interpreter's own flush at its end must not fail over that.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_WRONG)
        except TsyncError as error:
            say(f"{error}\n`faust -A tsync_stream check` tells what is wrong and how to mend it.")
            sys.exit(EXIT_WRONG)
        sys.exit(code)


def add_commands(app: "TsyncApp") -> None:
    """Add our commands to Faust's."""

    def command(*options: Any) -> Callable[[Handler], type[AppCommand]]:
        return app.command(*options, base=OurCommand)

    @command(AS_JSON)
    async def check(self: AppCommand, as_json: bool) -> int:
        """Tell what is wrong and how to mend it.

        Looks at the settings and at every server; changes nothing. Exits with 1 if anything is wrong.
        """
        return await run_check(app.settings, as_json=as_json or self.json)

    @command(AS_JSON, WATCH)
    async def status(self: AppCommand, as_json: bool, watch_s: float | None) -> int:
        """Show how far it is, and what waits.

        Positions, lag, queue, replicas, dead letters. Exits with 1 if something could not be seen.
        """
        return await run_status(app.settings, as_json=as_json or self.json, watch_s=watch_s)

    @command(ALLOW_MASS_DELETE, WAIT)
    async def reconcile(self: AppCommand, allow_mass_delete: bool, wait: bool) -> int:
        """Have every document synced once more.

        Queues every key of the source, then every id in Typesense that the source no longer has. It needs a worker.
        """
        return await run_reconcile(app.settings, allow_mass_delete=allow_mass_delete, wait=wait)


# ---- check ----


async def run_check(settings: Settings, *, as_json: bool) -> int:
    """Print the findings; 1 if anything is wrong."""
    from tsync_stream.observe import check

    warnings = unknown_names(read_texts(Path.cwd()))
    rows = await check.check_dependencies(reachable_settings(settings))
    if as_json:
        print_json(check.as_json(rows, warnings))
    else:
        console().print(check.render(rows, warnings))
    return 0 if check.all_well(rows) else EXIT_WRONG


# ---- status ----


async def run_status(settings: Settings, *, as_json: bool, watch_s: float | None) -> int:
    """Print one look, or one after the other; 1 if something could not be seen."""
    from tsync_stream.observe.status_reader import StatusReader

    async with StatusReader(reachable_settings(settings)) as reader:
        if watch_s is not None:
            await watch_status(reader, as_json=as_json, interval_s=watch_s)
        return await show_status(reader, as_json=as_json, show=console().print)


async def show_status(reader: "StatusReader", *, as_json: bool, show: "Callable[[RenderableType], object]") -> int:
    """Look once, and print it."""
    from tsync_stream.observe import status
    from tsync_stream.observe.status_view import render

    seen = await reader.read()
    if as_json:
        print_json(status.as_json(seen))
    else:
        show(render(seen))
    return EXIT_WRONG if seen.unseen else 0


async def watch_status(reader: "StatusReader", *, as_json: bool, interval_s: float) -> NoReturn:
    """Look again and again; on a terminal each look takes the place of the one before."""
    screen = console()

    def show(look: "RenderableType") -> None:
        if screen.is_terminal:
            screen.clear()
        screen.print(look)

    await repeat(lambda: show_status(reader, as_json=as_json, show=show), interval_s)


async def repeat(look: Callable[[], Awaitable[object]], interval_s: float) -> NoReturn:
    """`look` every `interval_s`, until cancelled; a server that is away for a while does not end it.

    A trouble is said when it begins, not at every look.
    """
    trouble = ""
    while True:
        try:
            await look()
            sys.stdout.flush()
            trouble = ""
        except TsyncError as error:
            if str(error) != trouble:
                trouble = str(error)
                say(trouble)
        await asyncio.sleep(interval_s)


# ---- reconcile ----


async def run_reconcile(settings: Settings, *, allow_mass_delete: bool, wait: bool) -> int:
    """File the need, say what happens next, and see it through if asked to."""
    from tsync_stream.jobs.ask_reconcile import ask_reconcile
    from tsync_stream.observe.status_reader import StatusReader

    async with StatusReader(reachable_settings(settings)) as reader:
        seen = await reader.read()  # it tells best if MongoDB is away
        asked = await ask_reconcile(reader.positions, allow_mass_delete=allow_mass_delete)
        print(what_was_asked(asked, allow_mass_delete=allow_mass_delete, live=len(seen.live)))
        if asked.need is None:
            return EXIT_WRONG
        if wait:
            sys.stdout.flush()
            await wait_for_reconcile(reader)
    return 0


def what_was_asked(asked: "Asked", *, allow_mass_delete: bool, live: int) -> str:
    """What came of it and what happens next, for people (pure)."""
    if asked.need is None:
        return (
            "Nothing has run yet, so there is nothing to reconcile: the first start of a worker syncs every document "
            "(`faust -A tsync_stream worker`)."
        )
    lines = {
        "filed": "A reconcile is filed.",
        "open": f"A reconcile is open already ({asked.need.reason}); it serves for this one too.",
    }
    parts = [lines[asked.outcome]]
    if allow_mass_delete:
        parts.append("It may delete from Typesense whatever the source no longer has, however much that is.")
    if live:
        parts.append(
            "The replica that captures queues every key of the source, and then every id in Typesense that the source "
            "no longer has; live changes go on meanwhile. `faust -A tsync_stream status` shows how far it is."
        )
    else:
        parts.append("No replica is live: it begins when a worker is started (`faust -A tsync_stream worker`).")
    return "\n".join(parts)


async def wait_for_reconcile(reader: "StatusReader") -> None:
    """Print its progress, and what stands in its way, until no reconcile is open."""
    from tsync_stream.observe.status_view import problem_lines, progress_line

    said: Sequence[str] = ()
    said_at_s = 0.0

    async def look() -> bool:
        nonlocal said, said_at_s
        seen = await reader.read()
        if seen.reconcile is None:
            return True
        # News at once; numbers that grow, now and then.
        news = [seen.reconcile.phase, *problem_lines(seen), *seen.unseen]
        now_s = time.monotonic()
        if news != said or now_s - said_at_s >= PROGRESS_INTERVAL_S:
            print("\n".join([progress_line(seen, seen.reconcile), *news[1:]]), flush=True)
            said, said_at_s = news, now_s
        return False

    try:
        while not await patiently(look):
            await asyncio.sleep(LOOK_INTERVAL_S)
    except asyncio.CancelledError:
        say("It goes on without us: `faust -A tsync_stream status` shows how far it is.")
        raise
    print("Done: Typesense shows what MongoDB holds.")


async def patiently(look: Callable[[], Awaitable[bool]]) -> bool:
    """False, and a line about it, while MongoDB cannot be read: that passes, and the reconcile is not lost."""
    try:
        return await look()
    except TsyncError as error:
        say(str(error))
        return False


# ---- what they share ----


def reachable_settings(settings: Settings) -> Settings:
    """The settings themselves, or those that lead to the embedded stack. Ends the command if none runs."""
    if not settings.embedded:
        return settings
    from tsync_stream.embedded_settings import running_stack_environment

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
