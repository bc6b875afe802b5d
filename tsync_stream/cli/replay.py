"""`replay`: files a replay of the chosen open dead letters, and follows it on request.

Invariant: without a choice nothing is replayed, and a dry run writes nothing. The replay outlives the command.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from tsync_stream.cli.choosing import Choice, Opened, opened, selection_of, show_id
from tsync_stream.cli.dead_letters import reasons_as_json
from tsync_stream.cli.jobs import Steering, file_jobs, follow_jobs, jobs_as_json, steer_job, what_was_filed
from tsync_stream.cli.progress import Measured
from tsync_stream.cli.routes import by_route, route_of_letters
from tsync_stream.cli.shared import EXIT_WRONG, print_json, reachable_settings
from tsync_stream.core.key_text import show_key
from tsync_stream.core.terminal import printable
from tsync_stream.observe.letter_view import letter_json
from tsync_stream.observe.status_reader import StatusReader
from tsync_stream.settings.load import Settings
from tsync_stream.state.dead_letter_counts import refused_from_bson
from tsync_stream.state.dead_letter_search import Outcome, ReasonCount, Record, outcome_from_bson
from tsync_stream.state.jobs import REPLAY, Job

FEW = 5
LONGEST_KEY = 60
WHAT = "queues their keys, and the documents are synced as they are now"

CHOOSE = (
    "Choose the dead letters to replay: by id, --route, --reason, --older-than or --newer-than, or every open one with "
    "--all alone. --dry-run shows what would be queued. `tsync dead-letters` lists them."
)


async def run_replay(
    settings: Settings,
    *,
    ids: Sequence[str],
    everything: bool,
    dry_run: bool,
    wait: bool,
    rate_per_s: int | None,
    pause: str | None,
    resume: str | None,
    cancel: str | None,
    as_json: bool,
    **filters: Any,
) -> int:
    """File a replay, show what one would do, or pause, resume or cancel one."""
    choice, steering = Choice(ids=ids, **filters), Steering(pause, resume, cancel)
    steering.require_alone("a replay", others=bool(choice or everything or dry_run or wait or rate_per_s))
    if steering:
        async with opened(reachable_settings(settings)) as our:
            return await steer_job(our, REPLAY, steering, as_json=as_json)
    if everything == bool(choice):
        raise click.UsageError(CHOOSE)
    settings = reachable_settings(settings)
    async with StatusReader(settings) as reader:
        seen = await reader.read()  # it gives the best message if MongoDB is unreachable
        async with opened(settings) as our:
            choice = replace(choice, route=await route_of_letters(our.records, reader.table, choice.route))
            selection = await selection_of(choice, our.records)
            counts = await our.records.count_by_reason(selection, "open")
            wanted = await our.records.replays(selection, reader.table)
            queueable = sum(arguments["chosen"] for arguments in wanted.values())
            chosen_json = chosen_as_json(counts, queueable)
            if not as_json:
                print(what_is_chosen(counts, queueable))
            if dry_run:
                first = await our.records.newest(selection, "open", FEW)
                _show_dry_run(first, chosen_json if as_json else None)
                return 0
            jobs = await file_jobs(our, REPLAY, wanted, rate_per_s)
            if jobs and not as_json:
                print(what_was_filed(REPLAY, jobs, WHAT, live=len(seen.live)), flush=True)
            ended = await _follow(our, reader, jobs, as_json=as_json) if wait and jobs else {}
    # What is chosen may be nothing, or nothing that can be queued.
    well = bool(jobs) >= bool(counts) and len(jobs) == len(wanted) and _all_succeeded(ended)
    if as_json:
        filed = {"live_replicas": len(seen.live), "jobs": jobs_as_json(jobs, ended, result_as_json)}
        print_json({"ok": well, **chosen_json, **filed})
    elif ended:
        print(by_route({route: how_it_ended(job)[0] for route, job in ended.items()}))
    return 0 if well else EXIT_WRONG


def _all_succeeded(ended: Mapping[str, Job | None]) -> bool:
    return all(how_it_ended(job)[1] for job in ended.values())


def _show_dry_run(first: Sequence[Record], chosen: Mapping[str, Any] | None) -> None:
    """The first few that would be queued; as JSON behind what is `chosen`, if that is given."""
    if chosen is not None:
        print_json({"ok": True, **chosen, "dead_letters": [letter_json(record) for record in first]})
        return
    for record in first:
        document = f"{printable(record.route)} {show_key(record.key, LONGEST_KEY)}"
        print(f"  {show_id(record)}  {document}: {printable(record.reason)}")
    print("Nothing was changed: this was a dry run.")


def chosen_as_json(counts: Sequence[ReasonCount], queueable: int) -> dict[str, Any]:
    """How many dead letters are chosen, why they failed, and how many can be queued, as `--json` prints it (pure)."""
    return {
        "chosen": sum(count.count for count in counts),
        "can_be_replayed": queueable,
        "by_reason": reasons_as_json(counts),
    }


def what_is_chosen(counts: Sequence[ReasonCount], queueable: int) -> str:
    """How many dead letters, by reason, and how many of them a replay cannot help, for people (pure)."""
    total = sum(count.count for count in counts)
    if not total:
        return "No open dead letter is chosen, so there is nothing to replay."
    lines = [f"{total} open dead letter{'s are' if total > 1 else ' is'} chosen:"]
    lines += [f"  {count.count}  {printable(count.route)}: {printable(count.reason)}" for count in counts]
    if queueable < total:
        lines.append(
            f"{total - queueable} of them cannot be queued: their `_id` cannot be a Typesense id, or they belong to a "
            "route that is not declared. `dead-letters show ID` says what to do."
        )
    return "\n".join(lines)


async def _follow(
    our: Opened, reader: StatusReader, names: Mapping[str, str], *, as_json: bool
) -> dict[str, Job | None]:
    """Show their progress until they have ended."""

    async def measure(job: Job) -> Measured:
        outcome = await our.records.outcome(job.id)
        done, total = outcome.resolved + outcome.failed_again, chosen(job)
        return Measured(done, total, f"; {done} of {total} were synced or failed again")

    return await follow_jobs(our, reader, names, measure, as_json=as_json)


def result_as_json(job: Job) -> dict[str, Any]:
    """The result of one that is done, as `--json` prints it (pure)."""
    result = job.result or {}
    outcome, refused = outcome_from_bson(result), refused_from_bson(result.get("refused", ()))
    return {
        "queued": int(result["queued"]),
        "resolved": outcome.resolved,
        "failed_again": outcome.failed_again,
        "failed_by_reason": outcome.failed,
        "refused": refused.total,
        "refused_by_reason": refused.by_reason,
    }


def chosen(job: Job) -> int:
    """How many keys it queues: as counted when it was filed, or more that have failed since (pure)."""
    return max(int(job.arguments["chosen"]), int(job.progress.get("queued", 0)))


def how_it_ended(job: Job | None) -> tuple[str, bool]:
    """The result for people, and whether nothing failed (pure)."""
    if job is None:
        return "The replay is no longer stored: the state database was emptied.", False
    if job.status == "cancelled":
        return "The replay was cancelled. What it had queued is still synced.", False
    result = job.result or {}
    if job.status == "failed":
        return f"The replay failed: {result.get('error', 'no reason is stored')}.", False
    text = outcome_lines(outcome_from_bson(result), int(result["queued"]))
    refused = refused_from_bson(result.get("refused", ()))
    if refused.total:
        text += f"\nIn all, {refused.total} documents are refused now ({refused.reasons})."
    return text, not result["failed"]


def outcome_lines(outcome: Outcome, queued: int) -> str:
    """The final numbers (pure)."""
    lines = [f"Done: {queued} queued, {outcome.resolved} resolved, {outcome.failed_again} failed again."]
    lines += [f"  {count}  {printable(reason)}" for reason, count in sorted(outcome.failed.items())]
    elsewhere = queued - outcome.resolved - outcome.failed_again
    if elsewhere > 0:
        lines.append(
            f"{elsewhere} were taken over by a later replay, or were resolved so long ago that their records are gone."
        )
    return "\n".join(lines)
