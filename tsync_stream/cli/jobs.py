"""Filed jobs, replays and verifications alike: what happens next, following one until it ends, cancelling one."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from tsync_stream.cli.choosing import Opened
from tsync_stream.cli.following import STILL_RUNS, Follower, News
from tsync_stream.cli.shared import EXIT_WRONG, console, say
from tsync_stream.core.terminal import printable
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines, show_job
from tsync_stream.state.jobs import Job


@dataclass(frozen=True, slots=True)
class Measured:
    """How much of a job is done. `remark` ends the line of `show_job` where there is no progress bar."""

    done: int
    total: int
    remark: str = ""


Show: TypeAlias = Callable[[str, Measured], None]


def what_was_filed(kind: str, job: str, what: str, *, live: int) -> str:
    """What happens next, for people (pure)."""
    if live:
        after = f"The capturing replica {what}; `faust -A tsync_stream status` shows its progress."
    else:
        after = "No replica is live: it begins when a worker is started (`faust -A tsync_stream worker`)."
    return f"{kind.capitalize()} {job} is filed. {after}"


async def cancel_job(our: Opened, kind: str, job: str) -> int:
    """Cancel a job; keys that it has queued are still synced."""
    found = await our.jobs.load(job)
    if found is not None and found.kind == kind and await our.jobs.end(job, "cancelled"):
        print(f"{kind.capitalize()} {job} is cancelled. What it has queued already is still synced.")
        return 0
    say(f"There is no open {kind} {printable(job)}; `faust -A tsync_stream status` lists the open jobs.")
    return EXIT_WRONG


async def follow_job(
    our: Opened, reader: StatusReader, name: str, measure: Callable[[Job], Awaitable[Measured]]
) -> Job | None:
    """Show a job's progress, and what live replicas report, until it has ended; None if it is no longer stored."""
    job: Job | None = None
    problems: Sequence[str] = []
    follower = Follower()

    async def look() -> bool:
        nonlocal job, problems
        seen = await reader.read()
        job = await our.jobs.load(name)
        if job is None or job.status != "open":
            return True
        follower.note_live(len(seen.live), f"{job.kind.capitalize()} {job.id}")
        show(show_job(job, live=bool(seen.live)), await measure(job))
        if problem_lines(seen) != problems:
            problems = problem_lines(seen)
            say("\n".join(problems) or "The replicas report no problems any more.")
        return False

    try:
        with _progress() as show:
            await follower.follow(look)
    except asyncio.CancelledError:
        say(STILL_RUNS)
        raise
    return job


@contextmanager
def _progress() -> Iterator[Show]:
    """A bar on a terminal; lines anywhere else."""
    if sys.stdout.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console()) as bar:
            task = bar.add_task("")
            yield lambda text, at: bar.update(task, description=text, completed=at.done, total=at.total)
        return
    news = News()
    yield lambda text, at: news.show(text, f"{text}{at.remark}")
