"""`reconcile`: asks for a reconcile, and follows it on request."""

import asyncio

from tsync_stream.cli.following import STILL_RUNS, Follower, News
from tsync_stream.cli.shared import EXIT_WRONG, reachable_settings, say
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines, progress_line
from tsync_stream.settings.load import Settings
from tsync_stream.state.dead_letter_counts import describe_reconcile, refused_from_bson
from tsync_stream.state.jobs import Asked, Job, ask_reconcile


async def run_reconcile(settings: Settings, *, allow_mass_delete: bool, wait: bool) -> int:
    """File it, say what happens next, and with `wait` follow it."""
    async with StatusReader(reachable_settings(settings)) as reader:
        seen = await reader.read()  # it gives the best message if MongoDB is unreachable
        asked = await ask_reconcile(reader.positions, settings.route_name, allow_mass_delete=allow_mass_delete)
        print(what_was_asked(asked, allow_mass_delete=allow_mass_delete, live=len(seen.live)), flush=True)
        if asked.need is None:
            return EXIT_WRONG
        if wait:
            return await wait_for_reconcile(reader, asked.need.job)
    return 0


def what_was_asked(asked: Asked, *, allow_mass_delete: bool, live: int) -> str:
    """What was filed and what happens next, for people (pure)."""
    if asked.need is None:
        return (
            "Nothing has run yet, so there is nothing to reconcile: the first start of a worker syncs every document "
            "(`faust -A tsync_stream worker`)."
        )
    lines = {
        "filed": "A reconcile is filed.",
        "open": f"A reconcile is already open ({asked.need.reason}); it also serves this request.",
    }
    parts = [lines[asked.outcome]]
    if allow_mass_delete:
        parts.append("It may delete everything from Typesense that the source no longer has, however much that is.")
    if live:
        parts.append(
            "The capturing replica queues every key of the source, and then every id in Typesense that the source no "
            "longer has. Live changes continue meanwhile. `faust -A tsync_stream status` shows its progress."
        )
    else:
        parts.append("No replica is live: it begins when a worker is started (`faust -A tsync_stream worker`).")
    return "\n".join(parts)


async def wait_for_reconcile(reader: StatusReader, job: str) -> int:
    """Print its progress, and what live replicas report, until it is done; 1 if any document was refused."""
    follower, news = Follower(), News()

    async def look() -> bool:
        seen = await reader.read()
        if seen.reconcile is None or seen.reconcile.job != job:
            return True
        follower.note_live(len(seen.live), "The reconcile")
        problems = [*problem_lines(seen), *seen.unseen]
        news.show([seen.reconcile.phase, *problems], "\n".join([progress_line(seen, seen.reconcile), *problems]))
        return False

    try:
        await follower.follow(look)
    except asyncio.CancelledError:
        say(STILL_RUNS)
        raise
    text, complete = how_it_ended(await reader.jobs.load(job))
    print(text)
    return 0 if complete else EXIT_WRONG


def how_it_ended(job: Job | None) -> tuple[str, bool]:
    """The result for people, and whether no document was refused (pure)."""
    if job is None or job.result is None:
        return "Done. What was refused is not known: an older version of tsync-stream did this reconcile.", False
    refused = refused_from_bson(job.result["refused"])
    return f"Done: {describe_reconcile(int(job.result['queued']), refused)}.", not refused.total
