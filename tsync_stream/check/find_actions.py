"""Finds what `apply` would do, by looking at the servers. Changes nothing."""

import asyncio
from collections.abc import Sequence

from tsync_stream.check.actions import Action
from tsync_stream.check.schema_actions import schema_actions
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.preparation import declared_schema
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget

# So many routes are looked at side by side.
_AT_ONCE = 4


async def find_actions(settings: Settings, table: RouteTable, target: TypesenseTarget) -> list[Action]:
    """Everything that the declarations of these routes ask for and the servers lack, in the order to do it in.

    Raises the errors of Typesense calls, and `ConfigurationError` for a wrong schema file.
    """
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(declaration: Declaration) -> Sequence[Action]:
        declared = declared_schema(declaration, settings.typesense.schema_file)
        async with turn:
            live = await target.collection(declaration.route.target)
        return list(schema_actions(declaration.route, declared, live))

    return [action for found in await asyncio.gather(*map(one, table.values())) for action in found]
