"""`verify`: files the comparison of both sides, and sees it through if asked to.

Invariant: without `--repair` nothing is queued. The verification goes on when the command ends.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from tsync_stream.cli.choosing import Opened, opened, show_key
from tsync_stream.cli.following import Measured, follow, give_up, what_was_filed
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
        raise click.UsageError("--cancel takes the id of a verification, and goes with nothing else.")
    settings = reachable_settings(settings)
    if cancel is not None:
        async with opened(settings) as our:
            return await give_up(our, VERIFY, cancel)
    async with StatusReader(settings) as reader:
        seen = await reader.read()  # it tells best if MongoDB is away
        async with opened(settings) as our:
            job = await our.jobs.file(VERIFY, {"repair": repair, "documents": seen.documents})
            what = f"{WHAT}, and queues those that differ" if repair else WHAT
            print(what_was_filed(VERIFY, job, what, live=len(seen.live)), flush=True)
            return await _follow(our, reader, job) if wait else 0


async def _follow(our: Opened, reader: StatusReader, name: str) -> int:
    async def measure(job: Job) -> Measured:
        compared = int(job.progress.get("compared", 0))
        return Measured(compared, max(compared, int(job.arguments["documents"])))

    text, well = how_it_ended(await follow(our, reader, name, measure))
    print(text)
    return 0 if well else EXIT_WRONG


def how_it_ended(job: Job | None) -> tuple[str, bool]:
    """What came of it, for people, and whether all is well (pure)."""
    if job is None:
        return "The verification is not stored any more: the state database was emptied.", False
    if job.status == "cancelled":
        return "The verification was cancelled.", False
    result = job.result or {}
    if job.status == "failed":
        return f"The verification was given up: {result.get('error', 'no reason is stored')}.", False
    differences = _differences(result)
    wrong = result["left"] if job.arguments["repair"] else differences
    well = not (_refused(result).total or wrong or result["unsettled"] or result["foreign"] or result["unseen"])
    return "\n".join(_lines(result, repair=job.arguments["repair"])), well


def _refused(result: Mapping[str, Any]) -> Refused:
    """With an open dead letter at the end: those that were left aside, and those whose repair was refused."""
    stored = result.get("refused")
    # A replica of an older version knows only the first.
    return Refused({"open dead letter": result["excepted"]}) if stored is None else refused_from_bson(stored)


def _differences(result: Mapping[str, Any]) -> int:
    return int(result["missing"] + result["different"] + result["extra"])


def _lines(result: Mapping[str, Any], *, repair: bool) -> Iterator[str]:
    yield from _what_differs(result)
    yield from _what_is_open(result)
    if repair:
        yield from _what_was_repaired(result)
    elif _differences(result):
        yield "Nothing was changed; `faust -A tsync_stream verify --repair` has them synced."


def _what_differs(result: Mapping[str, Any]) -> Iterator[str]:
    differences, refused = _differences(result), _refused(result)
    others = ""
    if refused.total:
        others = " of the others"
        yield (
            f"Done: {refused.total} documents are refused ({refused.reasons}), and not shown as they are in MongoDB. "
            f"{WHAT_TO_DO}."
        )
    else:
        yield "Done: 0 documents are refused."
    if not differences:
        yield f"{result['compared']} documents are compared, none{others} differs."
        return
    yield (
        f"{result['compared']} documents are compared. Typesense lacks {result['missing']}, shows "
        f"{result['different']} otherwise than MongoDB, and has {result['extra']} that MongoDB has not:"
    )
    for example in result["examples"]:
        yield f"  {example['kind']}  {show_key(example['key'], LONGEST_KEY)}"
    if differences > len(result["examples"]):
        yield f"  and {differences - len(result['examples'])} more"


def _what_is_open(result: Mapping[str, Any]) -> Iterator[str]:
    if result["unsettled"]:
        yield f"{result['unsettled']} were written whenever they were looked at: verify again when less is written."
    if result["unseen"]:
        yield "Typesense alone has so many documents that not all were looked at: a reconcile sweeps all of them."
    if result["foreign"]:
        yield f"{result['foreign']} have ids in Typesense that no document of the source can have: delete them by hand."


def _what_was_repaired(result: Mapping[str, Any]) -> Iterator[str]:
    if result["queued"]:
        yield f"{result['queued']} were queued, and are synced now, or among the refused."
    if result["left"]:
        yield (
            f"{result['left']} are left in Typesense, since more would be deleted than MASS_DELETE_SHARE allows: "
            "`faust -A tsync_stream reconcile --allow-mass-delete` deletes them."
        )
