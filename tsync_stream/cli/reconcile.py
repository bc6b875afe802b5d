"""`reconcile`: asks for a reconcile of one route or of each, and follows them on request."""

import asyncio
from collections.abc import Mapping

from tsync_stream.cli.following import STILL_RUNS, Follower, News
from tsync_stream.cli.routes import by_route, chosen_routes
from tsync_stream.cli.shared import EXIT_WRONG, reachable_settings, say
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines, progress_line
from tsync_stream.settings.load import Settings
from tsync_stream.state.dead_letter_counts import describe_reconcile, refused_from_bson
from tsync_stream.state.jobs import Asked, Job, ask_reconcile

NOTHING_RAN = (
    "Nothing has run yet, so there is nothing to reconcile: the first start of a worker syncs every document "
    "(`faust -A tsync_stream worker`)."
)


async def run_reconcile(settings: Settings, *, route: str | None, allow_mass_delete: bool, wait: bool) -> int:
    """File it, say what happens next, and with `wait` follow it."""
    async with StatusReader(reachable_settings(settings)) as reader:
        routes = chosen_routes(reader.table, route)
        seen = await reader.read()  # it gives the best message if MongoDB is unreachable
        asked = {
            each.name: await ask_reconcile(reader.positions, each.name, allow_mass_delete=allow_mass_delete)
            for each in routes
        }
        print(what_was_asked(asked, allow_mass_delete=allow_mass_delete, live=len(seen.live)), flush=True)
        jobs = {name: each.need.job for name, each in asked.items() if each.need is not None}
        if not jobs:
            return EXIT_WRONG
        code = await wait_for_reconciles(reader, jobs) if wait else 0
        return code if len(jobs) == len(asked) else EXIT_WRONG


def what_was_asked(asked: Mapping[str, Asked], *, allow_mass_delete: bool, live: int) -> str:
    """What was filed for which routes, what was not, and what happens next, for people (pure)."""
    if all(each.need is None for each in asked.values()):
        return NOTHING_RAN
    parts = list(_outcomes(asked))
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


def _outcomes(asked: Mapping[str, Asked]) -> list[str]:
    filed = [name for name, each in asked.items() if each.outcome == "filed"]
    parts = []
    if filed:
        parts.append(f"A reconcile is filed{_named('for', filed, asked)}.")
    for name, each in asked.items():
        if each.outcome == "open" and each.need is not None:
            named, why = _named("of", [name], asked), each.need.reason
            parts.append(f"A reconcile{named} is already open ({why}); it also serves this request.")
    missing = [name for name, each in asked.items() if each.need is None]
    if missing:
        parts.append(f"Not asked for: {', '.join(missing)} has never run; its first start syncs every document.")
    return parts


def _named(word: str, names: list[str], asked: Mapping[str, Asked]) -> str:
    return f" {word} {', '.join(names)}" if len(asked) > 1 else ""


async def wait_for_reconciles(reader: StatusReader, jobs: Mapping[str, str]) -> int:
    """Print their progress, and what live replicas report, until all are done; 1 if any document was refused."""
    follower, news = Follower(), News()

    async def look() -> bool:
        seen = await reader.read()
        open_ones = [each for each in seen.reconciles if each.job == jobs.get(each.route)]
        if not open_ones:
            return True
        follower.note_live(len(seen.live), "The reconcile")
        problems = [*problem_lines(seen), *seen.unseen]
        lines = {each.route: progress_line(seen, each) for each in open_ones}
        shown = [f"{route}: {line}" for route, line in lines.items()] if len(jobs) > 1 else list(lines.values())
        news.show([*(each.phase for each in open_ones), *problems], "\n".join([*shown, *problems]))
        return False

    try:
        await follower.follow(look)
    except asyncio.CancelledError:
        say(STILL_RUNS)
        raise
    ended = {route: how_it_ended(await reader.jobs.load(job)) for route, job in jobs.items()}
    print(by_route({route: text for route, (text, _) in ended.items()}))
    return 0 if all(complete for _, complete in ended.values()) else EXIT_WRONG


def how_it_ended(job: Job | None) -> tuple[str, bool]:
    """The result for people, and whether no document was refused (pure)."""
    if job is None or job.result is None:
        return "It was replaced by a later reconcile: `faust -A tsync_stream status` shows that one.", False
    refused = refused_from_bson(job.result["refused"])
    return f"Done: {describe_reconcile(int(job.result['queued']), refused)}.", not refused.total
