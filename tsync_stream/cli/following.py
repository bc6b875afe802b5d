"""Seeing a job through: its progress, and what stands in its way, until it is ended.

Invariant: whoever stops looking ends nothing: the job goes on without them.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from tsync_stream.cli.choosing import Opened
from tsync_stream.cli.shared import (
    EXIT_WRONG,
    LOOK_INTERVAL_S,
    PROGRESS_INTERVAL_S,
    Patience,
    console,
    say,
)
from tsync_stream.core.terminal import printable
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines, show_job
from tsync_stream.state.jobs import Job

# Looking can be work for MongoDB: it gets five times as long to rest.
REST_FACTOR = 5.0


@dataclass(frozen=True, slots=True)
class Measured:
    """How much of a job is done. `remark` is what a line adds to what `show_job` says, where there is no bar."""

    done: int
    total: int
    remark: str = ""


Show: TypeAlias = Callable[[str, Measured], None]


def what_was_filed(kind: str, job: str, what: str, *, live: int) -> str:
    """What happens next, for people (pure)."""
    if live:
        after = f"The replica that captures {what}; `faust -A tsync_stream status` shows how far it is."
    else:
        after = "No replica is live: it begins when a worker is started (`faust -A tsync_stream worker`)."
    return f"{kind.capitalize()} {job} is filed. {after}"


async def give_up(our: Opened, kind: str, job: str) -> int:
    """Give a job up; what it has queued is still synced."""
    found = await our.jobs.load(job)
    if found is not None and found.kind == kind and await our.jobs.end(job, "cancelled"):
        print(f"{kind.capitalize()} {job} is cancelled. What it has queued already is still synced.")
        return 0
    say(f"No {kind} {printable(job)} is open; `faust -A tsync_stream status` shows those that are.")
    return EXIT_WRONG


async def follow(
    our: Opened, reader: StatusReader, name: str, measure: Callable[[Job], Awaitable[Measured]]
) -> Job | None:
    """Show a job's progress until it is ended; None if it is not stored any more."""
    job: Job | None = None
    complaints: Sequence[str] = []
    patience = Patience()
    rest_s = LOOK_INTERVAL_S

    async def look() -> bool:
        nonlocal job, complaints, rest_s
        began_s = time.monotonic()
        seen = await reader.read()
        job = await our.jobs.load(name)
        if job is None or job.status != "open":
            return True
        patience.note_live(len(seen.live), f"{job.kind.capitalize()} {job.id}")
        show(show_job(job, live=bool(seen.live)), await measure(job))
        if problem_lines(seen) != complaints:
            complaints = problem_lines(seen)
            say("\n".join(complaints) or "No replica complains any more.")
        rest_s = max(LOOK_INTERVAL_S, REST_FACTOR * (time.monotonic() - began_s))
        return False

    try:
        with _progress() as show:
            while not await patience.look(look):
                await asyncio.sleep(rest_s)
    except asyncio.CancelledError:
        say("It goes on without us: `faust -A tsync_stream status` shows how far it is.")
        raise
    return job


@contextmanager
def _progress() -> Iterator[Show]:
    """A bar on a terminal; elsewhere a line for each news, and now and then for numbers that grow."""
    if sys.stdout.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console()) as bar:
            task = bar.add_task("")
            yield lambda text, at: bar.update(task, description=text, completed=at.done, total=at.total)
        return
    said, said_at_s = "", 0.0

    def show(text: str, at: Measured) -> None:
        nonlocal said, said_at_s
        now_s = time.monotonic()
        if text != said or now_s - said_at_s >= PROGRESS_INTERVAL_S:
            print(f"{text}{at.remark}", flush=True)
            said, said_at_s = text, now_s

    yield show
