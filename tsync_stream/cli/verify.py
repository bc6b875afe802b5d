"""`verify`: files a comparison of both sides, and follows it on request.

Invariant: without `--repair` nothing is queued. The verification outlives the command.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from tsync_stream.cli.choosing import Opened, opened, show_key
from tsync_stream.cli.jobs import Measured, cancel_job, follow_job, what_was_filed
from tsync_stream.cli.shared import EXIT_WRONG, reachable_settings
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.settings.load import Settings
from tsync_stream.state.dead_letter_counts import WHAT_TO_DO, Refused, refused_from_bson
from tsync_stream.state.jobs import VERIFY, Job

LONGEST_KEY = 60
WHAT = "compares every document"


async def run_verify(settings: Settings, *, repair: bool, wait: bool, cancel: str | None) -> int:
    """File a verification, or cancel one."""
    if cancel is not None and (repair or wait):
        raise click.UsageError("--cancel takes the id of a verification, and no other option.")
    settings = reachable_settings(settings)
    if cancel is not None:
        async with opened(settings) as our:
            return await cancel_job(our, VERIFY, cancel)
    async with StatusReader(settings) as reader:
        seen = await reader.read()  # it gives the best message if MongoDB is unreachable
        async with opened(settings) as our:
            job = await our.jobs.file(VERIFY, settings.route_name, {"repair": repair, "documents": seen.documents})
            what = f"{WHAT}, and queues those that differ" if repair else WHAT
            print(what_was_filed(VERIFY, job, what, live=len(seen.live)), flush=True)
            return await _follow(our, reader, job) if wait else 0


async def _follow(our: Opened, reader: StatusReader, name: str) -> int:
    async def measure(job: Job) -> Measured:
        compared = int(job.progress.get("compared", 0))
        return Measured(compared, max(compared, int(job.arguments["documents"])))

    text, equal = how_it_ended(await follow_job(our, reader, name, measure))
    print(text)
    return 0 if equal else EXIT_WRONG


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
    stored = result.get("refused")
    # A replica of an older version stores only the excepted ones.
    return Refused({"open dead letter": result["excepted"]}) if stored is None else refused_from_bson(stored)


def _differences(result: Mapping[str, Any]) -> int:
    return int(result["missing"] + result["different"] + result["extra"])


def _lines(result: Mapping[str, Any], *, repair: bool) -> Iterator[str]:
    yield from _what_differs(result)
    yield from _what_is_open(result)
    if repair:
        yield from _what_was_repaired(result)
    elif _differences(result):
        yield "Nothing was changed; `faust -A tsync_stream verify --repair` syncs them."


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
            "`faust -A tsync_stream reconcile --allow-mass-delete` deletes them."
        )
