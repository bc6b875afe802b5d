"""`check` and `status`: they only look. What they see is judged in `observe/`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tsync_stream.cli.shared import EXIT_WRONG, console, print_json, reachable_settings, say
from tsync_stream.core.errors import TsyncError
from tsync_stream.settings.load import Settings
from tsync_stream.settings.texts import unused

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tsync_stream.observe.status_reader import StatusReader


# ---- check ----


async def run_check(settings: Settings, *, as_json: bool) -> int:
    """Print the findings; 1 if anything is wrong."""
    from tsync_stream.check import report

    warnings = unused(Path.cwd())
    rows = await report.check_dependencies(reachable_settings(settings))
    if as_json:
        print_json(report.as_json(rows, warnings))
    else:
        console().print(report.render(rows, warnings))
    return 0 if report.all_healthy(rows) else EXIT_WRONG


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
