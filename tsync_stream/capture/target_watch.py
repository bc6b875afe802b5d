"""Checks that the Typesense collection is still the one that was filled, and shows no older state than before.

Only the capturing replica checks. Invariants: a difference counts only if it is seen twice, and not while Typesense
replays its log, because a node may report a past state until then. "Cannot be asked" is not "unchanged": after a
minute of it, health turns red.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.capture.handover import TermEnd
from tsync_stream.capture.term import CaptureTerm
from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.core.model import Route
from tsync_stream.routes.declared import of_route
from tsync_stream.routes.preparation import ComesLater
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.markers import Markers, Seen
from tsync_stream.state.pipeline import Pipeline, PositionStore, new_nonce
from tsync_stream.state.route_state import RouteState

CHECK = "target"
LOOK_INTERVAL_S = 1.0
# The collection is checked at every so many looks.
LOOKS_PER_CHECK = 5
UNREAD_S = 60.0
SECOND_LOOK_S = 1.0
NOTE_INTERVAL_S = 2.0


class TargetWatch:
    """Checks the collection of one route and marks it. It outlives terms, as an outage does.

    `check` is its health check; `prepare` creates the collection if it is missing. `lease_left_s` returns for how long
    the capture lease is surely ours: a mark that arrives after our successor's would be older.
    """

    def __init__(
        self,
        target: TypesenseTarget,
        route: Route,
        check: str,
        positions: PositionStore,
        health: Health,
        prepare: Callable[[], Awaitable[object]],
        lease_left_s: Callable[[], float],
    ) -> None:
        self._create = prepare
        self._uncreated = False  # health says why
        self._lease_left_s = lease_left_s
        self._target = target
        self._route = route
        self._check = check
        self._markers = Markers(target, route.target)
        self._positions = positions
        self._health = health
        self._read_s: float | None = None  # when a check last succeeded; None: none was needed yet
        self._noted_s = float("-inf")
        self._notes_refused = False
        self._found = ""  # why the last term ended; the next beginning need not look again

    def forget(self) -> None:
        """Another replica captures now, and checks."""
        self._read_s, self._found, self._uncreated = None, "", False
        self._health.green(self._check)

    async def prepare(self) -> None:
        """Create the collection if it is missing. Raises why that is not possible; health says so, but for outages."""
        try:
            await self._create()
        except (ConfigurationError, ComesLater) as error:
            self._uncreated = True
            text = f"{error}; that is tried again every {LOOKS_PER_CHECK * LOOK_INTERVAL_S:g} seconds"
            self._health.fault(self._check, text, needs_person=isinstance(error, ConfigurationError))
            raise
        if self._uncreated:
            self._uncreated = False
            self._health.green(self._check)

    async def run(self, term: CaptureTerm, current: Callable[[], Pipeline | None]) -> TermEnd:
        """Beside the feed: mark the collection, until it is another one. `current` is the epoch document, as last read.

        It exists when this returns. While Typesense cannot be asked, or refuses to create it, the term goes on.
        """
        looks = 0
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            stored = current()
            if stored is None or (stored.epoch, stored.capture_fence) != (term.pipeline.epoch, term.fence):
                continue
            await self.note_synced(stored, term.synced.cluster_time)
            looks += 1
            if looks % LOOKS_PER_CHECK == 0 and (found := await self.replaced(stored.routes[self._route.name])):
                self._found = found
                return TermEnd(f"{found}; a new term begins with a reconcile", for_a_route=True)

    async def difference(self, stored: RouteState) -> str:
        """How the collection differs from the one that the route's fingerprint describes; "" if it does not.

        Raises the errors of Typesense calls: then nobody knows.
        """
        self._read_s = self._read_s or clock.now_s()
        try:
            found = difference(stored.fingerprint, stored.marked, await self._markers.look())
            if found:
                # A collection that was never filled has not become another one a moment ago.
                await asyncio.sleep(SECOND_LOOK_S if "target_name" in stored.fingerprint else 0)
                replayed = await self._target.settled()
                again = difference(stored.fingerprint, stored.marked, await self._markers.look())
                found = again if replayed else ""
        except TsyncError as error:
            self._report(error)
            raise
        self._read_s = clock.now_s()
        self._uncreated = self._uncreated and bool(found)
        if not self._uncreated:
            self._health.green(self._check)
        return found

    async def replaced(self, stored: RouteState) -> str:
        """Why the collection is not the one that was filled; it then exists, if need be a new one. "" if it is.

        While Typesense cannot be asked, the answer is "": capture goes on, and asks again.
        """
        found, self._found = self._found, ""
        try:
            found = found or await self.difference(stored)
            if found:
                await self.prepare()
        except TsyncError:
            return ""
        return found

    async def make_ours(self, synced: Timestamp) -> tuple[dict[str, Any], Timestamp | None]:
        """Mark the existing collection as the one that is filled from `synced` on.

        Returns its part of the fingerprint, and the time it is marked with (None: it takes no marks). Raises the errors
        of Typesense calls, and `DependencyUnavailable` if the capture lease is not ours any more.
        """
        seen = await self._markers.look()
        if seen is None:
            raise ConfigurationError(
                of_route("TYPESENSE_COLLECTION_NAME", self._route) + ": the collection is gone again"
            )
        self._require_lease()
        nonce = await self._markers.place(seen, new_nonce())
        self._require_lease()
        self._notes_refused = not await self._markers.note(seen.name, as_number(synced))
        part = {
            "target_name": seen.name,
            "target_nonce": nonce,
            "target_created_at": seen.created_at,
            "target_checks": list(seen.checks),
        }
        return part, None if self._notes_refused else synced

    async def note_synced(self, stored: Pipeline, synced: Timestamp) -> None:
        """Mark in Typesense, now and then, how far everything is synced; only then in MongoDB, which is never ahead."""
        now_s = clock.now_s()
        state = stored.routes[self._route.name]
        name = state.fingerprint.get("target_name")
        if name is None or self._notes_refused or state.marked == synced or now_s - self._noted_s < NOTE_INTERVAL_S:
            return
        self._noted_s = now_s
        try:
            if state.marked is not None and await self._markers.is_behind(name, as_number(state.marked)):
                return  # the next check tells; a newer mark would hide it
            self._require_lease()
            noted = await self._markers.note(name, as_number(synced))
        except TsyncError:
            # The request may still be carried out, later, over a newer mark: leave time for that.
            self._noted_s = now_s + 2 * self._target.deadline_s
            return
        if noted:
            await self._positions.save_marked(stored, self._route.name, synced)
        else:
            self._notes_refused = True

    def _require_lease(self) -> None:
        """Before each mark. Raises `DependencyUnavailable`."""
        if self._lease_left_s() < self._target.deadline_s:
            raise DependencyUnavailable("the capture lease would not outlive a request; waiting for its renewal")

    def _report(self, error: TsyncError) -> None:
        assert self._read_s is not None
        unread_s = clock.now_s() - self._read_s
        if unread_s >= UNREAD_S:
            self._health.fault(
                self._check,
                f"{error}; for more than a minute it has been unknown whether the Typesense collection is still the "
                "one that was filled. Writing continues; a reconcile follows if it turns out to be another one",
                needs_person=isinstance(error, ConfigurationError),
            )


def difference(fingerprint: Mapping[str, Any], marked: Timestamp | None, seen: Seen | None) -> str:
    """How a collection differs from the one that was filled and marked with `marked`; "" if it does not (pure)."""
    if seen is None:
        return "the Typesense collection is gone"
    if "target_name" not in fingerprint:
        return "the Typesense collection is not marked yet"
    if seen.name != fingerprint["target_name"]:
        return f"the Typesense collection is now {seen.name}"
    nonce = fingerprint.get("target_nonce")
    if seen.nonce != nonce or (not nonce and seen.created_at != fingerprint.get("target_created_at")):
        return "the Typesense collection is not the one we filled"
    if list(seen.checks) != fingerprint.get("target_checks"):
        return "other fields of the Typesense collection are geopoints or int32 now"
    if marked is not None and not seen.marks_refused and (seen.synced is None or seen.synced < as_number(marked)):
        return "Typesense shows an older state than it did"
    return ""


def as_number(time: Timestamp) -> int:
    """A cluster time as a number with the same order (pure)."""
    return (time.time << 32) | time.inc
