"""Finds what `apply` would do, by looking at the servers. Changes nothing."""

import asyncio
from collections.abc import Sequence

from tsync_stream.check.actions import Action
from tsync_stream.check.artefact_difference import action_of, left_alone
from tsync_stream.check.find_artefacts import find_artefacts
from tsync_stream.check.schema_actions import schema_actions
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.preparation import declared_schema
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.driver import MongoDatabase

# So many routes are looked at side by side.
_AT_ONCE = 4


async def find_actions(
    settings: Settings, table: RouteTable, target: TypesenseTarget, state: MongoDatabase
) -> tuple[list[Action], list[str]]:
    """Everything that the declarations of these routes ask for and the servers lack, in the order to do it in.

    Also sentences about artefacts of others, which stay as they are. Raises the errors of Typesense and MongoDB calls,
    and `ConfigurationError` for a wrong schema file.
    """
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(declaration: Declaration) -> Sequence[Action]:
        declared = declared_schema(declaration, settings.typesense.schema_file)
        async with turn:
            live = await target.collection(declaration.route.target)
        return list(schema_actions(declaration.route, declared, live))

    of_schemas = await asyncio.gather(*map(one, table.values()))
    groups = [each.group for each in await find_artefacts(settings, table, target, state)]
    actions = [action for found in of_schemas for action in found]
    actions += [action for group in groups if (action := action_of(group)) is not None]
    return actions, [said for group in groups if (said := left_alone(group))]
