"""Which routes this replica's sync suspends, and whose entries it drops. `state/suspension.py` says why that is safe.

A route is suspended for what only a person can repair, and only if it is that route's alone: another route can be
synced at this moment. So neither an outage nor a wrong setting of all routes suspends anything, and the single route of
a table never is: its entries wait in the queue.
"""

import logging
from collections.abc import Iterable, Mapping

from tsync_stream.cluster.epoch_watch import EpochWatch
from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.core.events import event
from tsync_stream.routes.table import RouteTable
from tsync_stream.routes.usability import Usability
from tsync_stream.sink.live_schema import NoCollection
from tsync_stream.state.pipeline import PositionStore
from tsync_stream.state.route_state import Suspension

log = logging.getLogger(__name__)

# How many other routes are asked whether they can be synced, before a failure counts as one of all.
MOST_ASKED = 5


class SuspendedRoutes:
    """The suspensions as this replica's lanes see and make them."""

    def __init__(self, table: RouteTable, epochs: EpochWatch, positions: PositionStore, usability: Usability) -> None:
        self._table = table
        self._epochs = epochs
        self._positions = positions
        self._usability = usability

    def __repr__(self) -> str:
        return f"SuspendedRoutes({', '.join(self.known) or 'none'})"

    @property
    def known(self) -> Mapping[str, Suspension]:
        """The suspensions that we know of, by route. They may have ended since."""
        pipeline = self._epochs.current
        states = {} if pipeline is None else pipeline.routes
        return {name: state.suspended for name, state in states.items() if state.suspended is not None}

    async def confirmed(self, routes: Iterable[str]) -> set[str]:
        """Those of the routes whose entries in hand may be dropped. Raises the errors of MongoDB calls."""
        known, found = self.known, set()
        for route in known.keys() & set(routes):
            if await self._positions.confirm_suspended(route, known[route].nonce):
                found.add(route)
            else:
                await self._epochs.refresh()
        return found

    async def suspend(self, failures: Mapping[str, TsyncError]) -> set[str]:
        """Suspend the routes whose failures are theirs alone; returns which of the routes are suspended now."""
        own = [route for route, cause in failures.items() if only_a_person_repairs(cause)]
        suspended = set()
        try:
            for route in own:
                if await self._another_can_be_synced(route) and await self._suspend(route, failures[route]):
                    suspended.add(route)
        except TsyncError as error:
            log.warning("a route cannot be suspended yet: %s", error, extra=event("route.suspension_delayed"))
        return suspended

    async def _suspend(self, route: str, cause: TsyncError) -> bool:
        pipeline = self._epochs.current
        reason = await self._reason(route, cause)
        if pipeline is None or await self._positions.suspend(pipeline.epoch, route, reason) is None:
            return False
        await self._epochs.refresh()
        return True

    async def _reason(self, route: str, cause: TsyncError) -> str:
        """What to repair: a collection, for example, is missing because the route's transform cannot be imported."""
        try:
            await self._usability.require(self._table[route].route)
        except ConfigurationError as error:
            return str(error)
        except TsyncError:
            pass
        return str(cause)

    async def _another_can_be_synced(self, route: str) -> bool:
        suspended = self.known
        others = sorted((name for name in self._table if name != route), key=lambda name: name in suspended)
        for name in others[:MOST_ASKED]:
            try:
                await self._usability.require(self._table[name].route)
            except TsyncError:
                continue
            return True
        return False


def only_a_person_repairs(cause: TsyncError) -> bool:
    """Whether a failure of a route's part may be a reason to suspend the route (pure).

    A missing collection is one: the capturing replica creates it, but may have no right to, or no schema.
    """
    return isinstance(cause, ConfigurationError | NoCollection)
