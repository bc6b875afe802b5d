"""Whether a route can be synced now: what is asked before it is resumed, and of others before one is suspended.

Everything that sync does for the route is tried, without a change: an import and a deletion that are about nothing, the
import of its transform, and a read of one document. Invariant: nothing is judged from what a server does not answer;
that is an outage.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from tsync_stream.core.errors import ConfigurationError, RouteUnusable
from tsync_stream.core.model import BEGINNING_OF_TIME, Route
from tsync_stream.routes.declared import of_route, source_name, source_setting
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.transforms import why_not_importable
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.source.collection import described, kind_of, problem_of_source
from tsync_stream.source.documents import DocumentReader
from tsync_stream.source.driver import MongoClient

# A route that is suspended again before its reconcile is done is given longer to be repaired: whatever fails there does
# not show in what is asked here, and each try ends a term of all routes.
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 600.0


class Usability:
    """Asks both servers about the routes of a table. `open_reader` makes a reader, for one question."""

    def __init__(
        self,
        table: RouteTable,
        client: MongoClient,
        target: TypesenseTarget,
        open_reader: Callable[[], DocumentReader],
    ) -> None:
        self._table = table
        self._client = client
        self._target = target
        self._open_reader = open_reader

    async def require(self, route: Route) -> None:
        """Return if the route can be synced now.

        Raises `ConfigurationError` if a person must act first, and `DependencyUnavailable` if nobody knows.
        """
        # Its own declaration first: without it, nothing else can be asked, and a missing collection is not created.
        transform = self._table[route.name].transform
        if transform and (why := await asyncio.to_thread(why_not_importable, transform)):
            raise RouteUnusable(f"route {route.name}: transform `{transform}` {why}")
        kind = kind_of(await described(self._client, route.database, route.collection))
        if problem := problem_of_source(source_name(route), kind, source_setting(route)):
            raise ConfigurationError(f"{of_route('MONGODB_COLLECTION', route)}: " + "; ".join(problem))
        await self._read_one(route)
        await self._target.look(route.target)
        await self._target.harmless_import(route.target)
        await self._target.harmless_delete(route.target)

    async def _read_one(self, route: Route) -> None:
        reader = self._open_reader()
        try:
            keys = await reader.scan_keys(route, None, BEGINNING_OF_TIME, 1)
            async with aclosing(reader.read(route, [keys], BEGINNING_OF_TIME)) as documents:
                async for _ in documents:
                    break
        finally:
            await reader.close()


def pause_before_s(suspensions: int) -> float:
    """How long to wait before a route is resumed that was suspended so often since it was last reconciled (pure)."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (max(1, suspensions) - 1))
