"""`apply`: does what `plan` shows, after asking.

Invariant: what is done is what was shown. The declarations and the servers are looked at again right before, and if
they ask for anything else by then, nothing is done.
"""

import sys
from collections.abc import Sequence

import click

from tsync_stream.check.actions import Action
from tsync_stream.check.find_actions import find_actions
from tsync_stream.check.schema_actions import left_to_a_person
from tsync_stream.cli.applying import Outcome, apply_all, outcomes_as_json, servers
from tsync_stream.cli.plan_view import render_actions
from tsync_stream.cli.routes import chosen_table
from tsync_stream.cli.shared import EXIT_USAGE, EXIT_WRONG, console, print_json, reachable_settings, say
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.terminal import printable
from tsync_stream.routes.declared import declared_routes, load_all
from tsync_stream.settings.load import Settings

NO_TERMINAL = "Nothing was done: without a terminal, `apply` needs --yes."
DECLINED = "Nothing was done."
CHANGED = (
    "Nothing was done: the declarations or the servers have changed since this was shown. Run `apply` again to see "
    "what it would do now."
)


async def run_apply(settings: Settings, *, route: str | None, yes: bool, as_json: bool) -> int:
    """Show what is to be done, ask, and do it; 1 if any of it was not done."""
    settings = reachable_settings(settings)
    shown, left_alone = await _found(settings, route)
    if not as_json or (shown and not yes):
        output = console(sys.stderr if as_json else None)
        output.print(render_actions(shown))
        for each in left_alone:
            output.print(printable(each), style="dim", markup=False)
    if not yes and any(each.route not in left_to_a_person(shown) for each in shown):
        if not sys.stdin.isatty():
            say(NO_TERMINAL)
            return EXIT_USAGE
        if not click.confirm("Do it?", err=as_json):
            return _nothing(shown, DECLINED, as_json=as_json)
        if await _found_again(route) != shown:
            return _nothing(shown, CHANGED, as_json=as_json)
    outcomes = await apply_all(settings, shown)
    well = all(each.done for each in outcomes)
    if as_json:
        print_json({"ok": well, "actions": outcomes_as_json(outcomes)})
    elif outcomes:
        print("\n".join(lines_of(outcomes)))
    return 0 if well else EXIT_WRONG


def lines_of(outcomes: Sequence[Outcome]) -> list[str]:
    """What was done and what was not, by the numbers of the actions, for people (pure)."""
    lines = [
        f"{number:>3}. {'done' if each.done else 'NOT DONE'}: {printable(each.text)}"
        for number, each in enumerate(outcomes, start=1)
    ]
    missing = sum(not each.done for each in outcomes)
    return [*lines, f"{missing} of {len(outcomes)} not done" if missing else f"all {len(outcomes)} done"]


async def _found(settings: Settings, route: str | None) -> tuple[list[Action], list[str]]:
    async with servers(settings) as (target, state):
        return await find_actions(settings, chosen_table(declared_routes(settings), route), target, state)


async def _found_again(route: str | None) -> list[Action] | None:
    """What the files and servers ask for by now; None if the files cannot be used any more."""
    try:
        return (await _found(reachable_settings(load_all()), route))[0]
    except (ConfigurationError, click.UsageError) as error:
        say(str(error))
        return None


def _nothing(actions: Sequence[Action], why: str, *, as_json: bool) -> int:
    if as_json:
        print_json(
            {"ok": False, "actions": outcomes_as_json([Outcome(each, done=False, text=why) for each in actions])}
        )
    else:
        say(why)
    return EXIT_WRONG
