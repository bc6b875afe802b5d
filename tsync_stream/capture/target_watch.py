"""Is the Typesense collection the one that we filled, and does it show no older state than it did?

Only the capturing replica asks. Invariants: a difference counts when it is seen twice, and not while Typesense replays
its log: until then a node may say what was true some time ago. "Cannot be asked" is not "unchanged": after a minute of
it health says so.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core import clock
from tsync_stream.core.errors import ConfigurationError, TsyncError
from tsync_stream.core.health import Health
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.markers import Markers, Seen
from tsync_stream.state.pipeline import Pipeline, PositionStore, new_nonce
from tsync_stream.state.route_state import RouteState

CHECK = "target"
UNREAD_S = 60.0
SECOND_LOOK_S = 1.0
NOTE_INTERVAL_S = 2.0
# Creation times that a collection without a nonce may have had: a node stamps its own, and at every start again.
MOST_TIMES = 8


class TargetWatch:
    """Asks, and leaves marks. Made once for a replica: that nobody could be asked may last longer than a term."""

    def __init__(self, target: TypesenseTarget, collection: str, positions: PositionStore, health: Health) -> None:
        self._target = target
        self._markers = Markers(target, collection)
        self._positions = positions
        self._health = health
        self._read_s: float | None = None  # when it was last known; None: nobody has asked for
        self._noted_s = float("-inf")
        self._notes_refused = False

    def forget(self) -> None:
        """Another replica captures now, and asks."""
        self._read_s = None
        self._health.green(CHECK)

    async def difference(self, stored: RouteState) -> str:
        """How the collection differs from the one that the route's fingerprint is about; "" if it does not.

        Raises the errors of `errors.from_typesense`: then nobody knows.
        """
        self._read_s = self._read_s or clock.now_s()
        try:
            found = difference(stored.fingerprint, stored.marked, await self._markers.look())
            if found:
                await asyncio.sleep(SECOND_LOOK_S)
                replayed = await self._target.settled()
                again = difference(stored.fingerprint, stored.marked, await self._markers.look())
                found = again if replayed else ""
        except TsyncError as error:
            self._tell(error)
            raise
        self._read_s = clock.now_s()
        self._health.green(CHECK)
        return found

    async def make_ours(self, synced: Timestamp) -> tuple[dict[str, Any], Timestamp | None]:
        """Mark the collection, which is there, as the one that is filled from `synced` on.

        Returns its part of the fingerprint, and up to where it is marked. Raises the errors of `errors.from_typesense`.
        """
        seen = await self._markers.look()
        if seen is None:
            raise ConfigurationError("TYPESENSE_COLLECTION_NAME: the collection is gone again")
        nonce = await self._markers.place(seen, new_nonce())
        self._notes_refused = not await self._markers.note(seen.name, as_number(synced))
        part = {
            "target_name": seen.name,
            "target_nonce": nonce,
            "target_created_at": seen.created_at,
            "target_checks": list(seen.checks),
        }
        return part, None if self._notes_refused else synced

    async def note_synced(self, stored: Pipeline, route: str, synced: Timestamp) -> None:
        """Leave a mark of how far all is synced, now and then. First there, then here: so it is never older there."""
        now_s = clock.now_s()
        state = stored.routes[route]
        name = state.fingerprint.get("target_name")
        if name is None or self._notes_refused or state.marked == synced or now_s - self._noted_s < NOTE_INTERVAL_S:
            return
        self._noted_s = now_s
        try:
            noted = await self._markers.note(name, as_number(synced))
        except TsyncError:
            # It may be done later, over a newer one.
            self._noted_s = now_s + 2 * self._target.deadline_s
            return
        if noted:
            await self._positions.save_marked(stored, route, synced)
        else:
            self._notes_refused = True

    def _tell(self, error: TsyncError) -> None:
        assert self._read_s is not None
        unread_s = clock.now_s() - self._read_s
        if unread_s >= UNREAD_S:
            self._health.red(
                CHECK,
                f"{error}; for more than a minute nobody could see whether the Typesense collection is still the one "
                "that was filled. Changes go on being written; a reconcile follows if it proves to be another one",
                needs_person=isinstance(error, ConfigurationError),
            )


def difference(fingerprint: Mapping[str, Any], marked: Timestamp | None, seen: Seen | None) -> str:
    """How a collection differs from the one that was filled, and is marked up to `marked`; "" if it does not (pure)."""
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
        return "other fields of the Typesense collection are places or int32 now"
    if marked is not None and not seen.marks_refused and (seen.synced is None or seen.synced < as_number(marked)):
        return "Typesense shows an older state than it did"
    return ""


def as_number(time: Timestamp) -> int:
    """A cluster time as a number that is ordered as they are (pure)."""
    return (time.time << 32) | time.inc
