"""Every command but `worker`: its options, its help, and what it runs, for `tsync` and `faust -A tsync_stream` alike.

The commands themselves are in the modules beside this one. Each imports what it alone needs, when it runs, so
`tsync --help` and the completion of a shell load none of them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import argument, option

from tsync_stream.cli.declaring import ACT, LOOK, PREPARE, command
from tsync_stream.cli.parameters import Age, RouteName

if TYPE_CHECKING:
    from tsync_stream.settings.load import Settings

ROUTE = argument("route", metavar="[ROUTE]", required=False)
KEY_NAME = argument("name", metavar="[NAME]", required=False)
ROUTE_AND_ID = argument("what", metavar="[ROUTE] ID", nargs=-1, required=True)
SHOW_VALUES = option("--show-values", is_flag=True, help="Show the values of its fields too.")
DOCUMENT = option(
    "--document", metavar="ID", help="Show the document with this Typesense id too, with its content: before and after."
)
WRITE = option("--write", is_flag=True, help="Put the proposed schema where schemas are declared.")
WATCH = option(
    "--watch",
    "watch_s",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Repeat every SECONDS, until interrupted.",
)
ALLOW_MASS_DELETE = option(
    "--allow-mass-delete",
    is_flag=True,
    help="Let it delete everything from Typesense that the source no longer has, however much that is.",
)
FILTER = option("--filter", "query", metavar="JSON", help="Only the documents that match this query in MongoDB now.")
IDS_FILE = option("--ids", "ids_file", metavar="FILE", help="Only these ids, one a line; - reads them from stdin.")
# The job may be left out.
PAUSE_SOME = option("--pause", is_flag=False, flag_value="", metavar="[JOB]", help="Have open ones wait, or JOB alone.")
RESUME_SOME = option("--resume", is_flag=False, flag_value="", metavar="[JOB]", help="Let them go on.")
CANCEL_PARTIAL = option("--cancel", metavar="JOB", help="Cancel one with --filter or --ids.")
WAIT = option("--wait", is_flag=True, help="Show its progress until it is done.")
WHAT = argument("what", type=click.Choice(["list", "show", "count"]), default="list")
ONE_ID = argument("record", metavar="[ID]", required=False)
IDS = argument("ids", metavar="[ID]...", nargs=-1)
WHICH = option(
    "--status", "which", type=click.Choice(["open", "resolved", "all"]), default="open", help="Default: open."
)
LIMIT = option(
    "--limit", type=click.IntRange(1, 1000), default=20, help="List at most this many, the newest first. Default: 20."
)
CHOICE = (
    option("--reason", metavar="TEXT", help="Only those with this reason, as `dead-letters count` spells it."),
    option("--older-than", "older_than_s", type=Age(), help="Only those whose last failure is older (1h, 7d)."),
    option("--newer-than", "newer_than_s", type=Age(), help="Only those whose last failure is newer (15m, 2d)."),
)
ALL = option("--all", "everything", is_flag=True, help="Every open dead letter.")
DRY_RUN = option("--dry-run", is_flag=True, help="Only show what would be queued.")
RATE = option(
    "--rate",
    "rate_per_s",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most so many documents a second, for it alone.",
)
PAUSE = option("--pause", metavar="JOB", help="Have one wait, until it is resumed.")
RESUME = option("--resume", metavar="JOB", help="Let one go on where it stopped.")
CANCEL = option("--cancel", metavar="JOB", help="Cancel one; what it has queued already is still synced.")
REPAIR = option("--repair", is_flag=True, help="Sync the documents that differ.")
TO = option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write it there, instead of to BACKUP_DIRECTORY.",
)
LIST = option("--list", "listed", is_flag=True, help="Make none; list those that are there.")
FILE = argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
YES = option("--yes", is_flag=True, help="Replace what is in the state database.")
DO_IT = option("--yes", is_flag=True, help="Do not ask.")
NAME = RouteName()
ROUTE_OPTION = option("--route", "route_option", type=NAME, metavar="NAME", help="The same as ROUTE.")
ONE_ROUTE = option("--route", "route", type=NAME, metavar="NAME", help="This route alone. Default: all routes.")
OF_ROUTE = option("--route", "route", type=NAME, metavar="NAME", help="Only those of this route.")


@command(PREPARE, imports=True)
async def check(settings: "Settings", *, as_json: bool) -> int:
    """Say what is wrong and how to fix it.

    Examines the settings and every server; changes nothing. Exits with 1 if anything is wrong.
    """
    from tsync_stream.cli.check import run_check

    return await run_check(settings, as_json=as_json)


@command(PREPARE, ROUTE, DOCUMENT, WRITE, imports=True)
async def plan(settings: "Settings", **asked: Any) -> int:
    """Show what the routes make of the documents, before a first start.

    Looks at a sample: types, a proposed schema with its conflicts, documents that would fail, what would change.
    Changes nothing in any server. Exits with 1 if something would fail.
    """
    from tsync_stream.cli.plan import run_plan

    return await run_plan(settings, **asked)


@command(ACT, ROUTE, DO_IT)
async def apply(settings: "Settings", **asked: Any) -> int:
    """Make Typesense as it is declared.

    Does what `plan` shows at its end, after asking. Exits with 1 if something was not done, with 2 if it would have to
    ask and there is no terminal.
    """
    from tsync_stream.cli.apply import run_apply

    return await run_apply(settings, **asked)


@command(PREPARE, KEY_NAME)
async def keys(settings: "Settings", **asked: Any) -> int:
    """Print a scoped search key.

    [NAME] is that of a search key in the routes file; without it, the names are listed. Needs no server: the key is
    derived from the value, which is not printed.
    """
    from tsync_stream.cli.keys import run_keys

    return await run_keys(settings, **asked)


@command(LOOK, WATCH)
async def status(settings: "Settings", **asked: Any) -> int:
    """Show where the pipeline stands.

    Positions, lag, queue, replicas, dead letters, jobs. Exits with 1 if something could not be read.
    """
    from tsync_stream.cli.status import run_status

    return await run_status(settings, **asked)


@command(LOOK, ROUTE_AND_ID, SHOW_VALUES, imports=True)
async def explain(settings: "Settings", **asked: Any) -> int:
    """Say everything that is known of one document.

    [ROUTE] ID: the route may be left out if there is only one; ID is the id that Typesense shows. Both sides, their
    difference, and what happens next. Exits with 1 if they differ, or if that could not be determined.
    """
    from tsync_stream.cli.explain import run_explain

    return await run_explain(settings, **asked)


@command(LOOK, WHAT, ONE_ID, WHICH, LIMIT, OF_ROUTE, *CHOICE)
async def dead_letters(settings: "Settings", **asked: Any) -> int:
    """Show the documents that failed.

    `dead-letters` lists the newest, `dead-letters show ID` shows one in full and how to fix it,
    `dead-letters count` counts them by route and reason. Changes nothing.
    """
    from tsync_stream.cli.dead_letters import run_dead_letters

    return await run_dead_letters(settings, **asked)


@command(
    ACT,
    ROUTE,
    ROUTE_OPTION,
    FILTER,
    IDS_FILE,
    RATE,
    ALLOW_MASS_DELETE,
    WAIT,
    PAUSE_SOME,
    RESUME_SOME,
    CANCEL_PARTIAL,
)
async def reconcile(settings: "Settings", **asked: Any) -> int:
    """Sync every document again, or some of them.

    Queues every key of the source, then every id in Typesense that the source no longer has; with --filter or --ids
    only those. A running worker does it, of one route or of all. --pause and --resume steer those that are open.
    """
    from tsync_stream.cli.reconciles import run_reconciles

    return await run_reconciles(settings, **asked)


@command(
    ACT,
    ROUTE,
    option("--yes", is_flag=True, help="Do not ask."),
    option(
        "--watch", "watch_s", type=Age(), default="10m", help="Go back by itself if anything is wrong. Default: 10m."
    ),
    option("--keep", "keep_s", type=Age(), default="24h", help="Keep the old one for --rollback. Default: 24h."),
    option("--rate", type=click.IntRange(1), default=None, help="Fill it with at most this many documents a second."),
    option("--accept-refused", is_flag=True, help="Show it although it refuses documents that are shown now."),
    option("--accept-gap", is_flag=True, help="Replace a real collection: searches fail for a moment."),
    option("--cancel", is_flag=True, help="Remove the new collection, which is not shown yet."),
    option("--rollback", is_flag=True, help="Show the old collection again."),
    option("--finish", is_flag=True, help="Delete the old collection now."),
    option("--retry", is_flag=True, help="Compare the new collection again, after it failed."),
    option("--no-follow", is_flag=True, help="Do not show its progress."),
)
async def reindex(settings: "Settings", **asked: Any) -> int:
    """Replace a route's collection while searches go on.

    Fills a new collection as the route is declared now, syncs every change into both, compares the new one with
    MongoDB, and only then has the alias show it. A running worker does it.
    """
    from tsync_stream.cli.reindex import run_reindex

    return await run_reindex(settings, **asked)


@command(ACT, ONE_ROUTE, REPAIR, RATE, WAIT, PAUSE, RESUME, CANCEL)
async def verify(settings: "Settings", **asked: Any) -> int:
    """Compare both sides, and repair differences on request.

    Reports what Typesense lacks, shows differently, or should not have, while live changes continue. A running
    worker does it.
    """
    from tsync_stream.cli.verify import run_verify

    return await run_verify(settings, **asked)


@command(ACT, IDS, ALL, DRY_RUN, RATE, WAIT, PAUSE, RESUME, CANCEL, OF_ROUTE, *CHOICE)
async def replay(settings: "Settings", **asked: Any) -> int:
    """Retry failed documents.

    Queues the keys of the chosen open dead letters; those that can be synced now are resolved. It is safe at any
    time, because the documents are read again. A running worker does it.
    """
    from tsync_stream.cli.replay import run_replay

    return await run_replay(settings, **asked)


@command(ACT, TO, LIST)
async def backup(settings: "Settings", **asked: Any) -> int:
    """Back up what cannot be made anew.

    A snapshot of Typesense on its own disk (BACKUP_TYPESENSE_PATH), and an archive of the dead letters, the jobs and
    the generations of routes. Needs no worker. Exits with 1 if a part of it failed.
    """
    from tsync_stream.cli.backup import run_backup

    return await run_backup(settings, **asked)


@command(ACT, FILE, YES)
async def restore(settings: "Settings", **asked: Any) -> int:
    """Restore the state of a backup.

    Its dead letters, jobs and generations of routes, never its positions: the next start of a worker reconciles every
    route. Refuses while a worker runs.
    """
    from tsync_stream.cli.restore import run_restore

    return await run_restore(settings, **asked)
