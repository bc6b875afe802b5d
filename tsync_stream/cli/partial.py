"""`reconcile` with --filter or --ids: files a partial reconcile of one route, and follows it on request.

Invariants: MongoDB has looked at the query before anything is filed. The job outlives the command.
"""

from collections.abc import Mapping
from typing import Any

import click
from pymongo.errors import OperationFailure, PyMongoError

from tsync_stream.cli.choosing import Opened, opened
from tsync_stream.cli.jobs import follow_jobs, jobs_as_json, what_was_filed
from tsync_stream.cli.partial_choice import Choice
from tsync_stream.cli.progress import Measured
from tsync_stream.cli.routes import chosen_route
from tsync_stream.cli.shared import EXIT_WRONG, print_json, reachable_settings
from tsync_stream.core.model import Route
from tsync_stream.core.terminal import printable, shorten
from tsync_stream.jobs.ledger import measured
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.settings.load import Settings
from tsync_stream.source.documents import source_collection
from tsync_stream.source.errors import from_mongo
from tsync_stream.source.view_errors import may_be_the_view
from tsync_stream.state.dead_letter_counts import describe_reconcile, refused_from_bson
from tsync_stream.state.jobs import PARTIAL, Job
from tsync_stream.state.partial_reconciles import file_partial_reconcile

LONGEST_ERROR = 300


async def run_partial(
    settings: Settings,
    choice: Choice,
    *,
    route: str | None,
    rate_per_s: int | None,
    allow_mass_delete: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """File it, say what happens next, and with `wait` follow it."""
    settings = reachable_settings(settings)
    async with StatusReader(settings) as reader:
        seen = await reader.read()  # it gives the best message if MongoDB is unreachable
        declared = list(reader.table.declared)
        if route is None and len(declared) > 1:
            raise click.UsageError(f"Name the route that the documents are of: {', '.join(declared)}.")
        chosen = chosen_route(reader.table, route or declared[0]).route
        documents = {each.name: each.documents for each in seen.routes}
        async with opened(settings) as our:
            if isinstance(choice, Mapping):
                await _require_query(our, chosen, choice)
            job = await file_partial_reconcile(
                our.jobs,
                chosen.name,
                choice,
                documents=documents.get(chosen.name) or 0,
                rate_per_s=rate_per_s,
                allow_mass_delete=allow_mass_delete,
            )
            jobs = {chosen.name: job}
            if not as_json:
                print(what_was_filed(PARTIAL, jobs, _what(choice), live=len(seen.live)), flush=True)
            ended = await follow_jobs(our, reader, jobs, _measure, as_json=as_json) if wait else {}
    well = all(how_it_ended(job)[1] for job in ended.values())
    if as_json:
        print_json({"ok": well, "live_replicas": len(seen.live), "jobs": jobs_as_json(jobs, ended, result_as_json)})
    for each in () if as_json else ended.values():
        print(how_it_ended(each)[0])
    return 0 if well else EXIT_WRONG


async def _require_query(our: Opened, route: Route, query: Mapping[str, Any]) -> None:
    """Raise `click.UsageError` if MongoDB refuses the query; it is asked for the documents of no keys."""
    try:
        await source_collection(our.client, route).find_one({"$and": [{"_id": {"$in": []}}, query]}, {"_id": 1})
    except OperationFailure as error:
        if not may_be_the_view(error):
            raise from_mongo(error) from error
        said = shorten(printable(str((error.details or {}).get("errmsg", error))), LONGEST_ERROR)
        raise click.UsageError(f"--filter: MongoDB refuses it (code {error.code}): {said}") from None
    except PyMongoError as error:
        raise from_mongo(error) from error


async def _measure(job: Job) -> Measured:
    done, total, _ = measured(job, job.progress)
    return Measured(done, max(done, total))


def _what(choice: Choice) -> str:
    if isinstance(choice, Mapping):
        return "queues the documents that match now"
    return (
        f"queues {len(choice)} id{'' if len(choice) == 1 else 's'}, and deletes from Typesense those without a document"
    )


def result_as_json(job: Job) -> dict[str, Any]:
    """The result of one that is done, as `--json` prints it (pure)."""
    result = job.result or {}
    refused = refused_from_bson(result["refused"])
    return {
        "looked_at": int(result["looked_at"]),
        "queued": int(result["queued"]),
        "refused": refused.total,
        "refused_by_reason": refused.by_reason,
    }


def how_it_ended(job: Job | None) -> tuple[str, bool]:
    """The result for people, and whether no document of the route is refused (pure)."""
    if job is None:
        return "The partial reconcile is no longer stored: the state database was emptied.", False
    if job.status == "cancelled":
        return "The partial reconcile was cancelled. What it had queued is still synced.", False
    result = job.result or {}
    if job.status == "failed":
        return f"The partial reconcile failed: {result.get('error', 'no reason is stored')}.", False
    refused = refused_from_bson(result["refused"])
    looked_at, queued = int(result["looked_at"]), int(result["queued"])
    among = f" of the {looked_at} looked at" if job.arguments.get("query") is not None else ""
    return f"Done{among}: {describe_reconcile(queued, refused)}.", not refused.total
