"""What a beginning asks MongoDB about the sources: which collections they are, and where the change stream stands now.

Invariants: nothing is decided from a source that cannot have a change stream, which is a configuration error of its
routes. A position is only ever moved to another token of the same moment.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace

from tsync_stream.capture.followed import owner_paths
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.model import Position, Route, Token
from tsync_stream.routes.declaration import Children, Declaration
from tsync_stream.routes.declared import source_setting
from tsync_stream.routes.table import RouteTable
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.collection import COLLECTION, described, keeps_pre_images, kind_of, source_uuid
from tsync_stream.source.driver import MongoClient
from tsync_stream.source.stream_scope import scope_of, time_of

POSITION_WAIT_S = 1.0


class SourceFacts:
    """Asks about the sources of all routes. Every call raises the errors of MongoDB calls."""

    def __init__(self, client: MongoClient, table: RouteTable) -> None:
        self._client = client
        self._table = table
        self._scope = scope_of(table.namespaces, before=owner_paths(table))

    async def uuids(self) -> Mapping[str, bytes | ConfigurationError]:
        """The UUID of each route's source, or why it cannot be one."""
        found = await asyncio.gather(*map(self.uuid, self._table.routes))
        return dict(zip(self._table, found, strict=True))

    async def uuid(self, route: Route) -> bytes | ConfigurationError:
        """The UUID of one route's source, or why it, or a collection that the route looks in, cannot be used."""
        try:
            await self._require_lookups(self._table[route.name])
            return await source_uuid(self._client, route.database, route.collection, source_setting(route))
        except ConfigurationError as error:
            return error

    async def _require_lookups(self, declaration: Declaration) -> None:
        """Raise `ConfigurationError` if changes of what a route looks up cannot be followed.

        A collection that does not exist yet has no documents to follow.
        """
        database = declaration.route.database
        for lookup in declaration.lookups:
            found = await described(self._client, database, lookup.collection)
            if found is None:
                continue
            name, words = f"{database}.{lookup.collection}", f"route {declaration.route.name}"
            if kind_of(found) != COLLECTION:
                raise ConfigurationError(
                    f"{words}: it looks in {name}, which is no collection and has no change stream, so changes there "
                    "could not be followed; look in the collection behind it"
                )
            if isinstance(lookup, Children) and not keeps_pre_images(found):
                command = (
                    f"{{collMod: {json.dumps(lookup.collection)}, changeStreamPreAndPostImages: {{enabled: true}}}}"
                )
                raise ConfigurationError(
                    f"{words}: {name} keeps no pre-images, so after a deletion nothing would say whose child it was; "
                    f"run `db.runCommand({command})` in the database {database} (MongoDB 6.0 or newer)"
                )

    async def position_of_now(self) -> Position:
        """Where a stream that is opened now begins: it has every change from here on."""
        stream = await ChangeStream.open(self._client, self._scope, None, 1)
        try:
            batch = await stream.next_batch(1, POSITION_WAIT_S)
        finally:
            await stream.close()
        return Position(batch.token, batch.cluster_time)

    async def for_our_stream(self, position: Position) -> Position:
        """A position of a stream of other collections, with a token that ours can be resumed from.

        Its token may be that of an event that ours does not show, which MongoDB then cannot find (code 280). The token
        that stands for the moment of that event can be resumed from in every stream; changes of that very moment are
        read again.
        """
        moment = time_of(position.token)
        if moment is None:
            return position
        stream = await ChangeStream.open(self._client, self._scope, moment, 0)
        try:
            token: Token = (await stream.next_batch(0, POSITION_WAIT_S)).token
        finally:
            await stream.close()
        return replace(position, token=token)
