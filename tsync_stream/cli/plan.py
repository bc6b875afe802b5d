"""`plan`: shows what the routes make of the documents, before anything is done. Changes nothing in any server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import click
import orjson

from tsync_stream.check.find_actions import find_actions
from tsync_stream.check.plan import RoutePlan, Shown, plan_of
from tsync_stream.check.plan import as_json as json_of
from tsync_stream.check.plan_document import shown_document
from tsync_stream.check.plan_facts import RouteFacts, Servers, gather_route
from tsync_stream.check.plan_rights import rights
from tsync_stream.cli.plan_view import render
from tsync_stream.cli.routes import chosen_table
from tsync_stream.cli.shared import EXIT_WRONG, console, print_json, reachable_settings, say
from tsync_stream.core.terminal import printable
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.schema_writing import NotWritable, with_schema
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.transform_runner import TransformRunner
from tsync_stream.routes.view import source_views
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.documents import REPLY_DEADLINE_S, DocumentReader
from tsync_stream.source.driver import mongo_client
from tsync_stream.state.database import state_database

SCHEMA_FILE = "typesense-schema.json"
# So many routes are looked at side by side.
_AT_ONCE = 4


async def run_plan(settings: Settings, *, route: str | None, as_json: bool, document: str | None, write: bool) -> int:
    """Print the plan of one route or of all; 1 if something would fail. Raises `click.UsageError` for a wrong choice.

    `document` is a Typesense id. `write` puts the proposals of routes without a schema where schemas are declared.
    """
    settings = reachable_settings(settings)
    chosen = chosen_table(declared_routes(settings), route)
    async with _servers(settings) as servers:
        found, looks, (actions, left_alone) = await asyncio.gather(
            rights(settings, chosen),
            _looks(servers, chosen, document),
            find_actions(settings, chosen, servers.target, state_database(servers.client, settings.state_database)),
        )
    plans = [plan_of(facts, found.version, shown) for facts, shown in looks]
    if document is not None and all(plan.document is None for plan in plans):
        raise click.UsageError(f"No document of the source has the id {printable(document)}.")
    # What the lookups of a route need is said with the route.
    wrong = [each for each in found.findings if not any(each in plan.findings for plan in plans)]
    if as_json:
        print_json({**json_of(plans, wrong, actions), "left_alone": left_alone})
    else:
        console().print(render(plans, wrong, actions, left_alone))
    if write:
        _write(settings, plans)
    return EXIT_WRONG if wrong or not all(plan.fine for plan in plans) else 0


@asynccontextmanager
async def _servers(settings: Settings) -> AsyncIterator[Servers]:
    def transform_of(declaration: Declaration) -> TransformRunner:
        return TransformRunner(declaration.route.name, declaration.transform, settings.transform_timeout_s)

    views = source_views(declared_routes(settings), transform_of)
    client, target = mongo_client(settings), TypesenseTarget(settings.typesense)
    try:
        yield Servers(settings, client, target, lambda: DocumentReader(client, REPLY_DEADLINE_S, views))
    finally:
        await target.close()
        client.close()


async def _looks(servers: Servers, chosen: RouteTable, document: str | None) -> list[tuple[RouteFacts, Shown | None]]:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(declaration: Declaration) -> tuple[RouteFacts, Shown | None]:
        async with turn:
            facts = await gather_route(servers, declaration)
            if document is None:
                return facts, None
            return facts, await shown_document(servers, declaration.route, facts.live or facts.wanted, document)

    return await asyncio.gather(*map(one, chosen.values()))


def _write(settings: Settings, plans: Sequence[RoutePlan]) -> None:
    """Put the proposals where schemas are declared, and say what was done. Raises `click.UsageError` if it cannot."""
    undeclared = [plan.facts for plan in plans if plan.facts.declared is None and plan.facts.proposal.fields]
    if not undeclared:
        raise click.UsageError("Nothing is written: each of these routes declares a schema, or has no documents.")
    if settings.routes_file is None:
        _create(Path(SCHEMA_FILE), orjson.dumps(undeclared[0].proposal.schema, option=orjson.OPT_INDENT_2) + b"\n")
        use = "it is used when the collection is created"
        say(f"{SCHEMA_FILE} is written. Set TYPESENSE_SCHEMA_FILE={SCHEMA_FILE}; {use}.")
        return
    path = settings.routes_file.path
    text = path.read_text(encoding="utf-8")
    try:
        for facts in undeclared:
            text = with_schema(text, facts.declaration.route.name, facts.proposal.schema)
    except NotWritable as problem:
        raise click.UsageError(f"Nothing is written: the routes file {problem}.") from None
    path.write_text(text, encoding="utf-8")
    names = ", ".join(facts.declaration.route.name for facts in undeclared)
    say(f"{path} declares the schema of {names} now. It is used when the collection is created.")


def _create(path: Path, content: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise click.UsageError(f"Nothing is written: {path} exists already.") from None
    except OSError as error:
        raise click.UsageError(f"Nothing is written: {path} cannot be created ({error.strerror}).") from None
