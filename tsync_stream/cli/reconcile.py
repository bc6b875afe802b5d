"""`reconcile` of whole routes: asks for a reconcile of one route or of each, and follows them on request."""

from collections.abc import Mapping
from typing import Any

from tsync_stream.cli.following import Follower, continuing
from tsync_stream.cli.jobs import jobs_as_json
from tsync_stream.cli.progress import Measured, progress
from tsync_stream.cli.routes import by_route, chosen_routes
from tsync_stream.cli.shared import EXIT_WRONG, print_json, reachable_settings
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.observe.status_view import problem_lines, progress_line
from tsync_stream.settings.load import Settings
from tsync_stream.state.dead_letter_counts import describe_reconcile, refused_from_bson
from tsync_stream.state.jobs import Asked, Job, ask_reconcile

NOTHING_RAN = (
    "Nothing has run yet, so there is nothing to reconcile: the first start of a worker syncs every document "
    "(`tsync worker`)."
)


async def run_reconcile(
    settings: Settings,
    *,
    route: str | None,
    rate_per_s: int | None,
    allow_mass_delete: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """File it, say what happens next, and with `wait` follow it."""
    async with StatusReader(reachable_settings(settings)) as reader:
        seen = await reader.read()  # it gives the best message if MongoDB is unreachable
        routes = chosen_routes(reader.table, route)
        asked = {
            each.name: await ask_reconcile(
                reader.positions, each.name, allow_mass_delete=allow_mass_delete, rate_per_s=rate_per_s
            )
            for each in routes
        }
        if not as_json:
            print(what_was_asked(asked, allow_mass_delete=allow_mass_delete, live=len(seen.live)), flush=True)
        jobs = {name: each.need.job for name, each in asked.items() if each.need is not None}
        ended = await wait_for_reconciles(reader, jobs, as_json=as_json) if wait and jobs else {}
    well = len(jobs) == len(asked) and all(how_it_ended(job)[1] for job in ended.values())
    if as_json:
        print_json({"ok": well, "live_replicas": len(seen.live), "jobs": as_json_values(asked, ended)})
    elif ended:
        print(by_route({route: how_it_ended(job)[0] for route, job in ended.items()}))
    return 0 if well else EXIT_WRONG


def as_json_values(asked: Mapping[str, Asked], ended: Mapping[str, Job | None]) -> list[dict[str, Any]]:
    """What `--json` prints of each route: whether its reconcile was filed or open already, and its result (pure)."""
    names = {name: each.need.job for name, each in asked.items() if each.need is not None}
    needs = {name: each.need for name, each in asked.items() if each.need is not None}
    filed = jobs_as_json(names, ended, result_as_json)
    return [
        {**each, "outcome": asked[each["route"]].outcome, "reason": needs[each["route"]].reason} for each in filed
    ] + [
        {"route": name, "job": None, "status": None, "result": None, "outcome": each.outcome, "reason": None}
        for name, each in asked.items()
        if each.need is None
    ]


def result_as_json(job: Job) -> dict[str, Any]:
    """The result of one that is done, as `--json` prints it (pure)."""
    result = job.result or {}
    refused = refused_from_bson(result["refused"])
    return {"queued": int(result["queued"]), "refused": refused.total, "refused_by_reason": refused.by_reason}


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
            "longer has. Live changes continue meanwhile. `tsync status` shows its progress."
        )
    else:
        parts.append("No replica is live: it begins when a worker is started (`tsync worker`).")
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


async def wait_for_reconciles(reader: StatusReader, jobs: Mapping[str, str], *, as_json: bool) -> dict[str, Job | None]:
    """Show their progress, and what live replicas report, until all are done. None: one that a later one replaced."""
    follower = Follower()

    async def look() -> bool:
        seen = await reader.read()
        open_ones = [each for each in seen.reconciles if each.job == jobs.get(each.route)]
        if not open_ones:
            return True
        follower.note_live(len(seen.live), "The reconcile")
        for each in open_ones:
            of_route = f"{each.route}: " if len(jobs) > 1 else ""
            at = Measured(each.synced, max(each.synced, each.documents))
            show(each.route, each.phase, f"{of_route}{progress_line(seen, each)}", at)
        follower.note_problems([*problem_lines(seen), *seen.unseen])
        return False

    with continuing(), progress(as_json=as_json) as show:
        await follower.follow(look)
    return {route: await reader.jobs.load(job) for route, job in jobs.items()}


def how_it_ended(job: Job | None) -> tuple[str, bool]:
    """The result for people, and whether no document was refused (pure)."""
    if job is None or job.result is None:
        return "It was replaced by a later reconcile: `tsync status` shows that one.", False
    refused = refused_from_bson(job.result["refused"])
    return f"Done: {describe_reconcile(int(job.result['queued']), refused)}.", not refused.total
