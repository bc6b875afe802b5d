"""`status`: prints where the pipeline is, once or repeatedly. Changes nothing; `observe/` judges what it reads."""

from collections.abc import Callable

from rich.console import RenderableType

from tsync_stream.cli.following import Follower
from tsync_stream.cli.shared import EXIT_WRONG, console, print_json, reachable_settings
from tsync_stream.observe.status import as_json as json_of
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import render
from tsync_stream.settings.load import Settings


async def run_status(settings: Settings, *, as_json: bool, watch_s: float | None) -> int:
    """Print the status, with `watch_s` again and again until interrupted; 1 if something could not be read."""
    async with StatusReader(reachable_settings(settings)) as reader:
        if watch_s is not None:
            await watch_status(reader, as_json=as_json, interval_s=watch_s)
        return await show_status(reader, as_json=as_json, show=console().print)


async def show_status(reader: StatusReader, *, as_json: bool, show: Callable[[RenderableType], object]) -> int:
    """Read the status once, and print it."""
    seen = await reader.read()
    if as_json:
        print_json(json_of(seen))
    else:
        show(render(seen))
    return EXIT_WRONG if seen.unseen else 0


async def watch_status(reader: StatusReader, *, as_json: bool, interval_s: float) -> None:
    """Print it every `interval_s`, until cancelled; on a terminal each look replaces the one before."""
    screen = console()

    def show(seen: RenderableType) -> None:
        if screen.is_terminal:
            screen.clear()
        screen.print(seen)

    async def look() -> bool:
        await show_status(reader, as_json=as_json, show=show)
        return False

    await Follower().follow(look, interval_s)
