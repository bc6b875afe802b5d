"""`verify`: files a comparison of both sides, and follows it on request.

Invariant: without `--repair` nothing is queued. The verification outlives the command.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tsync_stream.cli.choosing import Opened, opened
from tsync_stream.cli.jobs import Steering, file_jobs, follow_jobs, jobs_as_json, steer_job, what_was_filed
from tsync_stream.cli.progress import Measured
from tsync_stream.cli.routes import by_route, chosen_routes
from tsync_stream.cli.shared import EXIT_WRONG, print_json, reachable_settings
from tsync_stream.core.key_text import key_as_json, show_key
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.settings.load import Settings
from tsync_stream.state.dead_letter_counts import WHAT_TO_DO, Refused, refused_from_bson
from tsync_stream.state.jobs import VERIFY, Job

LONGEST_KEY = 60
WHAT = "compares every document"


async def run_verify(
    settings: Settings,
    *,
    route: str | None,
    repair: bool,
    wait: bool,
    rate_per_s: int | None,
    as_json: bool,
    **wishes: str | None,
) -> int:
    """File a verification of one route or of each, or pause, resume or cancel one."""
    wanted = Steering(**wishes)
    wanted.require_alone("a verification", others=bool(repair or wait or route or rate_per_s))
    settings = reachable_settings(settings)
    if wanted:
        async with opened(settings) as our:
            return await steer_job(our, VERIFY, wanted, as_json=as_json)
    async with StatusReader(settings) as reader:
        seen = await reader.read()  # it gives the best message if MongoDB is unreachable
        routes = chosen_routes(reader.table, route)
        documents = {each.name: each.documents for each in seen.routes}
        async with opened(settings) as our:
            arguments = {each.name: {"repair": repair, "documents": documents[each.name]} for each in routes}
            jobs = await file_jobs(our, VERIFY, arguments, rate_per_s)
            if not as_json:
                what = f"{WHAT}, and queues those that differ" if repair else WHAT
                print(what_was_filed(VERIFY, jobs, what, live=len(seen.live)), flush=True)
                if waiting := [each.route for each in seen.reconciles if each.route in jobs]:
                    print(f"It waits for the open reconcile of {', '.join(waiting)}.", flush=True)
            ended = await _follow(our, reader, jobs, as_json=as_json) if wait else {}
    well = len(jobs) == len(arguments) and all(how_it_ended(job)[1] for job in ended.values())
    if as_json:
        print_json({"ok": well, "live_replicas": len(seen.live), "jobs": jobs_as_json(jobs, ended, result_as_json)})
    elif ended:
        _print_endings({route: how_it_ended(job) for route, job in ended.items()})
    return 0 if well else EXIT_WRONG


async def _follow(
    our: Opened, reader: StatusReader, names: Mapping[str, str], *, as_json: bool
) -> dict[str, Job | None]:
    async def measure(job: Job) -> Measured:
        compared = int(job.progress.get("compared", 0))
        return Measured(compared, max(compared, int(job.arguments["documents"])))

    return await follow_jobs(our, reader, names, measure, as_json=as_json)


def _print_endings(ended: Mapping[str, tuple[str, bool]]) -> None:
    print(by_route({route: text for route, (text, _) in ended.items()}))
    if len(ended) > 1:
        print(summary({route: equal for route, (_, equal) in ended.items()}))


def result_as_json(job: Job) -> dict[str, Any]:
    """The result of one that is done, as `--json` prints it, with keys in relaxed extended JSON (pure)."""
    result = job.result or {}
    examples = [{"kind": each["kind"], "key": key_as_json(each["key"])} for each in result["examples"]]
    refused = _refused(result)
    return {
        "equal": how_it_ended(job)[1],
        **{name: count for name, count in result.items() if isinstance(count, int)},
        "refused": refused.total,
        "refused_by_reason": refused.by_reason,
        "examples": examples,
    }


def summary(equal: Mapping[str, bool]) -> str:
    """The last line of several verifications (pure)."""
    unequal = [route for route, well in equal.items() if not well]
    if not unequal:
        return f"All {len(equal)} routes are equal."
    well = len(equal) - len(unequal)
    return f"{well} of {len(equal)} routes are equal; not equal, or not compared: {', '.join(unequal)}."


def how_it_ended(job: Job | None) -> tuple[str, bool]:
    """The result for people, and whether both sides are equal (pure)."""
    if job is None:
        return "The verification is no longer stored: the state database was emptied.", False
    if job.status == "cancelled":
        return "The verification was cancelled.", False
    result = job.result or {}
    if job.status == "failed":
        return f"The verification failed: {result.get('error', 'no reason is stored')}.", False
    differences = _differences(result)
    wrong = result["left"] if job.arguments["repair"] else differences
    equal = not (_refused(result).total or wrong or result["unsettled"] or result["foreign"] or result["unseen"])
    return "\n".join(_lines(result, repair=job.arguments["repair"])), equal


def _refused(result: Mapping[str, Any]) -> Refused:
    """Documents with an open dead letter at the end: those that were excepted, and those whose repair was refused."""
    return refused_from_bson(result["refused"])


def _differences(result: Mapping[str, Any]) -> int:
    return int(result["missing"] + result["different"] + result["extra"])


def _lines(result: Mapping[str, Any], *, repair: bool) -> Iterator[str]:
    yield from _what_differs(result)
    yield from _what_is_open(result)
    if repair:
        yield from _what_was_repaired(result)
    elif _differences(result):
        yield "Nothing was changed; `tsync verify --repair` syncs them."


def _what_differs(result: Mapping[str, Any]) -> Iterator[str]:
    differences, refused = _differences(result), _refused(result)
    others = ""
    if refused.total:
        others = " of the others"
        yield (
            f"Done: {refused.total} documents are refused ({refused.reasons}); Typesense does not show them "
            f"as they are. {WHAT_TO_DO}."
        )
    else:
        yield "Done: 0 documents are refused."
    if not differences:
        yield f"{result['compared']} documents were compared; none{others} differs."
        return
    yield (
        f"{result['compared']} documents were compared. Typesense lacks {result['missing']}, shows "
        f"{result['different']} differently, and has {result['extra']} that MongoDB does not have:"
    )
    for example in result["examples"]:
        yield f"  {example['kind']}  {show_key(example['key'], LONGEST_KEY)}"
    if differences > len(result["examples"]):
        yield f"  and {differences - len(result['examples'])} more"


def _what_is_open(result: Mapping[str, Any]) -> Iterator[str]:
    if result["unsettled"]:
        yield f"{result['unsettled']} changed every time they were compared: verify again when there are fewer writes."
    if result["unseen"]:
        yield "Typesense has too many documents that MongoDB lacks to examine all of them: a reconcile sweeps them all."
    if result["foreign"]:
        yield (
            f"{result['foreign']} have ids in Typesense that no document of the source can have: delete them yourself."
        )


def _what_was_repaired(result: Mapping[str, Any]) -> Iterator[str]:
    if result["queued"]:
        yield f"{result['queued']} were queued; they are now synced, or among the refused."
    if result["left"]:
        yield (
            f"{result['left']} remain in Typesense, because deleting them would exceed MASS_DELETE_SHARE: "
            "`tsync reconcile --allow-mass-delete` deletes them."
        )
