"""Finds what `apply` would do, by looking at the servers. Changes nothing."""

import asyncio
from collections.abc import Collection, Sequence

from tsync_stream.check.actions import Action
from tsync_stream.check.artefact_difference import action_of, left_alone
from tsync_stream.check.find_artefacts import find_artefacts
from tsync_stream.check.joined import joined_notes
from tsync_stream.check.own_names import own_name_notes
from tsync_stream.check.schema_actions import REINDEX, route_actions
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.generations import effective
from tsync_stream.routes.preparation import declared_schema
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.state.generation_store import GenerationStore

# So many routes are looked at side by side.
_AT_ONCE = 4


async def find_actions(
    settings: Settings, table: RouteTable, target: TypesenseTarget, state: MongoDatabase
) -> tuple[list[Action], list[str]]:
    """Everything that the declarations of these routes ask for and the servers lack, in the order to do it in.

    Also sentences about what stays as it is: artefacts of others, a collection that is being replaced, and what will
    not follow a reindex. Raises the errors of Typesense and MongoDB calls, and `ConfigurationError` for a wrong schema
    file.
    """
    documents = await GenerationStore(state).all()
    written = effective(table, documents)
    moving = [name for name in table if name in documents and documents[name].reindex is not None]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(declaration: Declaration) -> tuple[Sequence[Action], Sequence[str]]:
        name, alias = declaration.route.name, declaration.route.target
        if name in moving:
            async with turn:
                return [], await what_stays(target, alias, [each.collection for each in documents[name].generations])
        schema = declared_schema(declaration, settings.typesense.schema_file)
        async with turn:
            live = await target.collection(alias)
        held = declaration.on_change == "reindex" and name in documents
        actions = list(route_actions(declaration, schema, live, written[written.resolved(name)] if held else None))
        if live is None or all(action.kind != REINDEX for action in actions):
            return actions, []
        async with turn:
            return actions, await what_stays(target, alias, [str(live["name"])])

    of_routes = await asyncio.gather(*map(one, table.values()))
    groups = [each.group for each in await find_artefacts(settings, table, target, state)]
    actions = [action for found, _ in of_routes for action in found]
    actions += [action for group in groups if (action := action_of(group)) is not None]
    left = [f"A reindex of route {name} is open, and comes first: `reindex {name}` follows it." for name in moving]
    left += [note for _, notes in of_routes for note in notes]
    return actions, [*left, *(said for group in groups if (said := left_alone(group)))]


async def what_stays(target: TypesenseTarget, alias: str, collections: Collection[str]) -> list[str]:
    """Sentences about what will not follow a reindex of what the alias shows: one of these collections, now or soon."""
    return [
        *await own_name_notes(target, alias, collections),
        *await joined_notes(target, alias, collections),
    ]
