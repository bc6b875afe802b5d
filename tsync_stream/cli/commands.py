"""The command line of `faust -A tsync_stream`: check, plan, status, explain, reconcile, verify, dead-letters, replay.

The commands themselves are in the modules beside this one. Exit codes: 0 success, 1 something is wrong or could not be
read, 2 wrong settings or usage, 130 interrupted.

Each command imports what it alone needs, so that a worker's start does not pay for it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import click
from faust.cli import AppCommand, argument, option

from tsync_stream.cli.routes import RouteName
from tsync_stream.cli.shared import OurApp, OurCommand
from tsync_stream.settings.forms import parse_duration

Handler: TypeAlias = Callable[..., Awaitable[int]]


class Age(click.ParamType):
    """An age such as `90s`, `15m`, `1h` or `7d`, in seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it. Raises `click.BadParameter`, which shows the form."""
        text = str(value).strip()
        try:
            return 24 * parse_duration(f"{text[:-1]}h") if text.endswith("d") else parse_duration(text)
        except ValueError:
            self.fail(f"{text!r} is not an age such as 90s, 15m, 1h or 7d", param, ctx)


AS_JSON = option("--json", "as_json", is_flag=True, help="Print JSON.")
ROUTE = argument("route", metavar="[ROUTE]", required=False)
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
CANCEL = option("--cancel", metavar="JOB", help="Cancel one; what it has queued already is still synced.")
REPAIR = option("--repair", is_flag=True, help="Sync the documents that differ.")


def add_commands(app: OurApp) -> None:
    """Add our commands to Faust's; `worker` takes the place of Faust's own."""
    from tsync_stream.cli import worker as _  # noqa: F401 - subclassing a command registers it

    def names() -> list[str]:
        from tsync_stream.routes.declared import declared_routes

        return list(declared_routes(app.settings))

    name = RouteName(names)
    one_route = option("--route", "route", type=name, metavar="NAME", help="This route alone. Default: all routes.")
    of_route = option("--route", "route", type=name, metavar="NAME", help="Only those of this route.")

    def command(*options: Any) -> Callable[[Handler], type[AppCommand]]:
        return app.command(*options, base=OurCommand)

    @command(AS_JSON)
    async def check(self: AppCommand, as_json: bool) -> int:
        """Say what is wrong and how to fix it.

        Examines the settings and every server; changes nothing. Exits with 1 if anything is wrong.
        """
        from tsync_stream.cli.check import run_check

        app.refuse_bad_settings(imports=True)
        return await run_check(app.settings, as_json=as_json or self.json)

    @command(ROUTE, AS_JSON, DOCUMENT, WRITE)
    async def plan(self: AppCommand, route: str | None, as_json: bool, document: str | None, write: bool) -> int:
        """Show what the routes make of the documents, before a first start.

        Looks at a sample: types, a proposed schema with its conflicts, documents that would fail, what would change.
        Changes nothing in any server. Exits with 1 if something would fail.
        """
        from tsync_stream.cli.plan import run_plan

        app.refuse_bad_settings(imports=True)
        return await run_plan(app.settings, route=route, as_json_=as_json or self.json, document=document, write=write)

    @command(AS_JSON, WATCH)
    async def status(self: AppCommand, as_json: bool, watch_s: float | None) -> int:
        """Show where the pipeline stands.

        Positions, lag, queue, replicas, dead letters, jobs. Exits with 1 if something could not be read.
        """
        from tsync_stream.cli.status import run_status

        return await run_status(app.settings, as_json=as_json or self.json, watch_s=watch_s)

    @command(one_route, ALLOW_MASS_DELETE, WAIT)
    async def reconcile(self: AppCommand, route: str | None, allow_mass_delete: bool, wait: bool) -> int:
        """Sync every document again.

        Queues every key of the source, then every id in Typesense that the source no longer has. A running worker does
        it.
        """
        from tsync_stream.cli.reconcile import run_reconcile

        return await run_reconcile(app.settings, route=route, allow_mass_delete=allow_mass_delete, wait=wait)

    @command(one_route, REPAIR, WAIT, CANCEL)
    async def verify(self: AppCommand, **asked: Any) -> int:
        """Compare both sides, and repair differences on request.

        Reports what Typesense lacks, shows differently, or should not have, while live changes continue. A running
        worker does it.
        """
        from tsync_stream.cli.verify import run_verify

        return await run_verify(app.settings, **asked)

    @command(WHAT, ONE_ID, AS_JSON, WHICH, LIMIT, of_route, *CHOICE)
    async def dead_letters(self: AppCommand, **asked: Any) -> int:
        """Show the documents that failed.

        `dead-letters` lists the newest, `dead-letters show ID` shows one in full and how to fix it,
        `dead-letters count` counts them by route and reason. Changes nothing.
        """
        from tsync_stream.cli.dead_letters import run_dead_letters

        asked["as_json"] = asked["as_json"] or self.json
        return await run_dead_letters(app.settings, **asked)

    @command(IDS, ALL, DRY_RUN, WAIT, CANCEL, of_route, *CHOICE)
    async def replay(self: AppCommand, **asked: Any) -> int:
        """Retry failed documents.

        Queues the keys of the chosen open dead letters; those that can be synced now are resolved. It is safe at any
        time, because the documents are read again. A running worker does it.
        """
        from tsync_stream.cli.replay import run_replay

        return await run_replay(app.settings, **asked)

    _add_explain(app)


def _add_explain(app: OurApp) -> None:
    @app.command(ROUTE_AND_ID, AS_JSON, SHOW_VALUES, base=OurCommand)
    async def explain(self: AppCommand, what: tuple[str, ...], as_json: bool, show_values: bool) -> int:
        """Say everything that is known of one document.

        [ROUTE] ID: the route may be left out if there is only one; ID is the id that Typesense shows. Both sides, their
        difference, and what happens next. Exits with 1 if they differ, or if that could not be determined.
        """
        from tsync_stream.cli.explain import run_explain

        app.refuse_bad_settings(imports=True)
        return await run_explain(app.settings, what=what, as_json=as_json or self.json, show_values=show_values)
