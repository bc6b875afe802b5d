"""Filed jobs of whatever kind: what happens next, following them until they end, pausing, resuming, cancelling one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from tsync_stream.cli.choosing import Opened
from tsync_stream.cli.following import Follower, continuing
from tsync_stream.cli.progress import Measured, progress
from tsync_stream.cli.shared import EXIT_WRONG, print_json, say
from tsync_stream.core.terminal import printable
from tsync_stream.jobs.ledger import COMMANDS
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines, show_job
from tsync_stream.state.jobs import Job, TooManyJobs


async def file_jobs(
    our: Opened, kind: str, arguments: Mapping[str, Mapping[str, Any]], rate_per_s: int | None = None
) -> dict[str, str]:
    """File a job for each route with these arguments; returns the jobs by route, and says which were not filed."""
    filed: dict[str, str] = {}
    for route, each in arguments.items():
        try:
            filed[route] = await our.jobs.file(kind, route, each, rate_per_s=rate_per_s)
        except TooManyJobs as error:
            if not filed:
                raise
            say(f"Not filed for {', '.join(name for name in arguments if name not in filed)}: {error}")
            break
    return filed


def what_was_filed(kind: str, jobs: Mapping[str, str], what: str, *, live: int) -> str:
    """What happens next with the jobs of these routes, for people (pure)."""
    if live:
        after = f"The capturing replica {what}; `tsync status` shows its progress."
    else:
        after = "No replica is live: it begins when a worker is started (`tsync worker`)."
    if len(jobs) == 1:
        return f"{kind.capitalize()} {next(iter(jobs.values()))} is filed. {after}"
    named = ", ".join(f"{job} ({route})" for route, job in jobs.items())
    return f"{kind.capitalize()} {named} are filed. {after}"


@dataclass(frozen=True, slots=True)
class Steering:
    """What is wanted of a job that is open: `--pause`, `--resume` or `--cancel`, each with its id, or None of them."""

    pause: str | None = None
    resume: str | None = None
    cancel: str | None = None

    def __bool__(self) -> bool:
        return self != Steering()

    def require_alone(self, what: str, *, others: bool) -> None:
        """Raise `click.UsageError` if it is wanted together with something else. `what` is meant: `a replay`."""
        given = [name for name in ("pause", "resume", "cancel") if getattr(self, name) is not None]
        if given and (others or len(given) > 1):
            raise click.UsageError(f"--{given[0]} takes the id of {what}, and no other option.")


async def steer_job(our: Opened, kind: str, wanted: Steering, *, as_json: bool) -> int:
    """Do to a job of this kind what is wanted of it."""
    if wanted.cancel is not None:
        return await cancel_job(our, kind, wanted.cancel, as_json=as_json)
    paused = wanted.pause is not None
    job = (wanted.pause if paused else wanted.resume) or ""
    found = await our.jobs.load(job)
    steered = await our.jobs.steer(job, paused=paused) if found is not None and found.kind == kind else None
    if steered is None:
        return _not_open(kind, job, as_json=as_json)
    if as_json:
        print_json({"ok": True, "jobs": [steered_as_json(steered.route, job, kind, paused=paused)]})
    else:
        print(what_was_steered([f"{kind} {job}"], kind, job, paused=paused))
    return 0


def steered_as_json(route: str, job: str, kind: str, *, paused: bool) -> dict[str, Any]:
    """What `--json` prints of a job that was paused or resumed (pure)."""
    return {"route": route, "job": job, "kind": kind, "paused": paused}


def what_was_steered(named: Sequence[str], kind: str, job: str, *, paused: bool) -> str:
    """What becomes of jobs that were paused or resumed, for people (pure)."""
    names = ", ".join(named)
    if not paused:
        return f"Resumed: {names}. A running worker goes on where it stopped."
    resume = f"`tsync {COMMANDS[kind]} --resume{f' {job}' if job else ''}`"
    return (
        f"Paused: {names}. What is queued already is still synced, and live changes go on. It stays paused, also when "
        f"workers restart, until {resume}."
    )


def _not_open(kind: str, job: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": False, "jobs": []})
    say(f"There is no open {kind} {printable(job)}; `tsync status` lists the open jobs.")
    return EXIT_WRONG


async def cancel_job(our: Opened, kind: str, job: str, *, as_json: bool) -> int:
    """Cancel a job; keys that it has queued are still synced."""
    found = await our.jobs.load(job)
    if found is not None and found.kind == kind and await our.jobs.end(job, "cancelled"):
        if as_json:
            print_json({"ok": True, "jobs": [{"route": found.route, "job": job, "status": "cancelled"}]})
        else:
            print(f"{kind.capitalize()} {job} is cancelled. What it has queued already is still synced.")
        return 0
    return _not_open(kind, job, as_json=as_json)


async def follow_jobs(
    our: Opened,
    reader: StatusReader,
    names: Mapping[str, str],
    measure: Callable[[Job], Awaitable[Measured]],
    *,
    as_json: bool,
) -> dict[str, Job | None]:
    """Show the progress of jobs, and what live replicas report, until all have ended.

    `names` are the jobs by route, and so is what is returned: None for a job that is no longer stored.
    """
    jobs: dict[str, Job | None] = {}
    follower = Follower()

    async def look() -> bool:
        seen = await reader.read()
        jobs.update({route: await our.jobs.load(name) for route, name in names.items()})
        running = [job for job in jobs.values() if job is not None and job.status == "open"]
        if not running:
            return True
        follower.note_live(len(seen.live), ", ".join(f"{job.kind.capitalize()} {job.id}" for job in running))
        for job in running:
            of_route = f" (route {job.route})" if len(names) > 1 else ""
            text = f"{show_job(job, live=bool(seen.live))}{of_route}"
            show(job.id, text, text, await measure(job))
        follower.note_problems(problem_lines(seen))
        return False

    with continuing(), progress(as_json=as_json) as show:
        await follower.follow(look)
    return jobs


def jobs_as_json(
    names: Mapping[str, str], ended: Mapping[str, Job | None], result: Callable[[Job], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What `--json` prints of jobs, filed by route as `names`, of which those in `ended` were waited for (pure)."""
    return [{"route": route, "job": name, **_ending(route, ended, result)} for route, name in names.items()]


def _ending(
    route: str, ended: Mapping[str, Job | None], result: Callable[[Job], Mapping[str, Any]]
) -> Mapping[str, Any]:
    if route not in ended:
        return {"status": "open", "result": None}
    job = ended[route]
    if job is None:
        return {"status": "gone", "result": None}
    if job.status != "done":
        return {"status": job.status, "result": None if job.result is None else dict(job.result)}
    return {"status": job.status, "result": dict(result(job))}
