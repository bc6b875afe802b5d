"""Progress of what a command waits for: a bar for each on a terminal, plain lines anywhere else.

Invariant: with `--json`, progress goes to stderr, because stdout has the result alone.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from tsync_stream.cli.following import News
from tsync_stream.cli.shared import console


@dataclass(frozen=True, slots=True)
class Measured:
    """How much is done. `remark` ends a line; a bar shows the numbers themselves."""

    done: int
    total: int
    remark: str = ""


# Called with a name, the part of the text that matters at once, the text, and how much is done.
Show: TypeAlias = Callable[[str, object, str, Measured], None]


@contextmanager
def progress(*, as_json: bool) -> Iterator[Show]:
    """Show how far each of several things is, for the duration of the block."""
    stream = sys.stderr if as_json else sys.stdout
    if stream.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=console(stream)) as bars:
            tasks: dict[str, TaskID] = {}

            def show_bar(name: str, news: object, text: str, at: Measured) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task("")
                bars.update(tasks[name], description=text, completed=at.done, total=at.total)

            yield show_bar
        return
    lines: dict[str, News] = {}

    def show_line(name: str, news: object, text: str, at: Measured) -> None:
        lines.setdefault(name, News(stream)).show(news, f"{text}{at.remark}")

    yield show_line
