"""`explain`: everything known of one document, and what happens next with it. Changes nothing."""

from collections.abc import Sequence

import click

from tsync_stream.cli.choosing import opened
from tsync_stream.cli.explain_view import render
from tsync_stream.cli.routes import chosen_route
from tsync_stream.cli.shared import EXIT_WRONG, console, print_json, reachable_settings
from tsync_stream.observe.explanation_reader import ExplanationReader
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.generations import EffectiveTable
from tsync_stream.settings.load import Settings

_LONGEST = 2


async def run_explain(settings: Settings, *, what: Sequence[str], as_json: bool, show_values: bool) -> int:
    """Print the explanation; 1 unless both sides are equal. `what` is `[ROUTE] ID`.

    Raises `click.UsageError` for a wrong choice.
    """
    settings = reachable_settings(settings)
    async with opened(settings) as our:
        table = await our.table()
    declaration, document_id = _chosen(table, what)
    async with ExplanationReader(settings, declaration) as reader:
        found = await reader.explain(document_id)
    if as_json:
        print_json(found.to_json(with_values=show_values))
    else:
        console().print(render(found, with_values=show_values))
    return 0 if found.verdict == "equal" else EXIT_WRONG


def _chosen(table: EffectiveTable, what: Sequence[str]) -> tuple[Declaration, str]:
    if len(what) > _LONGEST:
        raise click.UsageError(
            "`explain` takes the name of a route and the id of one document; quote an id with spaces."
        )
    document_id = what[-1]
    if not document_id:
        raise click.UsageError("An empty id is no id of a document.")
    if len(what) == _LONGEST:
        return chosen_route(table, what[0]), document_id
    if len(table.declared) > 1:
        raise click.UsageError(f"There are several routes: name one of {', '.join(table)} before the id.")
    return table[table.resolved(next(iter(table.declared)))], document_id
