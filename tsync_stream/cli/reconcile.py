"""`reconcile`: files the need of one, and shows its progress."""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsync_stream.cli.shared import (
    EXIT_WRONG,
    LOOK_INTERVAL_S,
    PROGRESS_INTERVAL_S,
    Patience,
    reachable_settings,
    say,
)
from tsync_stream.settings.load import Settings
from tsync_stream.state.dead_letter_counts import describe_reconcile, refused_from_bson

if TYPE_CHECKING:
    from tsync_stream.observe.status_reader import StatusReader
    from tsync_stream.state.jobs import Asked, Job


async def run_reconcile(settings: Settings, *, allow_mass_delete: bool, wait: bool) -> int:
    """File the need, say what happens next, and see it through if asked to."""
    from tsync_stream.observe.status_reader import StatusReader
    from tsync_stream.state.jobs import ask_reconcile

    async with StatusReader(reachable_settings(settings)) as reader:
        seen = await reader.read()  # it tells best if MongoDB is away
        asked = await ask_reconcile(reader.positions, settings.route_name, allow_mass_delete=allow_mass_delete)
        print(what_was_asked(asked, allow_mass_delete=allow_mass_delete, live=len(seen.live)))
        if asked.need is None:
            return EXIT_WRONG
        if wait:
            sys.stdout.flush()
            return await wait_for_reconcile(reader, asked.need.job)
    return 0


def what_was_asked(asked: "Asked", *, allow_mass_delete: bool, live: int) -> str:
    """What came of it and what happens next, for people (pure)."""
    if asked.need is None:
        return (
            "Nothing has run yet, so there is nothing to reconcile: the first start of a worker syncs every document "
            "(`faust -A tsync_stream worker`)."
        )
    lines = {
        "filed": "A reconcile is filed.",
        "open": f"A reconcile is open already ({asked.need.reason}); it serves for this one too.",
    }
    parts = [lines[asked.outcome]]
    if allow_mass_delete:
        parts.append("It may delete from Typesense whatever the source no longer has, however much that is.")
    if live:
        parts.append(
            "The replica that captures queues every key of the source, and then every id in Typesense that the source "
            "no longer has; live changes go on meanwhile. `faust -A tsync_stream status` shows how far it is."
        )
    else:
        parts.append("No replica is live: it begins when a worker is started (`faust -A tsync_stream worker`).")
    return "\n".join(parts)


async def wait_for_reconcile(reader: "StatusReader", job: str) -> int:
    """Print its progress, and what stands in its way, until it is done; 1 if any document was refused."""
    from tsync_stream.observe.status_view import problem_lines, progress_line

    said: Sequence[str] = ()
    said_at_s = 0.0
    patience = Patience()

    async def look() -> bool:
        nonlocal said, said_at_s
        seen = await reader.read()
        if seen.reconcile is None or seen.reconcile.job != job:
            return True
        patience.note_live(len(seen.live), "The reconcile")
        # News at once; numbers that grow, now and then.
        news = [seen.reconcile.phase, *problem_lines(seen), *seen.unseen]
        now_s = time.monotonic()
        if news != said or now_s - said_at_s >= PROGRESS_INTERVAL_S:
            print("\n".join([progress_line(seen, seen.reconcile), *news[1:]]), flush=True)
            said, said_at_s = news, now_s
        return False

    try:
        while not await patience.look(look):
            await asyncio.sleep(LOOK_INTERVAL_S)
    except asyncio.CancelledError:
        say("It goes on without us: `faust -A tsync_stream status` shows how far it is.")
        raise
    text, well = how_it_ended(await reader.jobs.load(job))
    print(text)
    return 0 if well else EXIT_WRONG


def how_it_ended(job: "Job | None") -> tuple[str, bool]:
    """What came of it, for people, and whether all is well (pure)."""
    if job is None or job.result is None:
        return "Done. What was refused is not known: the replica that did it is of an older version.", False
    refused = refused_from_bson(job.result["refused"])
    return f"Done: {describe_reconcile(int(job.result['queued']), refused)}.", not refused.total
