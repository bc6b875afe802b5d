"""Filed jobs, replays and verifications alike: what happens next, following them until they end, cancelling one."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from tsync_stream.cli.choosing import Opened
from tsync_stream.cli.following import STILL_RUNS, Follower, News
from tsync_stream.cli.shared import EXIT_WRONG, console, say
from tsync_stream.core.terminal import printable
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines, show_job
from tsync_stream.state.jobs import Job, TooManyJobs


@dataclass(frozen=True, slots=True)
class Measured:
    """How much of a job is done. `remark` ends the line of `show_job` where there is no progress bar."""

    done: int
    total: int
    remark: str = ""


Show: TypeAlias = Callable[[Job, str, Measured], None]


async def file_jobs(our: Opened, kind: str, arguments: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """File a job for each route with these arguments; returns the jobs by route, and says which were not filed."""
    filed: dict[str, str] = {}
    for route, each in arguments.items():
        try:
            filed[route] = await our.jobs.file(kind, route, each)
        except TooManyJobs as error:
            if not filed:
                raise
            say(f"Not filed for {', '.join(name for name in arguments if name not in filed)}: {error}")
            break
    return filed


def what_was_filed(kind: str, jobs: Mapping[str, str], what: str, *, live: int) -> str:
    """What happens next with the jobs of these routes, for people (pure)."""
    if live:
        after = f"The capturing replica {what}; `faust -A tsync_stream status` shows its progress."
    else:
        after = "No replica is live: it begins when a worker is started (`faust -A tsync_stream worker`)."
    if len(jobs) == 1:
        return f"{kind.capitalize()} {next(iter(jobs.values()))} is filed. {after}"
    named = ", ".join(f"{job} ({route})" for route, job in jobs.items())
    return f"{kind.capitalize()} {named} are filed. {after}"


async def cancel_job(our: Opened, kind: str, job: str) -> int:
    """Cancel a job; keys that it has queued are still synced."""
    found = await our.jobs.load(job)
    if found is not None and found.kind == kind and await our.jobs.end(job, "cancelled"):
        print(f"{kind.capitalize()} {job} is cancelled. What it has queued already is still synced.")
        return 0
    say(f"There is no open {kind} {printable(job)}; `faust -A tsync_stream status` lists the open jobs.")
    return EXIT_WRONG


async def follow_jobs(
    our: Opened, reader: StatusReader, names: Mapping[str, str], measure: Callable[[Job], Awaitable[Measured]]
) -> dict[str, Job | None]:
    """Show the progress of jobs, and what live replicas report, until all have ended.

    `names` are the jobs by route, and so is what is returned: None for a job that is no longer stored.
    """
    jobs: dict[str, Job | None] = {}
    problems: Sequence[str] = []
    follower = Follower()

    async def look() -> bool:
        nonlocal problems
        seen = await reader.read()
        jobs.update({route: await our.jobs.load(name) for route, name in names.items()})
        running = [job for job in jobs.values() if job is not None and job.status == "open"]
        if not running:
            return True
        follower.note_live(len(seen.live), ", ".join(f"{job.kind.capitalize()} {job.id}" for job in running))
        for job in running:
            of_route = f" (route {job.route})" if len(names) > 1 else ""
            show(job, f"{show_job(job, live=bool(seen.live))}{of_route}", await measure(job))
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
    return jobs


@contextmanager
def _progress() -> Iterator[Show]:
    """A bar for each job on a terminal; lines anywhere else."""
    if sys.stdout.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

        with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console()) as bar:
            tasks: dict[str, TaskID] = {}

            def show_bar(job: Job, text: str, at: Measured) -> None:
                task = tasks.setdefault(job.id, TaskID(-1))
                if task < 0:
                    task = tasks[job.id] = bar.add_task("")
                bar.update(task, description=text, completed=at.done, total=at.total)

            yield show_bar
        return
    news: dict[str, News] = {}
    yield lambda job, text, at: news.setdefault(job.id, News()).show(text, f"{text}{at.remark}")
