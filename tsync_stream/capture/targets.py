"""The targets of all routes as a beginning sees them: looked at, prepared and marked side by side.

Invariants: where there are several routes, none waits for the target of another: one that does not answer in time, or
refuses, is left as it was, and its watch tries again while the term goes on. Those that refer to others by Typesense's
JOINs come after all that do not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping
from typing import TypeVar

from bson.timestamp import Timestamp

from tsync_stream.capture.route_beginnings import Found, Made
from tsync_stream.capture.target_watch import TargetWatch
from tsync_stream.core.errors import DependencyUnavailable, TsyncError
from tsync_stream.core.events import event
from tsync_stream.routes.preparation import ComesLater
from tsync_stream.routes.table import RouteTable
from tsync_stream.state.route_state import RouteState

log = logging.getLogger(__name__)

# How long the others wait for one target in a beginning.
LONGEST_WAIT_S = 2.0

Result = TypeVar("Result")


class Targets:
    """The watches of all routes' targets, by the routes' names."""

    def __init__(self, table: RouteTable, watches: Mapping[str, TargetWatch]) -> None:
        self.watches = watches
        self._table = table

    def forget(self) -> None:
        """Another replica captures now, and checks."""
        for watch in self.watches.values():
            watch.forget()

    async def replaced(self, states: Mapping[str, RouteState]) -> dict[str, str]:
        """Why which targets are not the collections that were filled; those exist then, if need be new ones."""
        found: dict[str, object] = {}
        for wave in self._table.creation_waves(states):
            looks = {name: self.watches[name].replaced(states[name]) for name in wave}
            found |= await _side_by_side(looks, self._limit_s)
        return {name: why for name, why in found.items() if isinstance(why, str) and why}

    async def prepare(self, names: Iterable[str]) -> dict[str, TsyncError]:
        """Create the collections that are missing; returns those that could not be prepared, and why.

        Raises a reason if that is true of all of them, unless they only wait for others. Not limited: samples may be
        read, and nobody waits yet.
        """
        found: dict[str, object] = {}
        for wave in self._table.creation_waves(list(names)):
            found |= await _side_by_side({name: self.watches[name].prepare() for name in wave}, None)
        failed = {name: why for name, why in found.items() if isinstance(why, TsyncError)}
        causes = [why for why in failed.values() if not isinstance(why, ComesLater)]
        if causes and len(failed) == len(found):
            raise causes[0]
        return failed

    async def make_ours(self, found: Iterable[Found], synced: Timestamp) -> dict[str, Made]:
        """Mark the targets of these routes as filled from `synced` on; one that fails is tried again by its watch.

        Raises why it failed if there is only one route.
        """
        marks = {each.route.name: self.watches[each.route.name].make_ours(synced) for each in found}
        made = await _side_by_side(marks, self._limit_s)
        for name, result in made.items():
            if isinstance(result, TsyncError):
                if len(self.watches) == 1:
                    raise result
                log.warning(
                    "capture: the target of the route %s cannot be marked yet: %s; trying again",
                    name,
                    result,
                    extra=event("route.not_marked", route=name),
                )
        return {name: Made(*result) for name, result in made.items() if not isinstance(result, TsyncError)}

    @property
    def _limit_s(self) -> float | None:
        return None if len(self.watches) == 1 else LONGEST_WAIT_S


async def _side_by_side(
    calls: Mapping[str, Awaitable[Result]], limit_s: float | None
) -> dict[str, Result | TsyncError]:
    async def one(call: Awaitable[Result]) -> Result | TsyncError:
        try:
            async with asyncio.timeout(limit_s):
                return await call
        except TimeoutError:
            return DependencyUnavailable(f"Typesense: no answer within {limit_s} s")
        except TsyncError as error:
            return error

    results = await asyncio.gather(*map(one, calls.values()))
    return dict(zip(calls, results, strict=True))
