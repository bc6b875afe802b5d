"""What a beginning asks MongoDB about the source: which collection it is, and where its change stream stands now.

Invariant: nothing is decided from a source that cannot have a change stream; that is a configuration error.
"""

from collections.abc import Mapping
from typing import Any

from tsync_stream.core.model import Position, Route
from tsync_stream.routes.fingerprint import fingerprint_of
from tsync_stream.settings.load import Settings
from tsync_stream.source.change_stream import ChangeStream
from tsync_stream.source.collection import source_uuid
from tsync_stream.source.driver import MongoClient
from tsync_stream.source.stream_scope import scope_of

POSITION_WAIT_S = 1.0


class SourceFacts:
    """Asks about one route's source. Every call raises the errors of MongoDB calls."""

    def __init__(self, client: MongoClient, route: Route, settings: Settings) -> None:
        self._client = client
        self.route = route
        self._settings = settings

    async def fingerprint(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """The fingerprint of the route as it is now; `target` is the part that Typesense tells."""
        uuid = await source_uuid(self._client, self.route.database, self.route.collection)
        return fingerprint_of(self.route, uuid, target, self._settings)

    async def position_of_now(self) -> Position:
        """Where a stream that is opened now begins: it has every change from here on."""
        stream = await ChangeStream.open(
            self._client, scope_of([(self.route.database, self.route.collection)]), None, 1
        )
        try:
            batch = await stream.next_batch(1, POSITION_WAIT_S)
        finally:
            await stream.close()
        return Position(batch.token, batch.cluster_time)
