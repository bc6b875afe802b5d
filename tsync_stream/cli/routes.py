"""Which routes a command acts on: the one that `--route` names, or all.

The name of a route that was reindexed means its live generation; every generation can be named too, `listings@2`.
Invariant: a name that is not declared is an error with a suggestion, never a guess.
"""

from collections.abc import Mapping
from difflib import get_close_matches

import click

from tsync_stream.core.model import Route
from tsync_stream.core.terminal import printable
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.dead_letter_search import DeadLetterRecords, Selection


def chosen_routes(table: RouteTable, name: str | None) -> list[Route]:
    """The routes that a command acts on. Raises `click.UsageError` if the one that was named is not declared."""
    if name is None:
        return table.routes
    return [chosen_route(table, name).route]


def chosen_route(table: RouteTable, name: str) -> Declaration:
    """The route that a name means. Raises `click.UsageError` if it is not declared."""
    if (meant := table.resolved(name)) not in table:
        raise click.UsageError(unknown_route(table, name))
    return table[meant]


def chosen_table(table: RouteTable, name: str | None) -> RouteTable:
    """The table of the routes that a command acts on. Raises `click.UsageError` as `chosen_routes` does."""
    return RouteTable([table[route.name] for route in chosen_routes(table, name)])


def unknown_route(table: RouteTable, name: str) -> str:
    """What is wrong with a name, and which one was meant (pure)."""
    likely = get_close_matches(name, table, n=1)
    suggestion = f" Did you mean {likely[0]}?" if likely else ""
    return f"There is no route {printable(name)}.{suggestion} The routes are: {', '.join(table)}."


async def route_of_letters(records: DeadLetterRecords, table: RouteTable, name: str | None) -> str | None:
    """The route whose dead letters `name` means; None: those of all routes.

    Raises `click.UsageError` for a route that is not declared, and of which there is no dead letter either.
    """
    if name is None:
        return None
    meant = table.resolved(name)
    if meant not in table and not await records.count(Selection(route=meant), "all"):
        raise click.UsageError(unknown_route(table, name))
    return meant


def by_route(texts: Mapping[str, str]) -> str:
    """The results of several routes, each under its name; of a single one, the result alone (pure)."""
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"{route}:\n{_indented(text)}" for route, text in texts.items())


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
