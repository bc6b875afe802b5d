"""Suspends a route that only a person can repair, and resumes it: the others do not wait for it meanwhile.

A suspended route's entries are dropped: acked without a write. What was dropped is made good by the route's reconcile,
so the two have to be ordered, whatever any replica remembers of the epoch document:

- A suspension is one majority write, which also replaces the route's need of a reconcile: a new job, which has queued
  nothing yet. So no entry that an earlier job queued can be counted as synced.
- An entry is dropped only after a majority write of this very batch, made when the entry had been read, found the
  suspension in force (`confirm_suspended`). A suspension that a lane remembers proves nothing: it may have ended.
- The job of the need scans nothing before its own majority write has ended the suspension (`resume`), and it reads the
  source no earlier than that write, nor does a later term that goes on with the job (`time_of_now`). All these change
  one document, so they have one order: what was dropped had been captured before the confirmation, the confirmation
  precedes the end of the suspension, and the scan follows that end. Whatever is queued after the end, the scan's own
  entries among it, finds nothing to confirm, and is written.
- A nonce is never in force twice. The compare-and-set that begins a term compares suspensions too, so a replica that
  has an older epoch document in memory cannot bring an ended one back; and a need is not cleared while its route is
  suspended.
"""

from typing import Any

from bson.timestamp import Timestamp

from tsync_stream.core.errors import DependencyUnavailable
from tsync_stream.core.model import EpochRef
from tsync_stream.source.driver import MongoDatabase
from tsync_stream.source.errors import translated
from tsync_stream.state.database import EPOCH_DOCUMENT, PIPELINE
from tsync_stream.state.route_state import (
    Suspension,
    need_and_suspension,
    need_to_bson,
    route_from_bson,
    suspended_state,
)

# Who loses more races than this tries again with the next attempt at its batch.
MOST_RACES = 5


class Suspensions:
    """The suspensions in the epoch document. Every call raises the errors of `errors.from_mongo`."""

    def __init__(self, database: MongoDatabase) -> None:
        self._client = database.client
        self._epoch_document = database[PIPELINE]

    async def suspend(self, epoch: EpochRef, route: str, reason: str) -> Suspension | None:
        """Suspend a route; returns what is in force then, which may be another replica's suspension.

        None if the epoch is over, or has no such route. `reason` is for people: it says what they must repair.
        """
        current = {"_id": EPOCH_DOCUMENT, "epoch": epoch.epoch, "nonce": epoch.nonce}
        for _ in range(MOST_RACES):
            async with translated():
                found = await self._epoch_document.find_one({**current, "routes.name": route}, {"routes.$": 1})
            if found is None:
                return None
            before = route_from_bson(found["routes"][0])
            if before.suspended is not None:
                return before.suspended
            after = suspended_state(before, reason)
            assert after.suspended is not None
            suspended = {"nonce": after.suspended.nonce, "reason": after.suspended.reason}
            async with translated():
                result = await self._epoch_document.update_one(
                    {**current, "routes": {"$elemMatch": {"name": route, **need_and_suspension(before)}}},
                    {"$set": {"routes.$.suspended": suspended, "routes.$.reconcile": need_to_bson(after.reconcile)}},
                )
            if result.matched_count:
                return after.suspended
        raise DependencyUnavailable(f"the state of route {route} changes all the time; trying again")

    async def confirm_suspended(self, route: str, nonce: str) -> bool:
        """Whether this suspension is in force now: only then may entries that were read before be dropped."""
        # It changes something, so that it has a place among the writes to the document, and a deposed primary fails.
        async with translated():
            result = await self._epoch_document.update_one(
                _in_force(route, nonce), {"$inc": {"routes.$.suspended.confirmed": 1}}
            )
        return bool(result.matched_count)

    async def resume(self, route: str, nonce: str) -> Timestamp | None:
        """End this suspension; returns the time of that: whoever scans the source next must read no earlier.

        None if it is not in force: another term has ended it, or this call before its reply was lost. Whoever gets None
        must scan nothing, and begin a new term, whose compare-and-set shows what is in force.
        """
        async with translated(), await self._client.start_session() as session:
            result = await self._epoch_document.update_one(
                _in_force(route, nonce), {"$set": {"routes.$.suspended": None}}, session=session
            )
            time: Timestamp | None = session.delegate.operation_time
        return time if result.matched_count else None

    async def time_of_now(self) -> Timestamp:
        """A time that follows every change of the epoch document so far.

        Whoever reads the source as it was then reads nothing from a deposed primary that has not noticed.
        """
        async with translated(), await self._client.start_session() as session:
            await self._epoch_document.update_one({"_id": EPOCH_DOCUMENT}, {"$inc": {"looks": 1}}, session=session)
            time: Timestamp = session.delegate.operation_time
        return time


def _in_force(route: str, nonce: str) -> dict[str, Any]:
    return {"_id": EPOCH_DOCUMENT, "routes": {"$elemMatch": {"name": route, "suspended.nonce": nonce}}}
